//! Conversions of the small float formats that block scales and plain tensors use. Called by `blocks`, `decode`, `encode` and
//! kernels. None of them depends on the CPU's subnormal mode or features, and the `f16` one is free of branches, so that loops
//! over it vectorise.

use bytemuck::{Pod, Zeroable};

/// An IEEE binary16 number as it stands in a block: two bytes, no alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Half(pub [u8; 2]);

impl Half {
    /// The number with these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits.to_le_bytes())
    }

    /// Its bits.
    pub const fn bits(self) -> u16 {
        u16::from_le_bytes(self.0)
    }

    /// The nearest number to `value`, ties to even.
    pub fn from_f32(value: f32) -> Self {
        Self::from_bits(half::f16::from_f32(value).to_bits())
    }

    /// The same number as `f32` (exact).
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f16_to_f32(self.bits())
    }
}

/// `f16` bits to `f32`, exactly; NaN payloads are kept.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    const REBIAS: u32 = (127 - 15) << 23;
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff) << 13;
    // Subnormal halves: put the mantissa behind a leading one of value 2^-14, then take that one away.
    let subnormal = f32::from_bits(magnitude + REBIAS + (1 << 23)) - f32::from_bits(REBIAS + (1 << 23));
    let normal = magnitude + REBIAS;
    // Infinities and NaNs keep the highest exponent.
    let normal = if magnitude >= 0x7c00 << 13 { normal + REBIAS } else { normal };
    f32::from_bits(sign | if magnitude < 0x0400 << 13 { subnormal.to_bits() } else { normal })
}

/// `bf16` bits to `f32`: the upper half of the same number.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// `f32` to `bf16` bits: nearest, ties to even; NaNs stay NaNs.
#[inline(always)]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40; // quiet
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// Half of an E8M0 scale, `2^(e - 128)` (MXFP4 stores E2M1 codes doubled). 255 is not special, as in ggml.
#[inline(always)]
pub fn e8m0_half_to_f32(e: u8) -> f32 {
    match e {
        0 | 1 => f32::from_bits(0x0020_0000 << e), // 2^-128 and 2^-127 are subnormal
        _ => f32::from_bits(u32::from(e - 1) << 23),
    }
}

/// Half of an unsigned E4M3 scale (bias 7; NVFP4 stores E2M1 codes doubled). The top bit is ignored; 0x7f means 0, as in ggml.
#[inline(always)]
pub fn ue4m3_half_to_f32(e: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(e >> 3) & 0xf, u32::from(e & 7));
    if e == 0x7f {
        return 0.0;
    }
    if exponent == 0 {
        return mantissa as f32 * (1.0 / 1024.0); // m * 2^-9 / 2
    }
    // (1 + m/8) * 2^(exponent - 7) / 2
    f32::from_bits(((exponent + 127 - 8) << 23) | (mantissa << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_becomes_the_f32_that_the_half_crate_makes() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32_const());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{bits:#06x}");
        }
    }

    #[test]
    fn every_bf16_survives_a_round_trip() {
        for bits in 0..=u16::MAX {
            let value = bf16_to_f32(bits);
            assert!(f32_to_bf16(value) == bits || value.is_nan(), "{bits:#06x}");
        }
    }
}
