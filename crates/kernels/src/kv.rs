//! How keys and values lie in a physical block of the KV cache.

/// Element type of cached keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KvType {
    /// 32-bit floats: what the exact plan stores.
    F32,
    /// Half precision.
    F16,
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
    pub const NAMES: &[(&'static str, KvType)] = &[("f32", KvType::F32), ("f16", KvType::F16)];

    /// Bytes of one vector of `head_dim` values.
    pub const fn bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 => 2 * head_dim,
        }
    }

    /// How a step over a cache of this type is redone. A codec that loses more than f16 does says `Prefill`.
    pub const fn redo(self) -> Redo {
        match self {
            KvType::F32 | KvType::F16 => Redo::Step,
        }
    }

    /// Largest size of a value that it can hold.
    pub const fn largest(self) -> f32 {
        match self {
            KvType::F32 => f32::MAX,
            KvType::F16 => 65504.0,
        }
    }

    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
        }
    }

    /// Writes one vector at `at`.
    ///
    /// # Safety
    /// `at` must have room for [`KvType::bytes`] and be aligned to the element.
    pub unsafe fn encode(self, values: &[f32], at: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                KvType::F32 => std::slice::from_raw_parts_mut(at.cast(), values.len()).copy_from_slice(values),
                KvType::F16 => {
                    let out = std::slice::from_raw_parts_mut(at.cast::<half::f16>(), values.len());
                    out.iter_mut().zip(values).for_each(|(out, &value)| *out = half::f16::from_f32(value));
                }
            }
        }
    }

    /// Reads one vector from `at`.
    ///
    /// # Safety
    /// `at` must hold [`KvType::bytes`] written by [`KvType::encode`].
    pub unsafe fn decode(self, at: *const u8, values: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                KvType::F32 => values.copy_from_slice(std::slice::from_raw_parts(at.cast(), values.len())),
                KvType::F16 => {
                    let from = std::slice::from_raw_parts(at.cast::<half::f16>(), values.len());
                    values.iter_mut().zip(from).for_each(|(value, from)| *value = from.to_f32());
                }
            }
        }
    }
}

/// Shape of one physical block: `block_size` keys, then `block_size` values, of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Element type of keys.
    pub k: KvType,
    /// Element type of values.
    pub v: KvType,
    /// Values per key.
    pub head_dim_k: usize,
    /// Values per value vector.
    pub head_dim_v: usize,
    /// KV heads per layer.
    pub num_kv_heads: usize,
    /// Positions per block.
    pub block_size: usize,
}

impl KvLayout {
    /// Bytes of one key.
    pub const fn key_bytes(&self) -> usize {
        self.k.bytes(self.head_dim_k)
    }

    /// Bytes of one value vector.
    pub const fn value_bytes(&self) -> usize {
        self.v.bytes(self.head_dim_v)
    }

    /// Bytes of a physical block.
    pub const fn block_bytes(&self) -> usize {
        self.block_size * (self.key_bytes() + self.value_bytes())
    }

    /// Byte offset of the key in `slot` of physical block `block`.
    pub const fn key_at(&self, block: usize, slot: usize) -> usize {
        block * self.block_bytes() + slot * self.key_bytes()
    }

    /// Byte offset of the value in `slot` of physical block `block`.
    pub const fn value_at(&self, block: usize, slot: usize) -> usize {
        block * self.block_bytes() + self.block_size * self.key_bytes() + slot * self.value_bytes()
    }
}
