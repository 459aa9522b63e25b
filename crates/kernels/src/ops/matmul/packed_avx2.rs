//! Int8 activations times weights in bands of 16 rows, see [`crate::packed`], without VNNI. Both halves of a band, of 8 rows
//! and one register wide, are unpacked in registers for one activation row. For more a band is unpacked once and stays in
//! the first cache while all of them pass.
//!
//! `vpmaddubsw` sums two products of an unsigned and a signed byte into 16 bits, saturating. Codes of up to 6 bits
//! leave room to add several such sums before they are widened ([`sums_per_word`]); codes of 8 bits leave none
//! and even one sum only fits when the code is signed: `|w| · sign(a, w)`.

#![allow(clippy::needless_range_loop)] // register tiles are indexed in step with addresses

use std::arch::x86_64::*;

use device::Shard;

use super::corrections::{Corrections, correct};
use super::{Args, Desc, Input};
use crate::ops::quantize::{q8_row, row_bytes};
use crate::packed::{BAND, Bits, Form, PACKINGS, Packing, STEP, STEPS, Scales, UNIT, VECTOR, kernel_of};
use crate::rows::{row, row_mut};
use crate::scratch::{Carve, with_scratch};

/// Rows of half a band.
const HALF: usize = 8;
/// Activation rows per register tile: 4 words, 4 integer and 4 float sums and the weights, of 16 registers.
const TILE_ROWS: usize = 4;
/// Most bytes of weights that a worker takes at a time.
const TILE_BYTES: usize = 1 << 20;
/// How far ahead of its reading a worker asks for weights, in bytes.
const AHEAD: usize = 16 << 10;

/// Weights in bands, int8 activations.
pub fn accepts(desc: &Desc) -> bool {
    desc.input == Input::Q8 && desc.form == Form::Packed
}

/// Whether the codes of a type are taken as signed bytes.
const fn is_signed(packing: &Packing) -> bool {
    packing.table.is_some() || matches!(packing.planes[0], Bits::Eight)
}

/// Pair sums of `vpmaddubsw` that a 16-bit word can add up: each is at most 2 · 127 · the greatest code.
const fn sums_per_word(packing: &Packing) -> usize {
    let (mut bits, mut i) = (0, 0);
    while i < packing.planes.len() {
        bits += packing.planes[i] as u32;
        i += 1;
    }
    let fit = i16::MAX as usize / (2 * 127 * ((1 << bits) - 1));
    let steps = packing.group_len / STEP;
    if is_signed(packing) {
        1
    } else if fit >= steps {
        steps
    } else {
        // A power of two, so that groups divide evenly.
        1 << fit.ilog2()
    }
}

/// The kernel. Tiles are runs of bands, cut into runs of activation rows when there are few.
///
/// # Safety
/// AVX2, FMA and F16C; `args` bound to live memory of the described shape.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn matmul(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    macro_rules! dispatch {
        ($($p:literal)*) => {
            // SAFETY: the caller's promise; the packing is the weights'.
            unsafe { match kernel_of(desc.weight) {
                $(Some($p) => bands::<$p>(desc, args, shard),)*
                _ => unreachable!("{} is not packed", desc.weight),
            } }
        };
    }
    dispatch!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22);
}

/// An unpacked band.
struct Panel {
    /// `[2, k / 4, 8]` groups of four codes: unsigned, or signed where [`is_signed`].
    columns: *mut u8,
    /// `[2, num_groups, 8]`.
    scales: *mut f32,
    /// `[2, num_groups, 8]`.
    mins: *mut f32,
}

impl Panel {
    fn carve(carve: &mut Carve, desc: &Desc) -> Self {
        let num_groups = desc.k / desc.weight.group_len();
        Self {
            columns: carve.take(BAND * desc.k),
            scales: carve.take(BAND * num_groups),
            mins: carve.take(BAND * num_groups),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn bands<const P: usize>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let num_bands = desc.n.div_ceil(BAND);
    let band_bytes = PACKINGS[P].band_bytes(desc.k);
    let few = args.num_rows <= 2 * TILE_ROWS;
    // Few rows: long runs, because what a worker asks for ahead of its reading is its own.
    let tile_bands = if few { (num_bands / shard.count).clamp(1, TILE_BYTES.div_ceil(band_bytes)) } else { 1 };
    let cuts = if few { 1 } else { (4 * shard.count).div_ceil(num_bands).min(args.num_rows.div_ceil(4 * TILE_ROWS)) };
    let rows_per_cut = args.num_rows.div_ceil(cuts).next_multiple_of(TILE_ROWS);
    let carve = |base| {
        let mut carve = Carve::new(base);
        let panel = Panel::carve(&mut carve, desc);
        (panel, Corrections::carve(&mut carve, desc, args.num_rows), carve.used())
    };
    with_scratch(carve(std::ptr::null_mut()).2, |scratch| {
        let (panel, corrections, _) = carve(scratch);
        // SAFETY: the caller's promise; carved for these shapes. Each output belongs to one worker.
        unsafe {
            correct(desc, args, &corrections);
            for tile in shard.tiles(num_bands.div_ceil(tile_bands) * cuts) {
                let (first, cut) = (tile / cuts * tile_bands, tile % cuts);
                let rows = cut * rows_per_cut..args.num_rows.min((cut + 1) * rows_per_cut);
                for band in first..num_bands.min(first + tile_bands) {
                    if args.num_rows == 1 {
                        multiply_one::<P>(desc, args, band, &corrections);
                        continue;
                    }
                    fill::<P>(desc, args, band, &panel);
                    for start in rows.clone().step_by(TILE_ROWS) {
                        match TILE_ROWS.min(rows.end - start) {
                            1 => multiply::<P, 1>(desc, args, band, start, &panel, &corrections),
                            2 => multiply::<P, 2>(desc, args, band, start, &panel, &corrections),
                            3 => multiply::<P, 3>(desc, args, band, start, &panel, &corrections),
                            _ => multiply::<P, TILE_ROWS>(desc, args, band, start, &panel, &corrections),
                        }
                    }
                }
            }
        }
    });
}

/// Unpacks a band.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn fill<const P: usize>(desc: &Desc, args: &Args, band: usize, panel: &Panel) {
    let packing = const { PACKINGS[P] };
    let band_bytes = packing.band_bytes(desc.k);
    let num_groups = desc.k / packing.group_len;
    let per_block = packing.block_len / packing.group_len;
    // SAFETY: the caller's promise; units and blocks lie inside the band.
    unsafe {
        let codes_at = args.weight.add(band * band_bytes);
        for unit in 0..desc.k / UNIT {
            ask_ahead(codes_at, unit, band_bytes * UNIT / desc.k);
            for half in 0..2 {
                let codes = unit_codes::<P>(codes_at.add(unit * packing.unit_bytes() + half * VECTOR / 2));
                let to = panel.columns.add(half * HALF * desc.k + unit * UNIT * HALF);
                for step in 0..STEPS {
                    _mm256_store_si256(to.add(step * STEP * HALF).cast(), codes[step]);
                }
            }
        }
        for block in 0..desc.k / packing.block_len {
            let at = codes_at.add(packing.codes_bytes(desc.k) + block * packing.block_bytes());
            for half in 0..2 {
                for g in 0..per_block {
                    let to = (half * num_groups + block * per_block + g) * HALF;
                    _mm256_store_ps(panel.scales.add(to), group_float::<P>(at, half, 0, g));
                    if packing.has_mins {
                        _mm256_store_ps(panel.mins.add(to), group_float::<P>(at, half, 1, g));
                    }
                }
            }
        }
    }
}

/// Asks for what a worker reads later on: as much as a unit's share of a band.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn ask_ahead(band: *const u8, unit: usize, share: usize) {
    for line in 0..share.div_ceil(VECTOR) {
        // A hint: whatever the address, nothing is read.
        _mm_prefetch::<_MM_HINT_T1>(band.wrapping_add(AHEAD + unit * share + line * VECTOR).cast());
    }
}

/// The codes of half a unit, one register per step; `unit` points to the half of its first vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unit_codes<const P: usize>(unit: *const u8) -> [__m256i; STEPS] {
    let packing = const { PACKINGS[P] };
    let mut codes = [_mm256_setzero_si256(); STEPS];
    let (mut low, mut plane) = (0, 0);
    for i in 0..packing.planes.len() {
        let bits = packing.planes[i];
        for step in 0..STEPS {
            let (vector, shift) = bits.place(step);
            // SAFETY: the caller's promise.
            let lanes = unsafe { _mm256_loadu_si256(unit.add((plane + vector) * VECTOR).cast()) };
            // Bytes cannot be shifted; words can, and the mask drops what came from the neighbour.
            let lanes = match low as i32 - shift as i32 {
                0 => lanes,
                left @ 1.. => _mm256_sll_epi16(lanes, _mm_cvtsi32_si128(left)),
                right => _mm256_srl_epi16(lanes, _mm_cvtsi32_si128(-right)),
            };
            let mask = ((1u32 << bits as u32) - 1) << low;
            let field = if mask == 0xff { lanes } else { _mm256_and_si256(lanes, _mm256_set1_epi8(mask as i8)) };
            codes[step] = if low == 0 { field } else { _mm256_or_si256(codes[step], field) };
        }
        (low, plane) = (low + bits as u32, plane + bits.vectors());
    }
    if let Some(table) = packing.table {
        // SAFETY: a table has 16 bytes.
        let table = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) };
        for step in 0..STEPS {
            codes[step] = _mm256_shuffle_epi8(table, codes[step]);
        }
    } else if is_signed(&packing) {
        for step in 0..STEPS {
            codes[step] = _mm256_sub_epi8(codes[step], _mm256_set1_epi8(packing.code_offset as i8));
        }
    }
    codes
}

/// The scales (`kind` 0) or mins (1) of group `g` of a block, for half of its rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn group_float<const P: usize>(block: *const u8, half: usize, kind: usize, g: usize) -> __m256 {
    let packing = const { PACKINGS[P] };
    let kinds = if packing.has_mins { 2 } else { 1 };
    // SAFETY: the caller's promise: a whole block.
    unsafe {
        let index = if packing.scales == Scales::F16PerGroup { g } else { kind };
        let halves = _mm_loadu_si128(block.add(2 * (index * BAND + half * HALF)).cast());
        let float = match packing.scales {
            Scales::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))),
            Scales::UnsignedEighths => _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(0.125)),
            _ => _mm256_cvtph_ps(halves),
        };
        if packing.num_factors() == 0 {
            return float;
        }
        let at = kinds * 2 * BAND + (kind * packing.num_factors() + g) * BAND + half * HALF;
        let bytes = _mm_loadl_epi64(block.add(at).cast());
        let factor = match packing.scales {
            Scales::Signed => _mm256_cvtepi8_epi32(bytes),
            _ => _mm256_cvtepu8_epi32(bytes),
        };
        _mm256_mul_ps(float, _mm256_cvtepi32_ps(factor))
    }
}

/// 16 weight rows times T activation rows, one half after the other.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply<const P: usize, const T: usize>(
    desc: &Desc,
    args: &Args,
    band: usize,
    start: usize,
    panel: &Panel,
    corrections: &Corrections,
) {
    let packing = const { PACKINGS[P] };
    let signed = const { is_signed(&PACKINGS[P]) };
    let per_word = const { sums_per_word(&PACKINGS[P]) };
    let steps = const { PACKINGS[P].group_len / STEP };
    let num_groups = desc.k / packing.group_len;
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the caller's promise; the ragged edge of `n` is left out.
    unsafe {
        let x = q8_row(args.x, start, desc.k);
        let x_bytes = row_bytes(desc.k);
        let (x_codes, x_scales) = (x.codes.as_ptr(), x.scales.as_ptr());
        let starts = corrections.starts.wrapping_add(start * num_groups);
        let x_sums = corrections.sums.wrapping_add(start * num_groups);
        for half in 0..2 {
            let columns = panel.columns.add(half * HALF * desc.k);
            let (scales, mins) = (panel.scales.add(half * num_groups * HALF), panel.mins.add(half * num_groups * HALF));
            let mut sums = [_mm256_setzero_ps(); T];
            for g in 0..num_groups {
                let mut dots = [_mm256_setzero_si256(); T];
                if packing.code_offset > 0 && !signed {
                    for t in 0..T {
                        dots[t] = _mm256_set1_epi32(*starts.add(t * num_groups + g));
                    }
                }
                for word in 0..steps / per_word {
                    let mut words = [_mm256_setzero_si256(); T];
                    for step in (g * steps + word * per_word)..(g * steps + (word + 1) * per_word) {
                        let weights = _mm256_load_si256(columns.add(step * STEP * HALF).cast());
                        for t in 0..T {
                            let four = x_codes.add(t * x_bytes + STEP * step).cast::<i32>().read_unaligned();
                            words[t] = _mm256_add_epi16(words[t], pairs(weights, _mm256_set1_epi32(four), signed));
                        }
                    }
                    for t in 0..T {
                        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(words[t], ones));
                    }
                }
                let scale = _mm256_load_ps(scales.add(g * HALF));
                for t in 0..T {
                    let x_scale = *x_scales.byte_add(t * x_bytes).add(g * packing.group_len / UNIT);
                    let scale = _mm256_mul_ps(scale, _mm256_set1_ps(x_scale));
                    sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), scale, sums[t]);
                    if packing.has_mins {
                        let x_sum = _mm256_set1_ps(*x_sums.add(t * num_groups + g));
                        sums[t] = _mm256_fnmadd_ps(_mm256_load_ps(mins.add(g * HALF)), x_sum, sums[t]);
                    }
                }
            }
            for t in 0..T {
                store(desc, args, start + t, band * BAND + half * HALF, sums[t]);
            }
        }
    }
}

/// 16 weight rows times the only activation row, in one pass over the band.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_one<const P: usize>(desc: &Desc, args: &Args, band: usize, corrections: &Corrections) {
    let packing = const { PACKINGS[P] };
    let signed = const { is_signed(&PACKINGS[P]) };
    let per_word = const { sums_per_word(&PACKINGS[P]) };
    let steps = const { PACKINGS[P].group_len / STEP };
    let unit_groups = const { UNIT / PACKINGS[P].group_len };
    let block_units = const { PACKINGS[P].block_len / UNIT };
    let band_bytes = packing.band_bytes(desc.k);
    let ones = _mm256_set1_epi16(1);
    // SAFETY: the caller's promise; units and blocks lie inside the band.
    unsafe {
        let x = q8_row(args.x, 0, desc.k);
        let (x_codes, x_scales) = (x.codes.as_ptr(), x.scales.as_ptr());
        let codes_at = args.weight.add(band * band_bytes);
        let mut scales_at = codes_at.add(packing.codes_bytes(desc.k));
        let mut sums = [_mm256_setzero_ps(); 2];
        for block in 0..desc.k / packing.block_len {
            for block_unit in 0..block_units {
                let unit = block * block_units + block_unit;
                ask_ahead(codes_at, unit, band_bytes * UNIT / desc.k);
                let x_scale = _mm256_set1_ps(*x_scales.add(unit));
                for half in 0..2 {
                    let codes = unit_codes::<P>(codes_at.add(unit * packing.unit_bytes() + half * VECTOR / 2));
                    for part in 0..unit_groups {
                        let (g, in_block) = (unit * unit_groups + part, block_unit * unit_groups + part);
                        let mut dots = _mm256_setzero_si256();
                        if packing.code_offset > 0 && !signed {
                            dots = _mm256_set1_epi32(*corrections.starts.add(g));
                        }
                        for word in 0..steps / per_word {
                            let mut words = _mm256_setzero_si256();
                            for step in (part * steps + word * per_word)..(part * steps + (word + 1) * per_word) {
                                let four = x_codes.add(UNIT * unit + STEP * step).cast::<i32>().read_unaligned();
                                words = _mm256_add_epi16(words, pairs(codes[step], _mm256_set1_epi32(four), signed));
                            }
                            dots = _mm256_add_epi32(dots, _mm256_madd_epi16(words, ones));
                        }
                        let scale = _mm256_mul_ps(group_float::<P>(scales_at, half, 0, in_block), x_scale);
                        sums[half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots), scale, sums[half]);
                        if packing.has_mins {
                            let x_sum = _mm256_set1_ps(*corrections.sums.add(g));
                            let min = group_float::<P>(scales_at, half, 1, in_block);
                            sums[half] = _mm256_fnmadd_ps(min, x_sum, sums[half]);
                        }
                    }
                }
            }
            scales_at = scales_at.add(packing.block_bytes());
        }
        for half in 0..2 {
            store(desc, args, 0, band * BAND + half * HALF, sums[half]);
        }
    }
}

/// Products of four codes each with the four of an activation, two of them added up.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pairs(codes: __m256i, four: __m256i, signed: bool) -> __m256i {
    if signed {
        _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(four, codes))
    } else {
        _mm256_maddubs_epi16(codes, four)
    }
}

/// Adds the bias and stores what half a band, whose first row is `n`, gives for an activation row. Rows beyond the matrix
/// are left out.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store(desc: &Desc, args: &Args, x_row: usize, n: usize, sums: __m256) {
    let inside = desc.n.saturating_sub(n).min(HALF);
    if inside == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let mut bias = [0f32; HALF];
        if desc.bias {
            bias[..inside].copy_from_slice(row(args.bias.add(n), 0, inside));
        }
        let sums = _mm256_add_ps(sums, _mm256_loadu_ps(bias.as_ptr()));
        let out = args.out.add(x_row * desc.n + n);
        if inside == HALF {
            _mm256_storeu_ps(out, sums);
        } else {
            let mut lanes = [0f32; HALF];
            _mm256_storeu_ps(lanes.as_mut_ptr(), sums);
            row_mut(out, 0, inside).copy_from_slice(&lanes[..inside]);
        }
    }
}
