//! Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11).
//!
//! A draw is a function of (seed, position, stream) and of nothing else: the same request gives the same token
//! whatever else is in the batch, and taking tokens back needs no saved generator state.

/// 64 random bits for a position of the sequence. `stream` keeps apart the draws made at one position.
pub(super) fn bits(seed: u64, position: u64, stream: u32) -> u64 {
    let [a, b, ..] = philox([position as u32, (position >> 32) as u32, stream, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(a) << 32 | u64::from(b)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let even = u64::from(counter[0]) * 0xD251_1F53;
        let odd = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (odd >> 32) as u32 ^ counter[1] ^ key[0],
            odd as u32,
            (even >> 32) as u32 ^ counter[3] ^ key[1],
            even as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::philox;

    /// Known answers published with the authors' Random123 library.
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn seed_position_and_stream_all_matter() {
        let base = super::bits(1, 2, 3);
        for other in [
            super::bits(2, 2, 3),
            super::bits(1 | 1 << 32, 2, 3),
            super::bits(1, 3, 3),
            super::bits(1, 2 | 1 << 32, 3),
            super::bits(1, 2, 4),
        ] {
            assert_ne!(base, other);
        }
    }
}
