//! The functions of `math` against f64, in every instruction set that this machine has.

use device::{Feature, Hardware};

use super::{Avx2, Avx512, Lanes, exp, exp2, exp2_rough, tanh};

/// Which function.
#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Exp2,
    Exp2Rough,
    Tanh,
}

#[inline(always)]
unsafe fn apply<V: Lanes>(function: Function, x: &mut [f32]) {
    for part in x.chunks_mut(V::LEN) {
        // SAFETY: the callers run only where the features are, and a part has that many values.
        unsafe {
            let x = V::load_part(part.as_ptr(), part.len());
            let y = match function {
                Function::Exp => exp(x),
                Function::Exp2 => exp2(x),
                Function::Exp2Rough => exp2_rough(x),
                Function::Tanh => tanh(x),
            };
            y.store_part(part.as_mut_ptr(), part.len());
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn apply_avx512(function: Function, x: &mut [f32]) {
    // SAFETY: the features are enabled above.
    unsafe { apply::<Avx512>(function, x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn apply_avx2(function: Function, x: &mut [f32]) {
    // SAFETY: the features are enabled above.
    unsafe { apply::<Avx2>(function, x) }
}

/// Function, interval, allowed relative error in units of 2^-23.
const CASES: [(Function, f32, f32, f64); 8] = [
    (Function::Exp, -87.0, 88.0, 1.5),
    (Function::Exp2, -126.0, 127.9, 1.5),
    (Function::Exp2, -1.0, 1.0, 1.5),
    (Function::Exp2Rough, -126.0, 127.0, 640.0),
    (Function::Exp2Rough, -1.0, 1.0, 640.0),
    (Function::Tanh, -12.0, 12.0, 2.0),
    (Function::Tanh, -0.7, 0.7, 2.0),
    (Function::Tanh, -1e-3, 1e-3, 1.5),
];

fn exact(function: Function, x: f32) -> f64 {
    match function {
        Function::Exp => f64::from(x).exp(),
        Function::Exp2 | Function::Exp2Rough => f64::from(x).exp2(),
        Function::Tanh => f64::from(x).tanh(),
    }
}

fn each_isa(mut check: impl FnMut(&str, &dyn Fn(Function, &mut [f32]))) {
    let hardware = Hardware::probe();
    if hardware.has(Feature::Avx512) {
        // SAFETY: the machine has the features.
        check("avx512", &|function, x| unsafe { apply_avx512(function, x) });
    }
    if hardware.has(Feature::Avx2) {
        // SAFETY: the machine has the features.
        check("avx2", &|function, x| unsafe { apply_avx2(function, x) });
    }
}

#[test]
fn functions_are_within_two_units_of_the_last_place() {
    each_isa(|isa, apply| {
        for (function, from, to, allowed) in CASES {
            let x: Vec<f32> = (0..200_003).map(|i| from + (to - from) * (i as f32 / 200_002.0)).collect();
            let mut y = x.clone();
            apply(function, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let exact = exact(function, x);
                let error = (f64::from(y) - exact).abs() / (f64::from(f32::EPSILON) * exact.abs().max(1e-38));
                assert!(error <= allowed, "{isa} {function:?}({x:e}) = {y:e}, not {exact:e}: {error:.2} units");
            }
        }
    });
}

#[test]
fn the_ends_of_the_range_are_met() {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    each_isa(|isa, apply| {
        for (function, x, expected) in [
            (Function::Exp, [infinity, -infinity, 1000.0, -1000.0, 0.0], [infinity, 0.0, infinity, 0.0, 1.0]),
            (Function::Exp2, [infinity, -infinity, 1000.0, f32::MIN, 0.0], [infinity, 0.0, infinity, 0.0, 1.0]),
            (Function::Tanh, [infinity, -infinity, 1000.0, -1000.0, 0.0], [1.0, -1.0, 1.0, -1.0, 0.0]),
        ] {
            let mut y = x;
            apply(function, &mut y);
            assert_eq!(y, expected, "{isa} {function:?}");
            let mut y = [nan];
            apply(function, &mut y);
            assert!(y[0].is_nan(), "{isa} {function:?}");
        }
        let mut y = [-infinity, f32::MIN, -1000.0, nan];
        apply(Function::Exp2Rough, &mut y);
        assert!(y[..3] == [0.0; 3] && y[3].is_nan(), "{isa}: {y:?}");
    });
}
