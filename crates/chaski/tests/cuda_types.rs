//! A model of every kind of quantised weights on an emulated GPU: with and without weights in tiles, which not all types have.
//! Without a C++ compiler the tests say so and prove nothing.

mod emulated;

use std::path::{Path, PathBuf};

use chaski::{Gpu, Llm, Options};
use emulated::{emulator, fixture, gpu, has_compiler, queue};
use engine::batch::{Batch, Outputs, SeqId};
use engine::technique::{Mode, Switch};
use gguf::{DType, Gguf, Value, Writer};
use kernels::conformance::Random;

/// Columns of all matrices: a block of the types of 256.
const WIDTH: u64 = 256;
/// Matrices of a layer and their rows.
const MATRICES: [(&str, u64); 7] = [
    ("attn_q", WIDTH),
    ("attn_k", WIDTH / 2),
    ("attn_v", WIDTH / 2),
    ("attn_output", WIDTH),
    ("ffn_gate", WIDTH),
    ("ffn_up", WIDTH),
    ("ffn_down", WIDTH),
];
/// Their types, layer by layer: first those that have tiles.
const TYPES: [DType; 14] = {
    use DType::*;
    [Q4_K, Q8_0, IQ4_XS, IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, Q2_K, Q3_K, TQ1_0, TQ2_0]
};
const NUM_TILED: usize = 3;

/// The tokenizer and the metadata of the smallest fixture around matrices of our own.
fn model() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("all-types-{}.gguf", std::process::id()));
    let file = std::fs::read(fixture("llama.gguf")).unwrap();
    let (like, mut out, mut random) = (Gguf::parse(&file).unwrap(), Writer::new(), Random::new(8));
    let sizes = [
        ("llama.embedding_length", WIDTH),
        ("llama.feed_forward_length", WIDTH),
        ("llama.block_count", 2),
        ("llama.attention.head_count", 4),
        ("llama.attention.head_count_kv", 2),
        ("llama.rope.dimension_count", WIDTH / 4),
    ];
    for (key, value) in like.metadata.iter() {
        let size = sizes.iter().find(|(name, _)| *name == key).map(|&(_, size)| Value::U32(size as u32));
        out.set(key, size.unwrap_or_else(|| value.clone())).unwrap();
    }
    let vocab = like.tensor("token_embd.weight").unwrap().shape[1];
    let mut matrix = |out: &mut Writer, name: &str, dtype, rows| {
        out.tensor(name, dtype, &[WIDTH, rows], blocks(dtype, rows as usize, &mut random)).unwrap();
    };
    matrix(&mut out, "token_embd.weight", DType::IQ3_S, vocab);
    matrix(&mut out, "output.weight", DType::Q6_K, vocab);
    for (i, dtype) in TYPES.into_iter().enumerate() {
        let (name, rows) = MATRICES[i % 7];
        matrix(&mut out, &format!("blk.{}.{name}.weight", i / 7), dtype, rows);
    }
    let ones: Vec<u8> = 1f32.to_le_bytes().repeat(WIDTH as usize);
    for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.attn_norm", "blk.1.ffn_norm"] {
        out.tensor(&format!("{name}.weight"), DType::F32, &[WIDTH], ones.clone()).unwrap();
    }
    std::fs::write(&path, out.to_bytes()).unwrap();
    path
}

/// Rows of random blocks whose numbers are about as large as weights.
fn blocks(dtype: DType, rows: usize, random: &mut Random) -> Vec<u8> {
    let mut block = vec![0u8; dtype.block_bytes()];
    let mut values = vec![0f32; dtype.block_len()];
    let mut all = Vec::new();
    for _ in 0..rows * WIDTH as usize / dtype.block_len() {
        loop {
            block.iter_mut().for_each(|byte| *byte = random.bits() as u8);
            gguf::decode(dtype, &block, &mut values).unwrap();
            let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            if values.iter().all(|value| value.is_finite()) && (0.02..0.3).contains(&largest) {
                break;
            }
        }
        all.extend_from_slice(&block);
    }
    all
}

/// Logits of a prompt, of a few rows and of one.
fn logits(llm: &mut Llm) -> Vec<f32> {
    let mut all = Vec::new();
    let prompt: Vec<u32> = (0..17).map(|i| 3 + 7 * i % 50).collect();
    let mut context = 0;
    for tokens in [&prompt[..], &[5, 9, 30], &[8]] {
        let mut batch = Batch::default();
        batch.push(SeqId(0), tokens, context, Outputs::All);
        all.extend_from_slice(llm.step(&batch).unwrap());
        context += tokens.len() as u32;
    }
    all
}

#[test]
fn every_type_is_multiplied_on_the_gpu_with_and_without_tiles() {
    if !has_compiler() {
        return;
    }
    let path = model();
    let open = |techniques, gpu| {
        let options = Options { context: 64, techniques, ..Options::default() };
        Llm::open_on(&path, &options, gpu, &mut |_, _| {}).unwrap()
    };
    let expected = logits(&mut open(Vec::new(), None));
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let marlin = Switch { id: "marlin".to_owned(), mode: Mode::On, knobs: Vec::new() };
    for (techniques, gpu) in [(Vec::new(), gpu(emulator())), (vec![marlin], Gpu::of(queue(9, emulator())))] {
        let tiled = !techniques.is_empty();
        let mut llm = open(techniques, Some(gpu));
        let worst = expected.iter().zip(logits(&mut llm)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(worst <= 0.05 * largest, "tiles {tiled}: {worst} of {largest}");
        assert!(llm.take_notices().is_empty());
        for row in llm.explain() {
            assert!(row.variant.contains("cuda"), "{}: {}", row.name, row.variant);
            let of_type = |dtype: &DType| row.shape.contains(&format!(" {dtype},"));
            if let (Some(nth), "matmul") = (TYPES.iter().position(of_type), row.op) {
                let (in_tiles, said) = (row.variant.contains("tiles"), row.shape.contains(", tiles,"));
                assert_eq!((in_tiles, said), (tiled && nth < NUM_TILED, in_tiles), "{}: {}", row.shape, row.variant);
            }
        }
    }
    std::fs::remove_file(&path).unwrap();
}
