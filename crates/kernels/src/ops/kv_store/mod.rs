//! This step's keys and values into the paged cache, encoded by its codec.

#[cfg(target_arch = "x86_64")]
mod cpu;
#[cfg(target_arch = "x86_64")]
mod cpu_avx2;
#[cfg(target_arch = "x86_64")]
mod cpu_avx512;
mod cuda;
pub mod reference;

use device::Shard;

use crate::cost::Cost;
use crate::fault::Faults;
use crate::kv::fit::KeyFit;
use crate::kv::{KvLayout, KvType, MAX_ROTATED};
use crate::launch::{Frame, KvFrame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct KvStore;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Shape of a block.
    pub layout: KvLayout,
    /// KV group of the layer.
    pub group: u32,
    /// Layer within the group.
    pub layer: u32,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[num_rows, num_kv_heads * head_dim_k]` f32, after RoPE.
    pub k: Slot,
    /// `[num_rows, num_kv_heads * head_dim_v]` f32.
    pub v: Slot,
    /// What keys lose before codes are made of them.
    pub fit: Option<KeyFit>,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::k`].
    pub k: *const f32,
    /// See [`Slots::v`].
    pub v: *const f32,
    /// See [`Slots::fit`].
    pub fit: Option<KeyFit>,
    /// The cache of the description's group.
    pub kv: KvFrame,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for KvStore {
    const KIND: OpKind = OpKind::KvStore;
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        #[cfg(target_arch = "x86_64")]
        &cpu_avx512::VARIANT,
        #[cfg(target_arch = "x86_64")]
        &cpu_avx2::VARIANT,
        &cuda::VARIANT,
        &REFERENCE,
    ];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(desc: &Desc, slots: &Slots, frame: &Frame) -> Args {
        let (kv, num_rows) = (frame.group(desc.group), frame.num_rows);
        Args { k: frame.at(slots.k), v: frame.at(slots.v), fit: slots.fit, kv, num_rows }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        let layout = &desc.layout;
        let read = 4 * (layout.head_dim_k + layout.head_dim_v);
        let written = layout.token_bytes();
        Cost { row_bytes: (layout.num_kv_heads * (read + written)) as u64, ..Cost::over(RowSet::Tokens) }
    }
}

/// The key as it is to be stored, the `position`th of its sequence; `place` may hold it.
///
/// # Safety
/// As [`KeyFit::fitted`].
#[inline(always)]
unsafe fn fitted<'a>(
    args: &Args,
    head: usize,
    position: usize,
    key: &'a [f32],
    place: &'a mut [f32; MAX_ROTATED],
) -> &'a [f32] {
    let Some(fit) = &args.fit else { return key };
    let place = &mut place[..key.len()];
    // SAFETY: the caller's promise.
    unsafe { fit.fitted(head, position, key, place) };
    place
}

/// What is wrong with values that are to be stored: no numbers, infinite, or too large for the type.
fn faults(kv_type: KvType, values: &[f32]) -> Faults {
    let unsound = values.iter().filter(|value| value.is_nan() || value.abs() > kv_type.largest());
    unsound.fold(Faults::NONE, |faults, &value| faults.and(Faults::of(value.into())))
}

/// The rounding belongs to the codec, which the plan names; storing adds nothing to it.
const EXACTNESS: Exactness = Exactness::Bitwise;

const REFERENCE: Variant<KvStore> = Variant {
    id: "kv_store/any/reference",
    needs: &[],
    exactness: EXACTNESS,
    accepts: any,
    // SAFETY: the plan binds live memory; see `Launch::Cpu`.
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| unsafe {
        reference::kv_store(desc, args, shard)
    }),
};
