//! The plain truth of `norm`.

use super::Desc;

/// Normalises one group in place. The mean square is taken in f64, and returned.
pub fn norm(desc: &Desc, weight: &[f32], x: &mut [f32]) -> f64 {
    let sum: f64 = x.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let mean = sum / desc.width as f64;
    let scale = (1.0 / (mean + f64::from(desc.eps)).sqrt()) as f32;
    x.iter_mut().zip(weight).for_each(|(value, &weight)| *value = *value * scale * weight);
    mean
}
