//! The plain truth of `rope`.

use super::Desc;

/// Rotates one head in place by the angles of one table row.
pub fn rope(desc: &Desc, table: &[f32], head: &mut [f32]) {
    let half = desc.rotary_dim / 2;
    for j in 0..half {
        let (a, b) = desc.pairing.pair(j, half);
        let (cosine, sine) = (table[j], table[half + j]);
        (head[a], head[b]) = (head[a] * cosine - head[b] * sine, head[a] * sine + head[b] * cosine);
    }
}
