//! Problems for the ops that know positions: `rope_table`, `rope`, `kv_store`.

use super::cache::{Contents, fitting, tokens};
use super::{Arena, Bounds, Case, Conform, Output, Place, Random, Values, weight};
use crate::kv::fit::KeyFitting;
use crate::kv::{KvLayout, KvType};
use crate::ops::rope::Pairing;
use crate::ops::{KvStore, Rope, RopeTable, kv_store, rope, rope_table};

impl Conform for RopeTable {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        for rotary_dim in [2, 20, 64, 128] {
            for num_rows in [1, 5, 40] {
                let desc = rope_table::Desc { rotary_dim, magnitude: random.pick(&[1.0, 1.2]) };
                let inv_freq: Vec<f32> =
                    (0..rotary_dim / 2).map(|j| 1e4f32.powf(-2.0 * j as f32 / rotary_dim as f32)).collect();
                let keep = weight::buffer(bytemuck::cast_slice(&inv_freq));
                let mut arena = Arena::default();
                let out = arena.output(num_rows * rotary_dim * 4);
                let slots = rope_table::Slots { inv_freq: weight::address(&keep), out };
                let mut case = Case::new(format!("{rotary_dim} rows {num_rows}"), desc, slots, arena);
                // One unit of the largest magnitude.
                case.outputs = vec![Output::values(out, vec![desc.magnitude; num_rows * rotary_dim])];
                case.positions = (0..num_rows).map(|_| random.below(200_000) as u32).collect();
                case.num_rows = num_rows;
                case.weights.push(keep);
                check(case);
            }
        }
    }
}

impl Conform for Rope {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        for (head_dim, rotary_dim) in [(64, 64), (128, 128), (80, 80), (96, 96), (256, 64), (20, 12), (8, 2), (48, 48)]
        {
            for pairing in [Pairing::Adjacent, Pairing::Halves] {
                for (num_rows, num_heads) in [(1, 1), (1, 9), (3, 5), (19, 2)] {
                    for values in [Values::Normal, Values::Zero, Values::Wild, Values::Broken] {
                        let desc = rope::Desc { head_dim, num_heads, rotary_dim, pairing };
                        let x = random.values(values, num_rows * num_heads * head_dim);
                        let angles = random.values(Values::Normal, num_rows * rotary_dim);
                        let table: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
                        let mut arena = Arena::default();
                        let slots = rope::Slots { x: arena.input(&x), table: arena.input(&table) };
                        let label = format!("{desc:?} rows {num_rows} {values:?}");
                        let mut case = Case::new(label, desc, slots, arena);
                        // The values that are not rotated are not to change either: they are compared bit by bit.
                        case.outputs = vec![Output::values(slots.x, vec![0.0; x.len()])];
                        case.num_rows = num_rows;
                        check(case);
                    }
                }
            }
        }
    }
}

impl Conform for KvStore {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        let batches: [&[(usize, usize)]; 4] =
            [&[(0, 1)], &[(31, 2)], &[(0, 40)], &[(5, 1), (100, 20), (16, 1), (47, 3)]];
        let types = [KvType::F16, KvType::F32, KvType::Bf16, KvType::Q8, KvType::Q4];
        for batch in batches {
            for (head_dim_k, head_dim_v, k, v) in
                [(64, 64, 0, 0), (128, 128, 1, 1), (80, 96, 0, 1), (256, 72, 1, 0), (20, 13, 0, 0), (64, 128, 2, 2)]
                    .into_iter()
                    .chain([(64, 64, 3, 3), (80, 96, 3, 4), (128, 64, 4, 3), (256, 256, 4, 4), (20, 13, 3, 3)])
            {
                for values in Values::ALL {
                    for headwise in [false, true] {
                        let (k, v, num_kv_heads, block_size) = (types[k], types[v], 3, 16);
                        let layout = KvLayout { k, v, head_dim_k, head_dim_v, num_kv_heads, block_size };
                        check(store_case(layout, batch, values, headwise, random));
                    }
                }
            }
        }
    }
}

fn store_case(
    layout: KvLayout,
    batch: &[(usize, usize)],
    values: Values,
    headwise: bool,
    random: &mut Random,
) -> Case<KvStore> {
    let num_rows: usize = batch.iter().map(|&(_, rows)| rows).sum();
    let fitting = (layout.k.is_quantized() && !headwise).then(|| fitting(&layout, random));
    let fit = fitting.as_ref().map(KeyFitting::key_fit);
    let tokens = tokens(&layout, batch, |_| Values::Normal, random);
    let contents = Contents::new(layout, fit, batch, 0, tokens, headwise, random);
    let mut vectors = |dim: usize| random.values(values, num_rows * layout.num_kv_heads * dim);
    let (k, v) = (vectors(layout.head_dim_k), vectors(layout.head_dim_v));
    let mut arena = Arena::default();
    let slots = kv_store::Slots { k: arena.input(&k), v: arena.input(&v), fit };
    let desc = kv_store::Desc { layout, group: 0, layer: super::cache::NUM_LAYERS as u32 - 1 };
    let form = if headwise { "headwise" } else { "uniform" };
    let mut case = Case::new(format!("{batch:?} {layout:?} {values:?} {form}"), desc, slots, arena);
    for (row, head) in (0..num_rows).flat_map(|row| (0..layout.num_kv_heads).map(move |head| (row, head))) {
        // The whole block is compared, so that its other slots must stay as they were.
        let (at, bounds) = (contents.block_at(row, head), Bounds::Bytes(layout.block_bytes()));
        case.outputs.push(Output { place: Place::Cache, at, bounds });
    }
    case.num_rows = num_rows;
    case.cache = contents.cache;
    case.fitting = fitting;
    case
}
