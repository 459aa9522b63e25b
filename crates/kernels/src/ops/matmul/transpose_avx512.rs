//! A 16 × 16 transposition of 32-bit lanes: sixteen weight rows become columns of a panel.

use std::arch::x86_64::*;

/// Reads sixteen rows of 64 bytes, `stride` bytes apart, adds `offset` to every byte and writes the
/// transposed lanes as sixteen rows of 64 bytes, `out_stride` bytes apart.
///
/// # Safety
/// AVX-512 F and BW; all 16 rows readable and writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn transpose_16x16(rows: *const u8, stride: usize, offset: u8, out: *mut u8, out_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let offset = _mm512_set1_epi8(offset as i8);
        let mut a = [_mm512_setzero_si512(); 16];
        for (i, lane) in a.iter_mut().enumerate() {
            *lane = _mm512_add_epi8(_mm512_loadu_si512(rows.add(i * stride).cast()), offset);
        }
        let mut b = [_mm512_setzero_si512(); 16];
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
        }
        for i in 0..4 {
            a[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
            a[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
            a[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
            a[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
        }
        for j in 0..4 {
            // a[4 i + j] holds, in its four 128-bit lanes l, column 4 l + j of rows 4 i .. 4 i + 4.
            let low01 = _mm512_shuffle_i32x4::<0x88>(a[j], a[4 + j]);
            let high01 = _mm512_shuffle_i32x4::<0xdd>(a[j], a[4 + j]);
            let low23 = _mm512_shuffle_i32x4::<0x88>(a[8 + j], a[12 + j]);
            let high23 = _mm512_shuffle_i32x4::<0xdd>(a[8 + j], a[12 + j]);
            let columns = [
                _mm512_shuffle_i32x4::<0x88>(low01, low23),
                _mm512_shuffle_i32x4::<0x88>(high01, high23),
                _mm512_shuffle_i32x4::<0xdd>(low01, low23),
                _mm512_shuffle_i32x4::<0xdd>(high01, high23),
            ];
            for (l, column) in columns.into_iter().enumerate() {
                _mm512_storeu_si512(out.add((4 * l + j) * out_stride).cast(), column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_ij_goes_to_ji() {
        if !std::arch::is_x86_feature_detected!("avx512bw") {
            println!("skipped: needs avx512");
            return;
        }
        let rows: Vec<u32> = (0..256).collect();
        let mut out = vec![0u32; 256];
        // SAFETY: the feature was checked; both arrays hold 16 rows of 64 bytes.
        unsafe { transpose_16x16(rows.as_ptr().cast(), 64, 0, out.as_mut_ptr().cast(), 64) };
        for i in 0..16 {
            for j in 0..16 {
                assert_eq!(out[j * 16 + i], rows[i * 16 + j]);
            }
        }
    }
}
