//! The plain truth of `glu`.

use super::{Activation, Desc};

/// One value.
pub fn glu(desc: &Desc, gate: f32, up: f32) -> f32 {
    let x = f64::from(gate);
    let activated = match desc.activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
    };
    (activated * f64::from(up)) as f32
}
