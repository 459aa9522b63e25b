//! Problems for `matmul`: every type of weights in the forms it has, all forms of activations.

use gguf::DType;

use super::{Arena, Case, Conform, Output, Random, Values, weight};
use crate::launch::RowSet;
use crate::op::Rows;
use crate::ops::matmul::{Desc, Input, Slots};
use crate::ops::{Matmul, quantize};
use crate::packed::Form;

const NUM_ROWS: [usize; 25] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33, 64, 65, 127, 129, 300];
const N: [usize; 6] = [1, 16, 31, 44, 45, 70];
const K: [usize; 7] = [32, 96, 224, 256, 768, 1280, 40];

/// Matrices so large that kernels for tensor cores divide them otherwise than small ones: rows, columns, rows of activations.
const LARGE: [(usize, usize, usize); 4] = [(17_000, 256, 9), (300, 2304, 64), (300, 2304, 128), (140, 3328, 300)];

/// Rows of weights for which a device has a block of several for each of its multiprocessors.
const TALL: usize = 4300;

/// Forms of activations and weights that go together: nothing that computes in f32 reads packed weights.
const WAYS: [(Input, Form); 6] = [
    (Input::F32, Form::Rows),
    (Input::Q8, Form::Rows),
    (Input::Q8, Form::Packed),
    (Input::F32, Form::Tiles),
    (Input::Q8, Form::Tiles),
    (Input::Half, Form::Tiles),
];

/// Columns of floats that several warps of a GPU share, and rows.
const WIDE: [(usize, usize); 3] = [(4104, 1), (8200, 1), (8200, 3)];

impl Conform for Matmul {
    fn cases(random: &mut Random, check: &mut dyn FnMut(Case<Self>)) {
        for dtype in DType::all().filter(|&dtype| weight::has_rows(dtype)) {
            for num_rows in NUM_ROWS {
                let widths: Vec<usize> = K.into_iter().filter(|&k| dtype.row_bytes(k).is_some()).collect();
                for (input, form) in WAYS {
                    let k = random.pick(&widths);
                    if possible(dtype, input, form, k) {
                        let (n, bias) = (random.pick(&N), random.below(2) == 0);
                        // Kernels specialise for a regime and must be right in all.
                        let rows = if random.below(3) == 0 { random.pick(&Rows::ALL) } else { Rows::of(num_rows) };
                        let row_bytes = dtype.row_bytes(k).unwrap_or_default();
                        let desc = Desc { weight: dtype, form, input, n, k, row_bytes, bias, rows };
                        check(case(desc, num_rows, Values::Normal, random));
                    }
                }
            }
            if let Some(row_bytes) = dtype.row_bytes(256).filter(|_| dtype.is_quantized()) {
                let (input, form, rows) = (Input::Q8, Form::Rows, Rows::One);
                let desc = Desc { weight: dtype, form, input, n: TALL, k: 256, row_bytes, bias: true, rows };
                check(case(desc, 1, Values::Normal, random));
            }
            if matches!(dtype, DType::F16 | DType::BF16) {
                for (k, num_rows) in WIDE {
                    let (input, form, rows) = (Input::F32, Form::Rows, Rows::of(num_rows));
                    let row_bytes = dtype.row_bytes(k).unwrap_or_default();
                    let desc = Desc { weight: dtype, form, input, n: 21, k, row_bytes, bias: true, rows };
                    check(case(desc, num_rows, Values::Normal, random));
                }
            }
            // The largest of all take long on the CPU: one type stands for the others.
            let largest = [(17_000, 256, 128), (8_500, 256, 270)].into_iter().filter(|_| dtype == DType::Q4_K);
            for (n, k, num_rows) in LARGE.into_iter().chain(largest) {
                if weight::has_form(Form::Tiles, dtype, k) {
                    let (input, form, rows) = (Input::Half, Form::Tiles, Rows::Many);
                    let row_bytes = dtype.row_bytes(k).unwrap_or_default();
                    let desc = Desc { weight: dtype, form, input, n, k, row_bytes, bias: true, rows };
                    check(case(desc, num_rows, Values::Normal, random));
                }
            }
            for values in [Values::Zero, Values::Tiny, Values::Wild, Values::Broken] {
                let Some(row_bytes) = dtype.row_bytes(256) else { continue };
                for (input, form) in WAYS.into_iter().filter(|&(input, form)| possible(dtype, input, form, 256)) {
                    for num_rows in [1, 9] {
                        let rows = Rows::of(num_rows);
                        let desc = Desc { weight: dtype, form, input, n: 21, k: 256, row_bytes, bias: false, rows };
                        check(case(desc, num_rows, values, random));
                    }
                }
            }
        }
    }
}

/// Whether rows of `k` columns can be multiplied so.
fn possible(dtype: DType, input: Input, form: Form, k: usize) -> bool {
    (input == Input::F32 || k.is_multiple_of(quantize::BLOCK)) && weight::has_form(form, dtype, k)
}

fn case(desc: Desc, num_rows: usize, values: Values, random: &mut Random) -> Case<Matmul> {
    let Desc { weight: dtype, form, input, n, k, .. } = desc;
    let (rows, decoded) = weight::random(dtype, n, k, random);
    let bias = random.values(Values::Normal, n);
    let mut x = random.values(values, num_rows * k);
    let mut arena = Arena::default();
    let at = match input {
        Input::F32 => arena.input(&x),
        Input::Q8 => arena.input(&quantized(&mut x, k)),
        Input::Half => arena.input(&halved(&mut x, k)),
    };
    let out = arena.output(num_rows * n * 4);
    let keep =
        [weight::buffer(&weight::laid_out(form, dtype, rows, n, k)), weight::buffer(bytemuck::cast_slice(&bias))];
    let [weight, bias_at] = [&keep[0], &keep[1]].map(weight::address);
    let slots = Slots { weight, bias: bias_at, x: at, out, rows: RowSet::Tokens };
    let mut terms = Vec::new();
    for x in x.chunks_exact(k) {
        for (weights, bias) in decoded.chunks_exact(k).zip(&bias) {
            let sum: f64 = x.iter().zip(weights).map(|(x, w)| f64::from((x * w).abs())).sum();
            terms.push(sum as f32 + if desc.bias { bias.abs() } else { 0.0 });
        }
    }
    let label = format!("{dtype} {form:?} {input:?} n {n} k {k} rows {num_rows} ({:?}) {values:?}", desc.rows);
    let mut case = Case::new(label, desc, slots, arena);
    case.num_rows = num_rows;
    case.outputs = vec![Output::values(out, terms)];
    case.weights.extend(keep);
    case
}

/// Rows of `quantize`; `x` becomes what they stand for.
fn quantized(x: &mut [f32], k: usize) -> Vec<u8> {
    let row_bytes = quantize::row_bytes(k);
    let mut rows = vec![0xff; x.len() / k * row_bytes];
    for (x, row) in x.chunks_exact_mut(k).zip(rows.chunks_exact_mut(row_bytes)) {
        let (mut codes, mut scales, mut sums) = (vec![0i8; k], vec![0f32; k / 32], vec![0i16; k / 16]);
        quantize::reference::quantize(x, &mut codes, &mut scales, &mut sums);
        row[..k].copy_from_slice(bytemuck::cast_slice(&codes));
        row[k..][..k / 8].copy_from_slice(bytemuck::cast_slice(&scales));
        row[k + k / 8..][..k / 8].copy_from_slice(bytemuck::cast_slice(&sums));
        let values = x.chunks_exact_mut(quantize::BLOCK).zip(codes.chunks_exact(quantize::BLOCK));
        for ((x, codes), scale) in values.zip(scales) {
            x.iter_mut().zip(codes).for_each(|(x, &code)| *x = f32::from(code) * scale);
        }
    }
    rows
}

/// Halves of `quantize`; `x` becomes what they stand for.
fn halved(x: &mut [f32], k: usize) -> Vec<u8> {
    let (mut halves, mut factors) = (vec![0u16; x.len()], vec![0f32; x.len() / k]);
    for ((x, halves), factor) in x.chunks_exact_mut(k).zip(halves.chunks_exact_mut(k)).zip(&mut factors) {
        quantize::reference::halve(x, halves, factor);
        x.iter_mut().enumerate().for_each(|(i, x)| *x = quantize::reference::halved(halves, i, *factor));
    }
    [bytemuck::cast_slice(&halves), bytemuck::cast_slice::<f32, u8>(&factors)].concat()
}
