//! The plain truth of `rope_table`.

use super::Desc;

/// One row of the table. Angles are taken in f64: at position 100 000 an f32 angle is off by 0.004.
pub fn rope_table(desc: &Desc, position: u32, inv_freq: &[f32], out: &mut [f32]) {
    let (cosines, sines) = out.split_at_mut(inv_freq.len());
    for ((cosine, sine), &frequency) in cosines.iter_mut().zip(sines).zip(inv_freq) {
        let angle = f64::from(position) * f64::from(frequency);
        *cosine = angle.cos() as f32 * desc.magnitude;
        *sine = angle.sin() as f32 * desc.magnitude;
    }
}
