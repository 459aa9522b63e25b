//! The memory layout of every quantised block, byte for byte as in files. Read by `unpack`; kernels cast tensor data to slices
//! of these (`bytemuck::cast_slice`).
//!
//! Every struct is `repr(C)`, made of bytes only and so free of alignment, and exactly as large as the table in
//! [`dtype`](crate::dtype) says. Numbers of more than one byte are little-endian. "Element" counts within the block.

mod basic;
mod fp4;
pub mod grid;
mod iq;
mod k;
mod ternary;

pub use basic::{Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1};
pub use fp4::{MXFP4, NVFP4};
pub use iq::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, IQ4_NL, IQ4_XS};
pub use k::{Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, k_scales_and_mins, q3_k_scales};
pub use ternary::{TQ1_0, TQ2_0};

/// Elements of a super-block: all K, IQ (but IQ4_NL) and ternary types.
pub const SUPER: usize = 256;

macro_rules! check_sizes {
    ($($block:ident),*) => {$(
        const _: () = assert!(size_of::<$block>() == crate::DType::$block.block_bytes() && align_of::<$block>() == 1);
    )*};
}
check_sizes!(
    Q1_0, Q2_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS,
    IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4
);
