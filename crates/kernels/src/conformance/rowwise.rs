//! Problems for the ops that treat rows or values one by one: `norm`, `glu`, `softcap`, `add`, `gather`,
//! `embed`, `quantize`.

use gguf::DType;

use super::{Arena, Bounds, Case, Conform, Output, Place, Random, Values, weight};
use crate::launch::RowSet;
use crate::ops::glu::Activation;
use crate::ops::quantize::Codes;
use crate::ops::{Add, Embed, Gather, Glu, Norm, Quantize, Softcap};
use crate::ops::{add, embed, gather, glu, norm, quantize, softcap};
use crate::packed::Form;

/// Rows and values per row: single, ragged, many.
const SHAPES: [(usize, usize); 9] =
    [(1, 1), (1, 7), (1, 576), (2, 896), (3, 33), (5, 1000), (17, 64), (33, 100), (130, 31)];

/// All shapes with all kinds of values.
fn each(random: &mut Random, mut check: impl FnMut(usize, usize, Values, &mut Random)) {
    for (num_rows, width) in SHAPES {
        for values in Values::ALL {
            check(num_rows, width, values, random);
        }
    }
}

impl Conform for Norm {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        each(random, |num_rows, width, values, random| {
            for (groups, in_place) in [(1, false), (1, true), (3, true)] {
                let desc = norm::Desc { width, groups, eps: 1e-6 };
                let mut x = random.values(values, num_rows * groups * width);
                let weights = random.values(Values::Normal, width);
                let keep = weight::buffer(bytemuck::cast_slice(&weights));
                let mut arena = Arena::default();
                let at = arena.input(&x);
                let out = if in_place { at } else { arena.output(size_of_val(x.as_slice())) };
                let slots = norm::Slots { x: at, weight: weight::address(&keep), out, rows: RowSet::Tokens };
                let label = format!("{groups} x {width} rows {num_rows} {values:?} in place: {in_place}");
                let mut case = Case::new(label, desc, slots, arena);
                for x in x.chunks_exact_mut(width) {
                    norm::reference::norm(&desc, &weights, x);
                }
                case.outputs = vec![Output::values(out, sizes(x))];
                case.num_rows = num_rows;
                case.weights.push(keep);
                check(case);
            }
        });
    }
}

impl Conform for Glu {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        each(random, |num_rows, width, values, random| {
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let desc = glu::Desc { width, activation };
                let mut gate = random.values(values, num_rows * width);
                // Where exp leaves its range.
                gate.iter_mut().step_by(5).for_each(|gate| *gate *= 40.0);
                let up = random.values(values, num_rows * width);
                let mut arena = Arena::default();
                let slots = [arena.input(&gate), arena.input(&up), arena.output(gate.len() * 4)];
                let out = slots[random.below(3)];
                let label = format!("{activation:?} {width} rows {num_rows} {values:?} to {out:?}");
                let mut case = Case::new(
                    label,
                    desc,
                    glu::Slots { gate: slots[0], up: slots[1], out, rows: RowSet::Tokens },
                    arena,
                );
                let terms = gate.iter().zip(&up).map(|(&gate, &up)| {
                    // An error of one unit in y is an error of |y| units in e^-y.
                    let y =
                        if activation == Activation::GeluTanh { glu::reference::gelu_inner(gate.into()) } else { 0.0 };
                    let value = glu::reference::glu(&desc, gate, up).abs() * (1.0 + 2.0 * y.abs() as f32);
                    // e^-y is infinite in f32 where f64 still has it.
                    value + (gate * f32::MIN_POSITIVE / f32::EPSILON * up).abs()
                });
                case.outputs = vec![Output::values(out, terms.collect())];
                case.num_rows = num_rows;
                check(case);
            }
        });
    }
}

impl Conform for Softcap {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        each(random, |num_rows, width, values, random| {
            let desc = softcap::Desc { width, cap: random.pick(&[0.3, 30.0]) };
            let mut x = random.values(values, num_rows * width);
            x.iter_mut().step_by(3).for_each(|x| *x *= 30.0);
            let mut arena = Arena::default();
            let slots = softcap::Slots { x: arena.input(&x), rows: RowSet::Tokens };
            let mut case = Case::new(format!("{desc:?} rows {num_rows} {values:?}"), desc, slots, arena);
            softcap::reference(&desc, &mut x);
            case.outputs = vec![Output::values(slots.x, sizes(x))];
            case.num_rows = num_rows;
            check(case);
        });
    }
}

impl Conform for Add {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        each(random, |num_rows, width, values, random| {
            let (x, y) = (random.values(values, num_rows * width), random.values(values, num_rows * width));
            let mut arena = Arena::default();
            let slots = add::Slots { x: arena.input(&x), y: arena.input(&y), rows: RowSet::Tokens };
            let desc = add::Desc { width };
            let mut case = Case::new(format!("{width} rows {num_rows} {values:?}"), desc, slots, arena);
            case.outputs = vec![Output::values(slots.x, x.iter().zip(&y).map(|(x, y)| x.abs() + y.abs()).collect())];
            case.num_rows = num_rows;
            check(case);
        });
    }
}

impl Conform for Gather {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        for (num_rows, width) in SHAPES {
            let x = random.values(Values::Wild, num_rows * width);
            let output_rows: Vec<u32> = (0..num_rows as u32).filter(|row| row % 3 != 1).collect();
            let mut arena = Arena::default();
            let bytes = output_rows.len() * width * 4;
            let slots = gather::Slots { x: arena.input(&x), out: arena.output(bytes) };
            let mut case = Case::new(format!("{width} rows {num_rows}"), gather::Desc { width }, slots, arena);
            case.outputs = vec![Output { place: Place::Arena, at: slots.out.0, bounds: Bounds::Bytes(bytes) }];
            (case.num_rows, case.output_rows) = (num_rows, output_rows);
            check(case);
        }
    }
}

impl Conform for Embed {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        const VOCAB: usize = 19;
        for dtype in DType::all().filter(|&dtype| weight::has_rows(dtype)) {
            let width = 3 * dtype.block_len().max(32);
            let row_bytes = dtype.row_bytes(width).unwrap_or_default();
            let (rows, _) = weight::random(dtype, VOCAB, width, random);
            for (num_rows, form) in [(1, Form::Rows), (13, Form::Rows), (13, Form::Packed), (13, Form::Tiles)] {
                if !weight::has_form(form, dtype, width) {
                    continue;
                }
                let desc = embed::Desc { table: dtype, form, width, row_bytes, scale: random.pick(&[1.0, 25.3]) };
                let keep = weight::buffer(&weight::laid_out(form, dtype, rows.clone(), VOCAB, width));
                let mut arena = Arena::default();
                let out = arena.output(num_rows * width * 4);
                let slots = embed::Slots { table: weight::address(&keep), out };
                let mut case = Case::new(format!("{desc:?} rows {num_rows}"), desc, slots, arena);
                case.outputs = vec![Output::values(out, vec![0.0; num_rows * width])];
                case.tokens = (0..num_rows).map(|_| random.below(VOCAB) as u32).collect();
                case.num_rows = num_rows;
                case.weights.push(keep);
                check(case);
            }
        }
    }
}

impl Conform for Quantize {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        for width in [32, 96, 576, 4864] {
            for num_rows in [1, 2, 7, 33] {
                for (values, codes) in Values::ALL.into_iter().flat_map(|values| BOTH.map(|codes| (values, codes))) {
                    let desc = quantize::Desc { width, codes };
                    let x = random.values(values, num_rows * width);
                    let row_bytes = codes.row_bytes(width);
                    let mut arena = Arena::default();
                    let (x, out) = (arena.input(&x), arena.output(num_rows * row_bytes));
                    let slots = quantize::Slots { x, out, rows: RowSet::Tokens };
                    let label = format!("{width} rows {num_rows} {} {values:?}", codes.name());
                    let mut case = Case::new(label, desc, slots, arena);
                    let bytes =
                        |at, bytes| Output { place: Place::Arena, at: out.0 + at, bounds: Bounds::Bytes(bytes) };
                    case.outputs = match codes {
                        Codes::Int8 => {
                            (0..num_rows).map(|row| bytes(row * row_bytes, width + width / 8 + width / 8)).collect()
                        }
                        Codes::Half => vec![bytes(0, num_rows * (2 * width + size_of::<f32>()))],
                    };
                    case.num_rows = num_rows;
                    check(case);
                }
            }
        }
    }
}

const BOTH: [Codes; 2] = [Codes::Int8, Codes::Half];

fn sizes(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(f32::abs).collect()
}
