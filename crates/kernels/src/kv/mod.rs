//! How keys and values lie in a physical block of the KV cache: their types, and the shape of a block.

mod code;
pub mod fit;
mod hadamard;
mod half;

pub use code::{TOKENS, code_scale, codes};
pub use hadamard::{MAX_ROTATED, hadamard};
pub use half::KvHalf;

/// Type of cached keys or values: how one vector of one head is written down.
///
/// The quantised types keep one f32 scale per vector, so that appending, moving and sharing tokens never
/// quantises anything anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KvType {
    /// 32-bit floats: what the exact plan stores.
    F32,
    /// Half precision.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Codes of 8 bits of the vector after a Hadamard rotation, which spreads outliers over all codes.
    Q8,
    /// Codes of 4 bits of the rotated vector.
    Q4,
}

/// How a step over a cache is redone exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redo {
    /// On the exact plan, over the same cache.
    Step,
    /// The cache itself may have lost what matters: its sequences are prefilled again on the exact plan.
    Prefill,
}

impl KvType {
    /// Every type, as `-ctk` and `-ctv` name them.
    pub const NAMES: &[(&'static str, KvType)] = &[
        ("f32", KvType::F32),
        ("f16", KvType::F16),
        ("bf16", KvType::Bf16),
        ("q8_0", KvType::Q8),
        ("q4_0", KvType::Q4),
    ];

    /// Bytes of one vector of `head_dim` values, its scale included.
    pub const fn bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 | KvType::Bf16 => 2 * head_dim,
            KvType::Q8 => head_dim.next_multiple_of(4) + size_of::<f32>(),
            KvType::Q4 => head_dim.next_multiple_of(8) / 2 + size_of::<f32>(),
        }
    }

    /// How a step over a cache of this type is redone.
    pub const fn redo(self) -> Redo {
        match self {
            KvType::F32 | KvType::F16 => Redo::Step,
            KvType::Bf16 | KvType::Q8 | KvType::Q4 => Redo::Prefill,
        }
    }

    /// Largest size of a value that it can hold.
    pub const fn largest(self) -> f32 {
        match self {
            KvType::F16 => 65504.0,
            KvType::F32 | KvType::Bf16 => f32::MAX,
            KvType::Q8 | KvType::Q4 => f32::MAX / MAX_ROTATED as f32, // the rotation sums up
        }
    }

    /// Name, as `-ctk` has it.
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Bf16 => "bf16",
            KvType::Q8 => "q8_0",
            KvType::Q4 => "q4_0",
        }
    }

    /// Whether vectors are rotated and stored as codes with a scale: so must be whatever is multiplied with them.
    pub const fn is_quantized(self) -> bool {
        matches!(self, KvType::Q8 | KvType::Q4)
    }

    /// What is added to the codes of keys, so that they are unsigned.
    pub const fn key_offset(self) -> i32 {
        match self {
            KvType::Q4 => 8,
            _ => 128,
        }
    }

    /// Half of the distance between two codes, as a part of the largest value of the vector; for floats the
    /// largest relative error.
    pub const fn rel_ppb(self) -> u32 {
        match self {
            KvType::F32 => 0,
            KvType::F16 => 488_282,
            KvType::Bf16 => 3_906_250,
            KvType::Q8 => 500_000_000 / 127,
            KvType::Q4 => 500_000_000 / 7,
        }
    }
}

/// Shape of one physical block: `block_size` keys, then `block_size` values, of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Type of keys.
    pub k: KvType,
    /// Type of values.
    pub v: KvType,
    /// Values per key.
    pub head_dim_k: usize,
    /// Values per value vector.
    pub head_dim_v: usize,
    /// KV heads per layer.
    pub num_kv_heads: usize,
    /// Positions per block; a multiple of [`TOKENS`] where a type is quantised.
    pub block_size: usize,
}

impl KvLayout {
    /// The keys of a block.
    pub const fn keys(&self) -> KvHalf {
        KvHalf { kv_type: self.k, dim: self.head_dim_k, block_size: self.block_size, is_keys: true }
    }

    /// The values of a block.
    pub const fn values(&self) -> KvHalf {
        KvHalf { kv_type: self.v, dim: self.head_dim_v, block_size: self.block_size, is_keys: false }
    }

    /// Bytes of one key and one value vector.
    pub const fn token_bytes(&self) -> usize {
        self.k.bytes(self.head_dim_k) + self.v.bytes(self.head_dim_v)
    }

    /// Whether there are kernels for such a cache; else the reason.
    ///
    /// # Errors
    /// Names the types that do not go together, or the head dimension that is too large.
    pub fn check(&self) -> Result<(), String> {
        let (k, v) = (self.k, self.v);
        if k.is_quantized() != v.is_quantized() {
            let (k, v) = (k.name(), v.name());
            return Err(format!(
                "keys in {k} and values in {v} do not go together: give both in f32, f16 or bf16, or both in q8_0 or q4_0"
            ));
        }
        for (kv_type, dim) in [(k, self.head_dim_k), (v, self.head_dim_v)] {
            if kv_type.is_quantized() && dim > MAX_ROTATED {
                let name = kv_type.name();
                return Err(format!("heads of {dim} values cannot be kept in {name}, which takes up to {MAX_ROTATED}"));
            }
        }
        Ok(())
    }

    /// Bytes of a physical block.
    pub const fn block_bytes(&self) -> usize {
        self.keys().bytes() + self.values().bytes()
    }

    /// Byte offset of the keys of physical block `block`.
    pub const fn keys_at(&self, block: usize) -> usize {
        block * self.block_bytes()
    }

    /// Byte offset of the values of physical block `block`.
    pub const fn values_at(&self, block: usize) -> usize {
        block * self.block_bytes() + self.keys().bytes()
    }
}
