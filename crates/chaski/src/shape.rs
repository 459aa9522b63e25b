//! Models that are only a shape: the sizes and the types of a known one, without its weights. What `bench --shape`
//! measures on a GPU, which makes up the weights in its own memory.

use device::Mapping;
use gguf::{DType, StringArray, Value, Writer};

use crate::Error;

/// The sizes of a model.
#[derive(Debug, PartialEq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    arch: &'static str,
    num_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    num_kv_heads: usize,
    vocab_size: usize,
    rope_theta: f32,
    /// Whether the output reads the embedding's table.
    tied: bool,
    /// Whether queries, keys and values have biases.
    biased: bool,
}

const LLAMA_3_8B: Shape = Shape {
    name: "llama-3-8b",
    arch: "llama",
    num_layers: 32,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_heads: 32,
    num_kv_heads: 8,
    vocab_size: 128_256,
    rope_theta: 500_000.0,
    tied: false,
    biased: false,
};

/// All shapes.
pub const SHAPES: &[Shape] = &[
    LLAMA_3_8B,
    Shape {
        name: "llama-3-70b",
        num_layers: 80,
        hidden_size: 8192,
        intermediate_size: 28672,
        num_heads: 64,
        ..LLAMA_3_8B
    },
    Shape {
        name: "llama-3.2-1b",
        num_layers: 16,
        hidden_size: 2048,
        intermediate_size: 8192,
        tied: true,
        ..LLAMA_3_8B
    },
    Shape {
        name: "qwen2.5-7b",
        arch: "qwen2",
        num_layers: 28,
        hidden_size: 3584,
        intermediate_size: 18944,
        num_heads: 28,
        num_kv_heads: 4,
        vocab_size: 152_064,
        rope_theta: 1e6,
        biased: true,
        ..LLAMA_3_8B
    },
    Shape {
        name: "smollm2-135m",
        num_layers: 30,
        hidden_size: 576,
        intermediate_size: 1536,
        num_heads: 9,
        num_kv_heads: 3,
        vocab_size: 49152,
        rope_theta: 100_000.0,
        tied: true,
        ..LLAMA_3_8B
    },
];

/// Types that llama-quantize gives a model, and what most of its matrices become. Those that are not named for a mix (no S, M
/// or L behind a K) are that type throughout, but for the output.
pub const MIXES: &[(&str, DType)] = &[
    ("q4_0", DType::Q4_0),
    ("q4_1", DType::Q4_1),
    ("q5_0", DType::Q5_0),
    ("q8_0", DType::Q8_0),
    ("q4_k_m", DType::Q4_K),
    ("q5_k_m", DType::Q5_K),
    ("q6_k", DType::Q6_K),
    ("q2_k", DType::Q2_K),
    ("q3_k", DType::Q3_K),
    ("iq1_s", DType::IQ1_S),
    ("iq1_m", DType::IQ1_M),
    ("iq2_xxs", DType::IQ2_XXS),
    ("iq2_xs", DType::IQ2_XS),
    ("iq2_s", DType::IQ2_S),
    ("iq3_xxs", DType::IQ3_XXS),
    ("iq3_s", DType::IQ3_S),
    ("iq4_nl", DType::IQ4_NL),
    ("iq4_xs", DType::IQ4_XS),
    ("tq1_0", DType::TQ1_0),
    ("tq2_0", DType::TQ2_0),
    ("f16", DType::F16),
    ("bf16", DType::BF16),
];

/// Tokens of context that every shape has.
const CONTEXT: u32 = 131_072;

impl Shape {
    /// A file of this shape whose matrices are zeros that take no memory, and what it takes for its name.
    ///
    /// # Errors
    /// When the machine has no addresses left.
    pub(crate) fn file(&self, mix: DType) -> Result<Mapping, Error> {
        let named = |cause: gguf::Error| Error::Model { path: self.name.to_owned(), cause: cause.into() };
        let mut out = Writer::new();
        self.metadata(&mut out).map_err(named)?;
        self.tensors(&mut out, mix).map_err(named)?;
        let sparse = out.sparse();
        let header = (0, &sparse.header[..]);
        let parts: Vec<_> = std::iter::once(header).chain(sparse.parts.iter().copied()).collect();
        Mapping::blank(sparse.bytes, &parts).map_err(Error::File)
    }

    fn metadata(&self, out: &mut Writer) -> Result<(), gguf::Error> {
        let key = |name: &str| format!("{}.{name}", self.arch);
        out.set("general.architecture", self.arch)?.set("general.name", self.name)?;
        let sizes = [
            ("block_count", self.num_layers),
            ("embedding_length", self.hidden_size),
            ("feed_forward_length", self.intermediate_size),
            ("attention.head_count", self.num_heads),
            ("attention.head_count_kv", self.num_kv_heads),
        ];
        for (name, size) in sizes {
            out.set(&key(name), size as u32)?;
        }
        out.set(&key("context_length"), CONTEXT)?.set(&key("rope.freq_base"), self.rope_theta)?;
        out.set(&key("attention.layer_norm_rms_epsilon"), 1e-5f32)?;
        // Bytes are tokens, so that there is a tokenizer; nobody reads what it makes.
        let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let others = (0..256).filter(|&byte| !printable(byte)).count() as u32;
        let bytes = (0..256).filter(|&byte| printable(byte)).chain(256..256 + others);
        let texts: Vec<String> = bytes.filter_map(char::from_u32).map(String::from).collect();
        out.set("tokenizer.ggml.model", "gpt2")?.set("tokenizer.ggml.pre", "default")?;
        out.set("tokenizer.ggml.tokens", texts.iter().collect::<StringArray>())?;
        out.set("tokenizer.ggml.merges", StringArray::default())?;
        out.set("tokenizer.ggml.token_type", Value::from(vec![1i32; texts.len()]))?;
        out.set("tokenizer.ggml.bos_token_id", 0u32)?.set("tokenizer.ggml.eos_token_id", 1u32)?;
        Ok(())
    }

    fn tensors(&self, out: &mut Writer, mix: DType) -> Result<(), gguf::Error> {
        let (hidden, ff) = (self.hidden_size, self.intermediate_size);
        let kv = hidden / self.num_heads * self.num_kv_heads;
        let mut matrix = |name: String, dtype, rows: usize, columns: usize| {
            out.hollow(&name, fitting(dtype, columns), &[columns as u64, rows as u64]).map(|_| ())
        };
        let output = self.output_type(mix);
        matrix("token_embd.weight".into(), if self.tied { output } else { mix }, self.vocab_size, hidden)?;
        if !self.tied {
            matrix("output.weight".into(), output, self.vocab_size, hidden)?;
        }
        for layer in 0..self.num_layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let (v, down) = self.finer_types(mix, layer);
            matrix(name("attn_q"), mix, hidden, hidden)?;
            matrix(name("attn_k"), mix, kv, hidden)?;
            matrix(name("attn_v"), v, kv, hidden)?;
            matrix(name("attn_output"), mix, hidden, hidden)?;
            matrix(name("ffn_gate"), mix, ff, hidden)?;
            matrix(name("ffn_up"), mix, ff, hidden)?;
            matrix(name("ffn_down"), down, hidden, ff)?;
        }
        let mut vector = |name: String, value: f32, len: usize| {
            let bytes = value.to_le_bytes().repeat(len);
            out.tensor(&name, DType::F32, &[len as u64], bytes).map(|_| ())
        };
        vector("output_norm.weight".into(), 1.0, hidden)?;
        for layer in 0..self.num_layers {
            for part in ["attn_norm", "ffn_norm"] {
                vector(format!("blk.{layer}.{part}.weight"), 1.0, hidden)?;
            }
            for (part, len) in [("attn_q", hidden), ("attn_k", kv), ("attn_v", kv)].iter().filter(|_| self.biased) {
                vector(format!("blk.{layer}.{part}.bias"), 0.01, *len)?;
            }
        }
        Ok(())
    }

    /// llama-quantize's choice for the output.
    fn output_type(&self, mix: DType) -> DType {
        if mix.is_quantized() && mix != DType::Q8_0 { DType::Q6_K } else { mix }
    }

    /// Its choice for values and for the way down, of which its mixes keep some finer.
    fn finer_types(&self, mix: DType, layer: usize) -> (DType, DType) {
        let (first, n) = (self.num_layers / 8, self.num_layers);
        let finer = layer < first || layer >= 7 * n / 8 || (layer - first) % 3 == 2;
        match (mix, finer) {
            (DType::Q4_K, true) if self.num_layers >= 80 => (DType::Q6_K, DType::Q6_K),
            (DType::Q4_K, false) if self.num_layers >= 80 => (DType::Q5_K, mix),
            (DType::Q4_K | DType::Q5_K, true) => (DType::Q6_K, DType::Q6_K),
            _ => (mix, mix),
        }
    }
}

/// `dtype`, or what llama-quantize takes instead where rows are no whole blocks of it.
fn fitting(dtype: DType, columns: usize) -> DType {
    match dtype {
        _ if columns.is_multiple_of(dtype.block_len()) => dtype,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        _ => DType::Q8_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Graph, Hparams, Weights};

    #[test]
    fn every_shape_is_a_model() {
        for shape in SHAPES {
            for &(name, mix) in MIXES {
                let weights = Weights::hollow(shape.file(mix).unwrap()).unwrap();
                let hparams = Hparams::read(&weights.gguf().metadata, &Default::default()).unwrap();
                let graph = Graph::build(&hparams, &weights, 1024).unwrap();
                assert_eq!((graph.vocab_size, hparams.layers.len()), (shape.vocab_size, shape.num_layers), "{name}");
                text::Tokenizer::from_metadata(&weights.gguf().metadata).unwrap();
            }
        }
    }

    #[test]
    fn a_mix_has_the_bytes_of_the_known_file() {
        // Meta-Llama-3-8B-Instruct, as llama-quantize makes it: 4.58 and 4.33 GiB.
        let gib = |mix| {
            let file = LLAMA_3_8B.file(mix).unwrap();
            file.len() as f64 / f64::from(1 << 30)
        };
        assert!((gib(DType::Q4_K) - 4.58).abs() < 0.01 && (gib(DType::Q4_0) - 4.33).abs() < 0.01);
    }
}
