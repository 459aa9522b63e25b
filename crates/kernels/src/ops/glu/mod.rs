//! Gated activation (arXiv 2002.05202): `out = act(gate) * up`.

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
use crate::launch::{Frame, RowSet, Slot};
use crate::op::{Op, OpKind};
use crate::variant::{Exactness, Launch, Variant, any};

/// The operation.
pub struct Glu;

/// The activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU in its tanh form (arXiv 1606.08415).
    GeluTanh,
}

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Values per row.
    pub width: usize,
    /// On the gate.
    pub activation: Activation,
}

/// Places. `out` may be `gate` or `up`.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[rows, width]` f32.
    pub gate: Slot,
    /// `[rows, width]` f32.
    pub up: Slot,
    /// `[rows, width]` f32.
    pub out: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::gate`].
    pub gate: *const f32,
    /// See [`Slots::up`].
    pub up: *const f32,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Glu {
    const KIND: OpKind = OpKind::Glu;
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

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        let (gate, up) = (frame.at(slots.gate), frame.at(slots.up));
        Args { gate, up, out: frame.at(slots.out), num_rows: frame.rows(slots.rows) }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        // exp, a sum, a quotient and a product per value.
        Cost { row_bytes: 12 * desc.width as u64, row_ops: 4 * desc.width as u64, ..Cost::over(slots.rows) }
    }
}

/// exp and the arithmetic around it in f32.
const EXACTNESS: Exactness = Exactness::Reordered { ulp: 8 };

const REFERENCE: Variant<Glu> = Variant {
    id: "glu/f32/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: any,
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        for i in shard.range(args.num_rows * desc.width, 16) {
            // SAFETY: bound to live memory of the described shape; only this worker touches value i.
            unsafe { *args.out.add(i) = reference::glu(desc, *args.gate.add(i), *args.up.add(i)) };
        }
    }),
};
