//! Weights times activations: `out[r, n] = Σ_k x[r, k] * w[n, k] (+ bias[n])`.
//!
//! Weights lie in the blocks of the GGUF file or in the bands of [`packed`](crate::packed). Activations are f32
//! (exact plan, float weights) or what `quantize` makes of them.

mod cuda;
pub(crate) mod cuda_crossover;
pub(crate) mod cuda_float;
mod cuda_half;
mod cuda_many;
mod cuda_tiles;
pub(crate) mod cuda_wide;
pub mod reference;

#[cfg(target_arch = "x86_64")]
mod bf16_avx512;
#[cfg(target_arch = "x86_64")]
mod corrections;
#[cfg(target_arch = "x86_64")]
mod dot_avx512;
#[cfg(target_arch = "x86_64")]
mod float;
#[cfg(target_arch = "x86_64")]
mod float_avx2;
#[cfg(target_arch = "x86_64")]
mod float_avx512;
mod float_panel_avx2;
#[cfg(target_arch = "x86_64")]
mod formats_avx512;
#[cfg(target_arch = "x86_64")]
mod gemm_avx512;
#[cfg(target_arch = "x86_64")]
mod packed_avx2;
#[cfg(target_arch = "x86_64")]
mod packed_avx512;
#[cfg(target_arch = "x86_64")]
mod panel_avx512;
#[cfg(target_arch = "x86_64")]
mod transpose_avx512;
#[cfg(target_arch = "x86_64")]
mod unpacked;

use gguf::DType;

use device::Shard;

use crate::cost::{Cost, Unit};
use crate::launch::{Frame, RowSet, Slot, Weight};
use crate::op::{Op, OpKind, Rows};
use crate::ops::quantize::{self, Codes};
use crate::packed::{Form, Packing};
use crate::tiles::Tiling;
use crate::variant::{Exactness, Launch, Variant};
use crate::weights::is_readable;

pub(crate) use cuda_tiles::compile_tiles;

/// The operation.
pub struct Matmul;

/// Form of the activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `[rows, k]` f32.
    F32,
    /// `[rows]` rows of `quantize::row_bytes(k)`.
    Q8,
    /// `[rows, k]` halves and `[rows]` factors, as `quantize` leaves them.
    Half,
}

impl Input {
    /// What `quantize` is to make of the activations.
    pub const fn codes(self) -> Option<Codes> {
        match self {
            Input::F32 => None,
            Input::Q8 => Some(Codes::Int8),
            Input::Half => Some(Codes::Half),
        }
    }
}

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Type of the weights.
    pub weight: DType,
    /// How they lie in memory.
    pub form: Form,
    /// Form of the activations.
    pub input: Input,
    /// Output features: rows of the weight matrix.
    pub n: usize,
    /// Input features: columns of the weight matrix.
    pub k: usize,
    /// Bytes per row of the weight matrix in the file.
    pub row_bytes: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// Regime the plan is made for.
    pub rows: Rows,
}

impl Desc {
    /// Bytes of the weights.
    pub fn weight_bytes(&self) -> usize {
        match (self.form, Packing::of(self.weight), Tiling::of(self.weight)) {
            (Form::Packed, Some(packing), _) => packing.bytes(self.n, self.k),
            (Form::Tiles, _, Some(tiling)) => tiling.bytes(self.n, self.k),
            _ => self.n * self.row_bytes,
        }
    }
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// `[n, k]` in its form.
    pub weight: Weight,
    /// `[n]` f32, or anything when the description has no bias.
    pub bias: Weight,
    /// Activations, see [`Input`].
    pub x: Slot,
    /// `[rows, n]` f32.
    pub out: Slot,
    /// Which rows.
    pub rows: RowSet,
}

/// Addresses.
pub struct Args {
    /// See [`Slots::weight`].
    pub weight: *const u8,
    /// See [`Slots::bias`]; null where there is none.
    pub bias: *const f32,
    /// See [`Slots::x`].
    pub x: *const u8,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Matmul {
    const KIND: OpKind = OpKind::Matmul;
    #[cfg(target_arch = "x86_64")]
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        &x86::PACKED_AVX512,
        &x86::DOT_AVX512,
        &x86::GEMM_AVX512,
        &x86::PACKED_AVX2,
        &x86::UNPACKED_AVX2,
        &bf16_avx512::VARIANT,
        &float_avx512::VARIANT,
        &float_avx2::VARIANT,
        &cuda_wide::WIDE,
        &cuda_tiles::MANY,
        &cuda_tiles::DOT,
        &cuda_many::MANY,
        &cuda_float::FLOAT,
        &cuda_half::HALF,
        &cuda::Q8,
        &cuda::F32,
        &REFERENCE,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const VARIANTS: &'static [&'static Variant<Self>] = &[
        &cuda_wide::WIDE,
        &cuda_tiles::MANY,
        &cuda_tiles::DOT,
        &cuda_many::MANY,
        &cuda_float::FLOAT,
        &cuda_half::HALF,
        &cuda::Q8,
        &cuda::F32,
        &REFERENCE,
    ];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(desc: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args {
            weight: slots.weight.0,
            bias: if desc.bias { slots.bias.0.cast() } else { std::ptr::null() },
            x: frame.at(slots.x),
            out: frame.at(slots.out),
            num_rows: frame.rows(slots.rows),
        }
    }

    fn cost(desc: &Desc, slots: &Slots) -> Cost {
        let (n, k) = (desc.n as u64, desc.k as u64);
        let (input_bytes, unit) = match desc.input {
            Input::F32 => (4 * k, Unit::F32),
            Input::Q8 => (quantize::row_bytes(desc.k) as u64, Unit::Int8),
            Input::Half => (2 * k + 4, Unit::F32),
        };
        let bias_bytes = if desc.bias { 4 * n } else { 0 };
        Cost {
            fixed_bytes: desc.weight_bytes() as u64 + bias_bytes,
            row_bytes: input_bytes + 4 * n,
            row_ops: 2 * n * k,
            unit,
            ..Cost::over(slots.rows)
        }
    }
}

const REFERENCE: Variant<Matmul> = Variant {
    id: "matmul/any/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: |desc| is_readable(desc.weight, desc.form),
    // SAFETY: the plan binds live memory; see `Launch::Cpu`.
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| unsafe { reference::matmul(desc, args, shard) }),
};

/// Products are exact, of integers and in fused multiply-adds; what differs from the reference is the order of the f32
/// sums, and one rounding of each group's product of scales.
#[cfg(target_arch = "x86_64")]
const EXACTNESS: Exactness = Exactness::Reordered { ulp: 64 };

/// Variants for x86-64, best first.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use device::Feature;

    use super::{EXACTNESS, Matmul, dot_avx512, gemm_avx512, packed_avx2, packed_avx512, unpacked};
    use crate::op::Rows;
    use crate::variant::{Launch, Variant};

    pub(super) const PACKED_AVX512: Variant<Matmul> = Variant {
        id: "matmul/packed/avx512vnni",
        needs: &[Feature::Avx512Vnni],
        exactness: EXACTNESS,
        accepts: packed_avx512::accepts,
        launch: Launch::Cpu(packed_avx512::matmul),
    };

    pub(super) const DOT_AVX512: Variant<Matmul> = Variant {
        id: "matmul/q8/avx512vnni-dot",
        needs: &[Feature::Avx512Vnni],
        exactness: EXACTNESS,
        accepts: dot_avx512::accepts,
        launch: Launch::Cpu(dot_avx512::dot),
    };

    pub(super) const GEMM_AVX512: Variant<Matmul> = Variant {
        id: "matmul/q8/avx512vnni-gemm",
        needs: &[Feature::Avx512Vnni],
        exactness: EXACTNESS,
        accepts: |desc| gemm_avx512::accepts(desc) && desc.rows == Rows::Many,
        launch: Launch::Cpu(gemm_avx512::gemm),
    };

    pub(super) const PACKED_AVX2: Variant<Matmul> = Variant {
        id: "matmul/packed/avx2",
        needs: &[Feature::Avx2],
        exactness: EXACTNESS,
        accepts: packed_avx2::accepts,
        launch: Launch::Cpu(packed_avx2::matmul),
    };

    pub(super) const UNPACKED_AVX2: Variant<Matmul> = Variant {
        id: "matmul/q8/avx2-unpacked",
        needs: &[Feature::Avx2],
        exactness: EXACTNESS,
        accepts: unpacked::accepts,
        launch: Launch::Cpu(unpacked::unpacked_avx2),
    };
}
