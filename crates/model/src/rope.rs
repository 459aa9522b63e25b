//! Rotary frequencies: base, scaling and factors become one inverse frequency per pair of values, so
//! that kernels know nothing of where they come from.

use gguf::Metadata;

use crate::Error;

/// The user's `--rope-*` and `--yarn-*` flags.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overrides {
    /// `--rope-freq-base`.
    pub freq_base: Option<f32>,
    /// `--rope-freq-scale`, or 1 / `--rope-scale`.
    pub freq_scale: Option<f32>,
    /// `--rope-scaling`.
    pub method: Option<Method>,
    /// `--yarn-orig-ctx`.
    pub original_context: Option<u32>,
    /// `--yarn-ext-factor`.
    pub extrapolation: Option<f32>,
    /// `--yarn-attn-factor`.
    pub magnitude: Option<f32>,
    /// `--yarn-beta-fast`.
    pub beta_fast: Option<f32>,
    /// `--yarn-beta-slow`.
    pub beta_slow: Option<f32>,
}

/// How positions beyond the original context are brought back into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None,
    /// All frequencies divided alike (arXiv 2306.15595).
    Linear,
    /// Low frequencies divided, high ones kept (arXiv 2309.00071).
    Yarn,
    /// By factors in the file (arXiv 2402.13753).
    LongRope,
}

impl Method {
    /// The values of `rope.scaling.type` and `--rope-scaling`.
    pub const NAMES: &[(&'static str, Method)] =
        &[("none", Method::None), ("linear", Method::Linear), ("yarn", Method::Yarn), ("longrope", Method::LongRope)];
}

/// Scaling of one model's frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// Factor on all (linear) or the low (YaRN) frequencies.
    pub freq_scale: f32,
    /// YaRN's share of extrapolation; 0 for linear.
    pub extrapolation: f32,
    /// Factor on cosine and sine.
    pub magnitude: f32,
    /// Rotations within the original context from which on a frequency is kept.
    pub beta_fast: f32,
    /// Rotations below which it is divided.
    pub beta_slow: f32,
    /// Context before scaling.
    pub original_context: u32,
}

impl Scaling {
    /// Frequencies as they are.
    pub const NONE: Self = Self {
        freq_scale: 1.0,
        extrapolation: 0.0,
        magnitude: 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        original_context: 0,
    };

    /// Reads `rope.scaling.*`.
    ///
    /// # Errors
    /// Names the key that is of the wrong type or out of range.
    pub fn read(metadata: &Metadata, arch: &str, context: u32, overrides: &Overrides) -> Result<Self, Error> {
        let f32 = |name: &str| metadata.opt_f32(&format!("{arch}.rope.{name}"));
        let key = format!("{arch}.rope.scaling.type");
        let name = metadata.opt_str(&key)?.unwrap_or("linear");
        let known = Method::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, method)| method);
        let Some(method) = overrides.method.or(known) else {
            return Err(Error::Metadata { key, value: name.to_owned(), expected: "none, linear, yarn or longrope" });
        };
        let factor = match f32("scaling.factor")? {
            None => f32("scale_linear")?.unwrap_or(0.0),
            Some(factor) => factor,
        };
        if !(factor.is_finite() && factor >= 0.0) {
            let (key, value) = (format!("{arch}.rope.scaling.factor"), factor.to_string());
            return Err(Error::Metadata { key, value, expected: "a non-negative number" });
        }
        let scale = if factor == 0.0 { 1.0 } else { 1.0 / factor };
        let freq_scale = match method {
            Method::None => 1.0,
            _ => overrides.freq_scale.unwrap_or(scale),
        };
        let yarn = if method == Method::Yarn { 1.0 } else { 0.0 };
        let extrapolation = overrides.extrapolation.or(f32("scaling.yarn_ext_factor")?).filter(|&e| e >= 0.0);
        let extrapolation = extrapolation.unwrap_or(yarn);
        // YaRN's temperature (arXiv 2309.00071, eq. 22): 0.1 ln(s) + 1.
        let stretch = 1.0 / freq_scale;
        let temperature = if extrapolation != 0.0 && stretch > 1.0 { 1.0 + 0.1 * stretch.ln() } else { 1.0 };
        let attention = overrides.magnitude.or(f32("scaling.attn_factor")?).unwrap_or(1.0);
        let original = metadata.opt_u32(&format!("{arch}.rope.scaling.original_context_length"))?;
        Ok(Self {
            freq_scale,
            extrapolation,
            magnitude: temperature * attention,
            beta_fast: overrides.beta_fast.or(f32("scaling.yarn_beta_fast")?).unwrap_or(32.0),
            beta_slow: overrides.beta_slow.or(f32("scaling.yarn_beta_slow")?).unwrap_or(1.0),
            original_context: overrides.original_context.or(original).unwrap_or(context),
        })
    }

    /// Inverse frequencies of `rotary_dim / 2` pairs; `factors` (Llama 3, LongRoPE) divide them one by one.
    pub fn inverse_frequencies(&self, base: f32, rotary_dim: usize, factors: Option<&[f32]>) -> Vec<f32> {
        let (base, dim) = (f64::from(base), rotary_dim as f64);
        // The pair that turns `rotations` times within the original context (arXiv 2309.00071, eq. 17).
        let pair_of = |rotations: f32| {
            let wavelength = f64::from(self.original_context) / (f64::from(rotations) * std::f64::consts::TAU);
            dim * wavelength.ln() / (2.0 * base.ln())
        };
        let low = pair_of(self.beta_fast).floor().max(0.0);
        let high = pair_of(self.beta_slow).ceil().min(dim - 1.0);
        let inverse = |pair: usize| {
            let factor = factors.and_then(|factors| factors.get(pair)).map_or(1.0, |&factor| f64::from(factor));
            let extrapolated = base.powf(-2.0 * pair as f64 / dim) / factor;
            let ramp = 1.0 - ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            let kept = ramp * f64::from(self.extrapolation);
            (extrapolated * (f64::from(self.freq_scale) * (1.0 - kept) + kept)) as f32
        };
        (0..rotary_dim / 2).map(inverse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_are_powers_of_the_base() {
        let frequencies = Scaling::NONE.inverse_frequencies(10_000.0, 8, None);
        assert_eq!(frequencies, [1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn factors_and_linear_scaling_divide() {
        let linear = Scaling { freq_scale: 0.25, ..Scaling::NONE };
        assert_eq!(linear.inverse_frequencies(10_000.0, 4, Some(&[1.0, 2.0])), [0.25, 0.00125]);
    }

    #[test]
    fn yarn_keeps_high_frequencies_and_divides_low_ones() {
        let yarn = Scaling { freq_scale: 0.25, extrapolation: 1.0, original_context: 2048, ..Scaling::NONE };
        let plain = Scaling::NONE.inverse_frequencies(10_000.0, 64, None);
        let scaled = yarn.inverse_frequencies(10_000.0, 64, None);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] / plain[31] - 0.25).abs() < 1e-6);
        let ratios: Vec<f32> = scaled.iter().zip(&plain).map(|(scaled, plain)| scaled / plain).collect();
        assert!(ratios.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{ratios:?}");
    }
}
