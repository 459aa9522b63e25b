//! The Hadamard rotation of a head: `H / √n` of Sylvester's construction, which is its own inverse.
//!
//! Every value becomes a sum of all values with signs, so an outlier is spread evenly and the largest code
//! no longer belongs to one channel. Called when vectors are stored as codes, and by the attention
//! kernels on queries and outputs: `(H q) · (H k) = q · k`, and `H (Σ w H v) = Σ w v`.

/// Most values of a rotated vector.
pub const MAX_ROTATED: usize = 512;

/// Rotates `x` in place. Where the length is no power of two, parts of the largest power of two that
/// divides it are rotated each by itself.
#[inline(always)]
pub fn hadamard(x: &mut [f32]) {
    let part = 1 << x.len().trailing_zeros().min(31);
    let factor = 1.0 / (part as f32).sqrt();
    let mut width = 1;
    while width < part {
        for pair in x.chunks_exact_mut(2 * width) {
            let (a, b) = pair.split_at_mut(width);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        width *= 2;
    }
    x.iter_mut().for_each(|x| *x *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_is_the_identity_and_length_stays() {
        for len in [1, 8, 24, 64, 80, 96, 128, 256] {
            let x: Vec<f32> = (0..len).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect();
            let mut y = x.clone();
            hadamard(&mut y);
            let square = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
            assert!((square(&x) - square(&y)).abs() < 1e-4 * square(&x), "{len}");
            hadamard(&mut y);
            assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-3), "{len}");
        }
    }

    #[test]
    fn an_outlier_is_spread_evenly() {
        let mut x = [0f32; 64];
        x[17] = 8.0;
        hadamard(&mut x);
        assert!(x.iter().all(|x| x.abs() == 1.0));
    }
}
