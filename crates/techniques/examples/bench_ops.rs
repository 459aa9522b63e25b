//! Times the variants of `attention` (and of the smaller ops) on the shapes of real models:
//! `cargo run --release -p techniques --example bench_ops -- [filter] [threads]`. Those of every technique
//! in the catalogue run beside the baseline's.
//!
//! Prefill prints GFLOP/s of the causal half of both products, decode GB/s of keys and values read.

use std::time::Instant;

use device::{Buffer, Hardware, Pool};
use kernels::ops::glu::Activation;
use kernels::ops::quantize::Codes;
use kernels::ops::rope::Pairing;
use kernels::ops::{Attention, Glu, KvStore, Norm, Quantize, Rope, Softcap};
use kernels::ops::{attention, glu, kv_store, norm, quantize, rope, softcap};
use kernels::{
    Frame, KvFrame, KvLayout, KvType, KvView, Op, Record, RowSet, Rows, Run, Slot, Step, Variant, Weight, walk,
};
use techniques::CATALOG;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let filter = args.next().unwrap_or_default();
    let threads = args.next().map_or(Ok(0), |text| text.parse())?;
    let hardware = Hardware::probe();
    let mut pool = Pool::new(if threads == 0 { hardware.num_cores } else { threads })?;
    println!("{hardware}; {} workers", pool.num_workers());
    let mut bench = Bench { filter, hardware, pool: &mut pool };
    bench.attention()?;
    bench.rowwise()?;
    Ok(())
}

/// Name, query heads, KV heads, head dimension.
type Model = (&'static str, usize, usize, usize);

const MODELS: [Model; 4] =
    [("smollm2-135m", 9, 3, 64), ("qwen2.5-0.5b", 14, 2, 64), ("gemma3-270m", 4, 1, 256), ("llama-8b", 32, 8, 128)];

/// Rows of the step, tokens in the cache before it.
const STEPS: [(usize, usize); 5] = [(512, 0), (4096, 0), (512, 4096), (1, 512), (1, 4096)];

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Bench<'a> {
    filter: String,
    hardware: Hardware,
    pool: &'a mut Pool,
}

impl Bench<'_> {
    fn attention(&mut self) -> Outcome {
        for model in MODELS {
            for step in STEPS {
                for kv_type in [KvType::F16, KvType::Q8, KvType::Q4] {
                    self.attention_step(model, step, kv_type)?;
                }
            }
        }
        Ok(())
    }

    fn attention_step(&mut self, model: Model, (num_rows, context): (usize, usize), kv_type: KvType) -> Outcome {
        let (model, num_heads, num_kv_heads, head_dim) = model;
        let (k, v) = (kv_type, kv_type);
        let layout = KvLayout { k, v, head_dim_k: head_dim, head_dim_v: head_dim, num_kv_heads, block_size: 16 };
        // Several layers, so that decode finds nothing in the caches that the step before left there.
        let num_blocks = (context + num_rows).div_ceil(16);
        let layer_bytes = num_blocks * num_kv_heads * layout.block_bytes();
        let num_layers = (256 << 20) / layer_bytes.min(256 << 20) + 1;
        let num_layers = if num_rows > 1 { 1 } else { num_layers };
        let storage = Buffer::zeroed(num_layers * layer_bytes, "keys and values")?;
        fill_cache(&storage, &layout);
        let table: Vec<u32> = (0..num_blocks).map(|block| (block * num_layers * num_kv_heads) as u32).collect();
        let view = view(&table, num_kv_heads, context, num_rows);
        let kv = KvFrame { storage: storage.as_ptr(), views: &view, num_views: 1 };
        let desc = |layer| attention::Desc {
            layout,
            group: 0,
            layer,
            num_heads,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: 0.0,
            window: 0,
            rows: Rows::of(num_rows),
        };
        let bytes = (num_rows * num_heads * head_dim * 4).next_multiple_of(64);
        let slots = attention::Slots { q: Slot(0), out: Slot(bytes), scratch: Slot(2 * bytes), fit: None };
        let arena = Buffer::zeroed(2 * bytes + attention::scratch_bytes(&desc(0), num_rows), "activations")?;
        fill(&arena, noise);
        let frame = Frame { groups: &kv, ..Frame::over(arena.as_ptr(), num_rows) };
        let pairs: usize = (0..num_rows).map(|row| context + row + 1).sum();
        let flop = 4 * pairs * num_heads * head_dim * num_layers;
        let read = (context + 1) * 2 * num_kv_heads * kv_type.bytes(head_dim) * num_layers;
        for variant in variants::<Attention>() {
            let steps: Vec<Box<dyn Run>> = (0..num_layers as u32)
                .map(|layer| Box::new(Step::<Attention> { desc: desc(layer), slots, variant }) as Box<dyn Run>)
                .collect();
            let label = format!("{model} {num_rows} @ {context} {}", kv_type.name());
            if !(variant.accepts)(&desc(0)) {
                continue;
            }
            let Some(seconds) = self.time(&label, variant.id, variant.needs, &steps, &frame)? else { continue };
            let us = seconds * 1e6 / num_layers as f64;
            let rate = if num_rows > 1 {
                format!("{:7.1} GFLOP/s", flop as f64 / seconds * 1e-9)
            } else {
                format!("{:7.1} GB/s", read as f64 / seconds * 1e-9)
            };
            println!("{label:33} {:26} {us:10.1} us  {rate}", variant.id);
        }
        Ok(())
    }

    /// The ops that pass over rows once: GB/s of f32 values read and written.
    fn rowwise(&mut self) -> Outcome {
        // Room for the largest, 512 rows of 3 x 14336 values.
        let arena = Buffer::zeroed(3 * 512 * 14336 * 4, "activations")?;
        fill(&arena, noise);
        let third = |n: usize| Slot(n * arena.len() / 3);
        let weight = Weight(arena.as_ptr());
        for num_rows in [1, 512] {
            let rows = RowSet::Tokens;
            for width in [576, 896, 4096] {
                let slots = norm::Slots { x: third(0), weight, out: third(1), rows };
                let desc = norm::Desc { width, groups: 1, eps: 1e-6 };
                self.rows::<Norm>(&arena, num_rows, 8 * width, desc, slots, &format!("{width}"))?;
            }
            for width in [576, 4096, 14336] {
                let slots = quantize::Slots { x: third(0), out: third(1), rows };
                let bytes = 4 * width + quantize::row_bytes(width);
                self.rows::<Quantize>(
                    &arena,
                    num_rows,
                    bytes,
                    quantize::Desc { width, codes: Codes::Int8 },
                    slots,
                    &format!("{width}"),
                )?;
            }
            for (width, activation) in
                [(1536, Activation::Silu), (14336, Activation::Silu), (2048, Activation::GeluTanh)]
            {
                let slots = glu::Slots { gate: third(0), up: third(1), out: third(2), rows };
                let label = format!("{activation:?} {width}");
                self.rows::<Glu>(&arena, num_rows, 12 * width, glu::Desc { width, activation }, slots, &label)?;
            }
            for (num_heads, head_dim, pairing) in [(9, 64, Pairing::Adjacent), (32, 128, Pairing::Halves)] {
                let slots = rope::Slots { x: third(0), table: third(1) };
                let desc = rope::Desc { head_dim, num_heads, rotary_dim: head_dim, pairing };
                let label = format!("{pairing:?} {num_heads} x {head_dim}");
                self.rows::<Rope>(&arena, num_rows, 8 * num_heads * head_dim, desc, slots, &label)?;
            }
        }
        let slots = softcap::Slots { x: third(0), rows: RowSet::Tokens };
        let desc = softcap::Desc { width: 256_000, cap: 30.0 };
        self.rows::<Softcap>(&arena, 1, 8 * 256_000, desc, slots, "256000")?;
        self.store(&arena)
    }

    /// 512 rows of keys and values into the cache of one layer.
    fn store(&mut self, arena: &Buffer) -> Outcome {
        [KvType::F16, KvType::Q8, KvType::Q4].iter().try_for_each(|&kv_type| self.store_as(arena, kv_type))
    }

    fn store_as(&mut self, arena: &Buffer, kv_type: KvType) -> Outcome {
        let (k, v, head_dim, num_kv_heads) = (kv_type, kv_type, 128, 8);
        let layout = KvLayout { k, v, head_dim_k: head_dim, head_dim_v: head_dim, num_kv_heads, block_size: 16 };
        let storage = Buffer::zeroed(32 * num_kv_heads * layout.block_bytes(), "keys and values")?;
        let table: Vec<u32> = (0..32).map(|block| block * num_kv_heads as u32).collect();
        let view = view(&table, num_kv_heads, 0, 512);
        let kv = KvFrame { storage: storage.as_ptr(), views: &view, num_views: 1 };
        let frame = Frame { groups: &kv, ..Frame::over(arena.as_ptr(), 512) };
        let slots = kv_store::Slots { k: Slot(0), v: Slot(arena.len() / 3), fit: None };
        let desc = kv_store::Desc { layout, group: 0, layer: 0 };
        let label = format!("8 x 128 {}, 512 rows", kv_type.name());
        self.passes::<KvStore>(&frame, 512 * num_kv_heads * head_dim * 8, desc, slots, &label)
    }

    fn rows<O: Op>(
        &mut self,
        arena: &Buffer,
        num_rows: usize,
        bytes_per_row: usize,
        desc: O::Desc,
        slots: O::Slots,
        label: &str,
    ) -> Outcome {
        let frame = Frame::over(arena.as_ptr(), num_rows);
        self.passes::<O>(&frame, num_rows * bytes_per_row, desc, slots, &format!("{label}, {num_rows} rows"))
    }

    /// Times an op of which a walk makes ten passes, so that waking the workers does not count.
    fn passes<O: Op>(&mut self, frame: &Frame, bytes: usize, desc: O::Desc, slots: O::Slots, label: &str) -> Outcome {
        for variant in variants::<O>() {
            let step = || Box::new(Step::<O> { desc, slots, variant }) as Box<dyn Run>;
            let steps: Vec<_> = (0..10).map(|_| step()).collect();
            if let Some(seconds) = self.time(label, variant.id, variant.needs, &steps, frame)? {
                let (us, rate) = (seconds * 1e5, bytes as f64 * 10.0 / seconds * 1e-9);
                println!("{label:28} {:24} {us:10.1} us  {rate:7.1} GB/s", variant.id);
            }
        }
        Ok(())
    }

    /// Seconds of one walk, the best of several; nothing where the variant cannot or need not run.
    fn time(
        &mut self,
        label: &str,
        id: &str,
        needs: &[device::Feature],
        steps: &[Box<dyn Run>],
        frame: &Frame,
    ) -> Result<Option<f64>, Box<dyn std::error::Error>> {
        let name = format!("{id} {label}");
        // References take minutes: only for those who name them.
        let wanted = self.filter.split(',').all(|part| name.contains(part))
            && (self.filter.contains("reference") || !id.ends_with("/reference"));
        if !wanted || needs.iter().any(|&feature| !self.hardware.has(feature)) {
            return Ok(None);
        }
        let start = Instant::now();
        let mut best = f64::INFINITY;
        let mut runs = 0;
        while runs < 2 || (start.elapsed().as_millis() < 500 && runs < 1000) {
            let start = Instant::now();
            // SAFETY: the callers' frames describe live buffers of the sizes that their steps need.
            unsafe { walk(self.pool, steps, frame, &Record::default())? };
            best = best.min(start.elapsed().as_secs_f64());
            runs += 1;
        }
        Ok(Some(best))
    }
}

/// What techniques bring for an op, then its own.
fn variants<O: Op>() -> Vec<&'static Variant<O>> {
    let extra = CATALOG.iter().flat_map(|technique| technique.variants());
    extra.filter_map(|extra| extra.variant.typed()).chain(O::VARIANTS.iter().copied()).collect()
}

/// A sequence with a uniform table.
fn view(table: &[u32], num_kv_heads: usize, context: usize, num_rows: usize) -> KvView {
    KvView {
        table: table.as_ptr(),
        lengths: std::ptr::null(),
        layer_stride: 0,
        head_stride: 0,
        layer_step: num_kv_heads as u32,
        head_step: 1,
        first_logical: 0,
        context: context as u32,
        first_row: 0,
        num_rows: num_rows as u32,
    }
}

/// Vectors in all slots of all blocks.
fn fill_cache(storage: &Buffer, layout: &KvLayout) {
    let vector = |seed: usize, dim: usize| -> Vec<f32> { (0..dim).map(|i| noise(seed * 977 + i)).collect() };
    for block in 0..storage.len() / layout.block_bytes() {
        for slot in 0..layout.block_size {
            let (key, value) = (vector(block + slot, layout.head_dim_k), vector(block * 3 + slot, layout.head_dim_v));
            // SAFETY: the storage is ours and holds that many blocks.
            unsafe {
                layout.keys().encode(storage.as_ptr().add(layout.keys_at(block)), slot, &key);
                layout.values().encode(storage.as_ptr().add(layout.values_at(block)), slot, &value);
            }
        }
    }
}

fn fill<T: Copy>(buffer: &Buffer, value: impl Fn(usize) -> T) {
    let len = buffer.len() / size_of::<T>();
    // SAFETY: the buffer is ours, aligned to a cache line, and has that many values.
    let values = unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr().cast::<T>(), len) };
    values.iter_mut().enumerate().for_each(|(i, slot)| *slot = value(i));
}

/// A cheap pattern in -1..1.
fn noise(i: usize) -> f32 {
    ((i.wrapping_mul(2_654_435_761) >> 7) & 0xffff) as f32 / 32768.0 - 1.0
}
