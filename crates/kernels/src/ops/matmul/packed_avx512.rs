//! Int8 activations times weights in bands of 16 rows, see [`crate::packed`]. A band is one register wide: lane r
//! of a vector is row r, so nothing is ever summed across lanes.
//!
//! Up to [`DIRECT_ROWS`] rows of activations the codes are unpacked in registers and used at once. One row is bound
//! by reading memory: a unit of 4-bit codes, 288 bytes with its scales, takes about 25 instructions, some 14 cycles,
//! while a core gets 4 to 5 bytes per cycle from DRAM. More rows share the unpacking, eight at a time.
//! Beyond that the bands are unpacked into panels, once for all rows.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;

use device::Shard;

use super::corrections::{Corrections, correct};
use super::panel_avx512::{self, PANEL_ROWS, Panel, Source};
use super::{Args, Desc, Input};
use crate::ops::quantize::q8_row;
use crate::packed::{BAND, Form, PACKINGS, STEP, STEPS, Scales, UNIT, VECTOR, kernel_of};
use crate::scratch::{Carve, with_scratch};

/// Rows of activations up to which bands are read directly.
const DIRECT_ROWS: usize = 24;
/// Rows of activations that share one unpacking: 8 codes, 8 integer and 8 float sums of 32 registers.
const SHARED_ROWS: usize = 8;
/// Most bytes of weights that a worker takes at a time.
const TILE_BYTES: usize = 1 << 20;
/// How far ahead of its reading a worker asks for weights, in bytes: beyond the page that the hardware follows,
/// into the second cache, where more requests can be under way than in the first.
const AHEAD: usize = 16 << 10;

/// Weights in bands, int8 activations.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::Q8 && desc.form == Form::Packed
}

/// The kernel.
///
/// # Safety
/// AVX-512 with VNNI; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    macro_rules! dispatch {
        ($($p:literal)*) => {
            // SAFETY: the caller's promise; the packing is the weights'.
            unsafe { match kernel_of(desc.weight) {
                $(Some($p) if args.num_rows <= DIRECT_ROWS => direct::<$p>(desc, args, shard),)*
                $(Some($p) => panel_avx512::gemm::<Bands<$p>>(desc, args, shard),)*
                _ => unreachable!("{} is not packed", desc.weight),
            } }
        };
    }
    dispatch!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22);
}

/// Few rows: every worker walks runs of bands.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn direct<const P: usize>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_bands = desc.n.div_ceil(BAND);
    let band_bytes = PACKINGS[P].band_bytes(desc.k);
    // Long runs: what a worker asks for ahead of its reading is its own.
    let tile_bands = (num_bands / shard.count).clamp(1, TILE_BYTES.div_ceil(band_bytes));
    let passes = args.num_rows.div_ceil(SHARED_ROWS).max(1);
    let carve = |base| {
        let mut carve = Carve::new(base);
        (Corrections::carve(&mut carve, desc, args.num_rows), carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).1, |scratch| {
        let (corrections, _) = carve(scratch);
        // SAFETY: the caller's promise; carved for these rows. Each output column belongs to one worker.
        unsafe {
            correct(desc, args, &corrections);
            for tile in shard.tiles(num_bands.div_ceil(tile_bands)) {
                for band in tile * tile_bands..num_bands.min((tile + 1) * tile_bands) {
                    for pass in 0..passes {
                        let (start, end) = (args.num_rows * pass / passes, args.num_rows * (pass + 1) / passes);
                        band_times_rows::<P>(desc, args, band, start, end - start, &corrections);
                    }
                }
            }
        }
    });
}

/// Chooses the tile for this many rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn band_times_rows<const P: usize>(
    desc: &Desc,
    args: &Args,
    band: usize,
    start: usize,
    count: usize,
    corrections: &Corrections,
) {
    macro_rules! dispatch {
        ($($t:literal)*) => {
            // SAFETY: the caller's promise.
            unsafe { match count {
                0 => (),
                $($t => tile::<P, $t>(desc, args, band, start, corrections),)*
                _ => unreachable!("passes have up to {SHARED_ROWS} rows"),
            } }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8);
}

/// 16 weight rows times T activation rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn tile<const P: usize, const T: usize>(
    desc: &Desc,
    args: &Args,
    band: usize,
    start: usize,
    corrections: &Corrections,
) {
    let packing = const { PACKINGS[P] };
    let num_groups = desc.k / packing.group_len;
    // SAFETY: the caller's promise; units and blocks lie inside the band, the ragged edge of `n` is masked.
    unsafe {
        let unit_share = packing.band_bytes(desc.k) * UNIT / desc.k;
        let mut ahead = args.weight.wrapping_add(band * packing.band_bytes(desc.k) + AHEAD);
        let mut codes_at = args.weight.add(band * packing.band_bytes(desc.k));
        let mut block_at = codes_at.add(packing.codes_bytes(desc.k));
        let x = q8_row(args.x, start, desc.k);
        let x_bytes = crate::ops::quantize::row_bytes(desc.k);
        let (x_codes, x_scales) = (x.codes.as_ptr(), x.scales.as_ptr());
        let starts = corrections.starts.wrapping_add(start * num_groups);
        let x_sums = corrections.sums.wrapping_add(start * num_groups);
        let mut sums = [_mm512_setzero_ps(); T];
        for block in 0..desc.k / packing.block_len {
            let scales = BlockScales::<P>::load(block_at);
            for unit in 0..packing.block_len / UNIT {
                for line in 0..unit_share.div_ceil(VECTOR) {
                    _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(line * VECTOR).cast());
                }
                ahead = ahead.wrapping_add(unit_share);
                let codes = unit_codes::<P>(codes_at);
                codes_at = codes_at.add(packing.unit_bytes());
                let column = block * packing.block_len + unit * UNIT;
                let per_unit = const { UNIT / PACKINGS[P].group_len };
                for part in 0..per_unit {
                    let g = column / packing.group_len + part;
                    let (scale, min) = scales.group(block_at, unit * per_unit + part);
                    let steps = STEPS / per_unit;
                    let mut dots = [_mm512_setzero_si512(); T];
                    if packing.code_offset > 0 {
                        for t in 0..T {
                            dots[t] = _mm512_set1_epi32(*starts.add(t * num_groups + g));
                        }
                    }
                    for step in part * steps..(part + 1) * steps {
                        for t in 0..T {
                            let at = x_codes.add(t * x_bytes + column + STEP * step);
                            let four = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                            dots[t] = _mm512_dpbusd_epi32(dots[t], codes[step], four);
                        }
                    }
                    for t in 0..T {
                        let x_scale = _mm512_set1_ps(*x_scales.byte_add(t * x_bytes).add(column / UNIT));
                        let scale = _mm512_mul_ps(scale, x_scale);
                        sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t]), scale, sums[t]);
                        if packing.has_mins {
                            sums[t] = _mm512_fnmadd_ps(min, _mm512_set1_ps(*x_sums.add(t * num_groups + g)), sums[t]);
                        }
                    }
                }
            }
            block_at = block_at.add(packing.block_bytes());
        }
        let n = band * BAND;
        let mask = u16::MAX >> BAND.saturating_sub(desc.n - n);
        let bias = if desc.bias { _mm512_maskz_loadu_ps(mask, args.bias.wrapping_add(n)) } else { _mm512_setzero_ps() };
        for t in 0..T {
            let out = args.out.wrapping_add((start + t) * desc.n + n);
            _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(sums[t], bias));
        }
    }
}

/// The unsigned codes of a unit, one vector per step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn unit_codes<const P: usize>(unit: *const u8) -> [__m512i; STEPS] {
    let packing = const { PACKINGS[P] };
    let mut codes = [_mm512_setzero_si512(); STEPS];
    let (mut low, mut plane) = (0, 0);
    for i in 0..packing.planes.len() {
        let bits = packing.planes[i];
        for step in 0..STEPS {
            let (vector, shift) = bits.place(step);
            // SAFETY: the caller's promise.
            let lanes = unsafe { _mm512_loadu_si512(unit.add((plane + vector) * VECTOR).cast()) };
            // Bytes cannot be shifted; words can, and the mask drops what came from the neighbour.
            let lanes = match low as i32 - shift as i32 {
                0 => lanes,
                left @ 1.. => _mm512_sll_epi16(lanes, _mm_cvtsi32_si128(left)),
                right => _mm512_srl_epi16(lanes, _mm_cvtsi32_si128(-right)),
            };
            let mask = ((1u32 << bits as u32) - 1) << low;
            let field = if mask == 0xff { lanes } else { _mm512_and_si512(lanes, _mm512_set1_epi8(mask as i8)) };
            codes[step] = if low == 0 { field } else { _mm512_or_si512(codes[step], field) };
        }
        (low, plane) = (low + bits as u32, plane + bits.vectors());
    }
    if let Some(table) = packing.table {
        // SAFETY: a table has 16 bytes.
        let table = unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) };
        let table = _mm512_add_epi8(table, _mm512_set1_epi8(packing.code_offset as i8));
        for step in 0..STEPS {
            codes[step] = _mm512_shuffle_epi8(table, codes[step]);
        }
    }
    codes
}

/// The floats of a block: a scale and a min per row, which the factors of groups multiply.
struct BlockScales<const P: usize> {
    scale: __m512,
    min: __m512,
}

impl<const P: usize> BlockScales<P> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn load(block: *const u8) -> Self {
        let packing = const { PACKINGS[P] };
        // SAFETY: the caller's promise: a whole block.
        unsafe {
            let floats = |at: *const u8| {
                let halves = _mm256_loadu_si256(at.cast());
                match packing.scales {
                    Scales::Bf16 => _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))),
                    Scales::UnsignedEighths => _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(0.125)),
                    _ => _mm512_cvtph_ps(halves),
                }
            };
            let min = if packing.has_mins { floats(block.add(2 * BAND)) } else { _mm512_setzero_ps() };
            Self { scale: floats(block), min }
        }
    }

    /// Scale and min of group `g` of the block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn group(&self, block: *const u8, g: usize) -> (__m512, __m512) {
        let packing = const { PACKINGS[P] };
        if packing.scales == Scales::F16PerGroup {
            // SAFETY: the caller's promise: a whole block.
            let halves = unsafe { _mm256_loadu_si256(block.add(2 * BAND * g).cast()) };
            return (_mm512_cvtph_ps(halves), self.min);
        }
        if packing.num_factors() == 0 {
            return (self.scale, self.min);
        }
        let kinds = if packing.has_mins { 2 } else { 1 };
        // SAFETY: the caller's promise: a whole block.
        unsafe {
            let factors = |kind: usize| {
                let at = block.add(kinds * 2 * BAND + (kind * packing.num_factors() + g) * BAND);
                let bytes = _mm_loadu_si128(at.cast());
                match packing.scales {
                    Scales::Signed => _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)),
                    _ => _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)),
                }
            };
            let min = if packing.has_mins { _mm512_mul_ps(self.min, factors(1)) } else { self.min };
            (_mm512_mul_ps(self.scale, factors(0)), min)
        }
    }
}

/// Panels of two bands.
struct Bands<const P: usize>;

impl<const P: usize> Source for Bands<P> {
    fn carve(_: &mut Carve, _: &Desc) -> Self {
        Self
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn fill(&self, desc: &Desc, args: &Args, first: usize, panel: &Panel) {
        let packing = const { PACKINGS[P] };
        for half in 0..PANEL_ROWS / BAND {
            let band = first / BAND + half;
            // SAFETY: the caller's promise; units and blocks lie inside the band.
            unsafe {
                let (scales, mins) = (panel.scales.add(half * BAND), panel.mins.add(half * BAND));
                if band >= desc.n.div_ceil(BAND) {
                    for g in 0..panel.num_groups {
                        _mm512_store_ps(scales.add(g * PANEL_ROWS), _mm512_setzero_ps());
                        _mm512_store_ps(mins.add(g * PANEL_ROWS), _mm512_setzero_ps());
                    }
                    continue;
                }
                let codes_at = args.weight.add(band * packing.band_bytes(desc.k));
                for unit in 0..desc.k / UNIT {
                    let codes = unit_codes::<P>(codes_at.add(unit * packing.unit_bytes()));
                    for step in 0..STEPS {
                        let to = panel.columns.add((unit * STEPS + step) * STEP * PANEL_ROWS + half * VECTOR);
                        _mm512_store_si512(to.cast(), codes[step]);
                    }
                }
                let per_block = packing.block_len / packing.group_len;
                for block in 0..desc.k / packing.block_len {
                    let at = codes_at.add(packing.codes_bytes(desc.k) + block * packing.block_bytes());
                    let floats = BlockScales::<P>::load(at);
                    for g in 0..per_block {
                        let (scale, min) = floats.group(at, g);
                        let to = (block * per_block + g) * PANEL_ROWS;
                        _mm512_store_ps(scales.add(to), scale);
                        _mm512_store_ps(mins.add(to), min);
                    }
                }
            }
        }
    }
}
