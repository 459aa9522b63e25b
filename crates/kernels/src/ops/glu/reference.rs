//! The plain truth of `glu`.

use super::{Activation, Desc};

/// One value.
pub fn glu(desc: &Desc, gate: f32, up: f32) -> f32 {
    let x = f64::from(gate);
    let activated = match desc.activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        // 0.5 (1 + tanh y) = 1 / (1 + e^-2y): the left form loses all its digits where the tanh nears -1.
        Activation::GeluTanh => x / (1.0 + (-2.0 * gelu_inner(x)).exp()),
    };
    (activated * f64::from(up)) as f32
}

/// What the tanh of GELU is taken of.
pub fn gelu_inner(x: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)
}
