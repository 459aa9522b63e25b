//! One variant of `attention` over one sequence, without a problem of the suite around it: for tests that hold a variant
//! to the truth in f64 rather than to its reference. Called by `tests/attention_accuracy.rs` and by those of techniques.

use device::{Buffer, Hardware, Pool};

use crate::kv::fit::KeyFit;
use crate::launch::{Frame, KvFrame, KvView, Run, Slot, Step, walk};
use crate::ops::Attention;
use crate::ops::attention::{Desc, Slots, scratch_bytes};
use crate::record::Record;
use crate::variant::{Launch, Variant};

/// What `variant` makes of the last rows of a sequence, `[num_rows, num_heads, head_dim_v]`. `q` is `[num_rows, num_heads,
/// head_dim_k]`, `keys` are `[num_keys, num_kv_heads, head_dim_k]`, `values` alike; they go through the codecs of `desc`, keys
/// fitted to it.
///
/// # Errors
/// When the variant cannot run here or does not take `desc`, lengths do not belong together, or the system is short of
/// memory or threads.
pub fn attend_with(
    desc: &Desc,
    variant: &'static Variant<Attention>,
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    fit: Option<KeyFit>,
) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let (layout, heads) = (&desc.layout, desc.layout.num_kv_heads);
    let (dim_k, dim_v) = (layout.head_dim_k, layout.head_dim_v);
    let (num_rows, num_keys) = (q.len() / (desc.num_heads * dim_k), keys.len() / (heads * dim_k));
    let whole = q.len() == num_rows * desc.num_heads * dim_k
        && (keys.len(), values.len()) == (num_keys * heads * dim_k, num_keys * heads * dim_v)
        && num_rows <= num_keys;
    let hardware = Hardware::probe();
    let able = variant.needs.iter().all(|&feature| hardware.has(feature)) && matches!(variant.launch, Launch::Cpu(_));
    if !(whole && able && desc.layer == 0 && (variant.accepts)(desc)) {
        return Err(format!("{} cannot compute {num_rows} rows over {num_keys} keys: {desc:?}", variant.id).into());
    }

    let num_blocks = num_keys.div_ceil(layout.block_size);
    let storage = Buffer::zeroed(num_blocks * heads * layout.block_bytes(), "keys and values")?;
    for (index, (key, value)) in keys.chunks_exact(dim_k).zip(values.chunks_exact(dim_v)).enumerate() {
        let (token, head) = (index / heads, index % heads);
        let (block, slot) = (token / layout.block_size * heads + head, token % layout.block_size);
        // SAFETY: the storage is ours and has that many blocks; the caller keeps the fit alive.
        unsafe {
            let mut fitted = key.to_vec();
            if let Some(fit) = &fit {
                fit.fitted(head, token, key, &mut fitted);
            }
            layout.keys().encode(storage.as_ptr().add(layout.keys_at(block)), slot, &fitted);
            layout.values().encode(storage.as_ptr().add(layout.values_at(block)), slot, value);
        }
    }
    let out_len = num_rows * desc.num_heads * dim_v;
    let bytes = (size_of::<f32>() * q.len().max(out_len)).next_multiple_of(64);
    let arena = Buffer::zeroed(2 * bytes + scratch_bytes(desc, num_rows), "activations")?;
    // SAFETY: the arena is ours and begins with room for the queries.
    unsafe { std::ptr::copy_nonoverlapping(q.as_ptr(), arena.as_ptr().cast(), q.len()) };
    let table: Vec<u32> = (0..num_blocks).map(|block| (block * heads) as u32).collect();
    let view = KvView {
        table: table.as_ptr(),
        lengths: std::ptr::null(),
        layer_stride: 0,
        head_stride: 0,
        layer_step: heads as u32,
        head_step: 1,
        first_logical: 0,
        context: (num_keys - num_rows) as u32,
        first_row: 0,
        num_rows: num_rows as u32,
    };
    let kv = KvFrame { storage: storage.as_ptr(), views: &view, num_views: 1 };
    let frame = Frame { groups: &kv, ..Frame::over(arena.as_ptr(), num_rows) };
    let slots = Slots { q: Slot(0), out: Slot(bytes), scratch: Slot(2 * bytes), fit };
    let steps = [Box::new(Step::<Attention> { desc: *desc, slots, variant }) as Box<dyn Run>];
    // SAFETY: the frame describes the buffers above, which live until the end; the variant can run here.
    unsafe {
        walk(&mut Pool::new(2)?, &steps, &frame, &Record::default())?;
        Ok(std::slice::from_raw_parts(arena.as_ptr().add(bytes).cast(), out_len).to_vec())
    }
}

/// Queries, keys and values of one head of a real model, `[num_tokens, head_dim]` each, from a file of `fixtures/attention`:
/// `[num_tokens, 3, head_dim]` little-endian f16.
pub fn captured(bytes: &[u8], head_dim: usize) -> [Vec<f32>; 3] {
    let mut all: [Vec<f32>; 3] = Default::default();
    for (index, half) in bytes.as_chunks::<2>().0.iter().enumerate() {
        all[index / head_dim % 3].push(half::f16::from_le_bytes(*half).to_f32());
    }
    all
}
