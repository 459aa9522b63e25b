//! The keys, or the values, of one block: writing, reading and moving single vectors.

use half::{bf16, f16};

use super::KvType;
use super::code::{Place, TOKENS, code, code_of_four, group_bytes, key_place, scale, scale_of_four, value_place};
use super::hadamard::{MAX_ROTATED, hadamard};

/// The keys or the values of one block: `block_size` vectors of one type.
#[derive(Clone, Copy, Debug)]
pub struct KvHalf {
    /// Their type.
    pub kv_type: KvType,
    /// Values per vector.
    pub dim: usize,
    /// Vectors.
    pub block_size: usize,
    /// Whether they are keys: codes of keys and of values lie differently.
    pub is_keys: bool,
}

impl KvHalf {
    /// Bytes of all vectors.
    pub const fn bytes(&self) -> usize {
        self.block_size * self.kv_type.bytes(self.dim)
    }

    /// Byte offset of a vector of floats.
    pub const fn row_at(&self, slot: usize) -> usize {
        slot * self.kv_type.bytes(self.dim)
    }

    /// Byte offset of the codes of a group of quantised vectors, given its first.
    pub const fn group_at(&self, slot: usize) -> usize {
        slot / TOKENS * group_bytes(self.kv_type, self.dim)
    }

    /// Byte offset of the scale of a quantised vector.
    pub const fn scale_at(&self, slot: usize) -> usize {
        self.block_size * (self.kv_type.bytes(self.dim) - size_of::<f32>()) + slot * size_of::<f32>()
    }

    /// What is added to codes where they are stored.
    const fn offset(&self) -> i8 {
        match (self.kv_type, self.is_keys) {
            (KvType::Q4, _) => 8,
            (_, true) => i8::MIN, // adding or taking 128 is the same in 8 bits
            (_, false) => 0,
        }
    }

    #[inline(always)]
    fn place(&self, slot: usize, i: usize) -> Place {
        if self.is_keys {
            key_place(self.kv_type, self.dim, slot, i)
        } else {
            value_place(self.kv_type, self.dim, slot, i)
        }
    }

    /// Writes one vector.
    ///
    /// # Safety
    /// `at` must be the start of such a half, aligned to a cache line or to the size of the floats; nobody
    /// else may use this slot.
    #[inline(always)]
    pub unsafe fn encode(&self, at: *mut u8, slot: usize, values: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = at.add(self.row_at(slot));
            match self.kv_type {
                KvType::F32 => std::slice::from_raw_parts_mut(row.cast(), values.len()).copy_from_slice(values),
                KvType::F16 => {
                    let out = std::slice::from_raw_parts_mut(row.cast::<f16>(), values.len());
                    out.iter_mut().zip(values).for_each(|(out, &value)| *out = f16::from_f32(value));
                }
                KvType::Bf16 => {
                    let out = std::slice::from_raw_parts_mut(row.cast::<bf16>(), values.len());
                    out.iter_mut().zip(values).for_each(|(out, &value)| *out = bf16::from_f32(value));
                }
                KvType::Q8 | KvType::Q4 => {
                    let mut rotated = [0f32; MAX_ROTATED];
                    let rotated = &mut rotated[..values.len()];
                    rotated.copy_from_slice(values);
                    hadamard(rotated);
                    self.encode_codes(at, slot, rotated);
                }
            }
        }
    }

    /// # Safety
    /// As [`KvHalf::encode`].
    #[inline(always)]
    unsafe fn encode_codes(&self, at: *mut u8, slot: usize, values: &[f32]) {
        let (offset, four) = (self.offset(), self.kv_type == KvType::Q4);
        let (scale, factor) = if four { scale_of_four(values) } else { scale(values, 127.0) };
        // SAFETY: the caller's promise; places and scales lie within the half.
        unsafe {
            at.add(self.scale_at(slot)).cast::<f32>().write(scale);
            for (i, &value) in values.iter().enumerate() {
                let code = if four { code_of_four(value, factor) } else { code(value, factor) };
                self.put(at, self.place(slot, i), code.wrapping_add(offset) as u8);
            }
        }
    }

    /// Reads one vector.
    ///
    /// # Safety
    /// `at` must be the start of such a half, and the slot hold a vector.
    pub unsafe fn decode(&self, at: *const u8, slot: usize, values: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = at.add(self.row_at(slot));
            match self.kv_type {
                KvType::F32 => values.copy_from_slice(std::slice::from_raw_parts(row.cast(), values.len())),
                KvType::F16 => {
                    let from = std::slice::from_raw_parts(row.cast::<f16>(), values.len());
                    values.iter_mut().zip(from).for_each(|(value, from)| *value = from.to_f32());
                }
                KvType::Bf16 => {
                    let from = std::slice::from_raw_parts(row.cast::<bf16>(), values.len());
                    values.iter_mut().zip(from).for_each(|(value, from)| *value = from.to_f32());
                }
                KvType::Q8 | KvType::Q4 => {
                    let scale = at.add(self.scale_at(slot)).cast::<f32>().read();
                    let offset = self.offset();
                    for (i, value) in values.iter_mut().enumerate() {
                        let code = self.get(at, self.place(slot, i)) as i8;
                        *value = f32::from(code.wrapping_sub(offset)) * scale;
                    }
                    hadamard(values);
                }
            }
        }
    }

    /// Copies one vector, bit by bit, also within a half.
    ///
    /// # Safety
    /// Both must be starts of such a half; nobody else may use them meanwhile.
    pub unsafe fn copy(&self, from: *const u8, from_slot: usize, to: *mut u8, to_slot: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.kv_type.is_quantized() {
                let (from, to) = (from.add(self.row_at(from_slot)), to.add(self.row_at(to_slot)));
                std::ptr::copy(from, to, self.kv_type.bytes(self.dim));
                return;
            }
            for i in 0..self.dim {
                let code = self.get(from, self.place(from_slot, i));
                self.put(to, self.place(to_slot, i), code);
            }
            let scale = from.add(self.scale_at(from_slot)).cast::<f32>().read();
            to.add(self.scale_at(to_slot)).cast::<f32>().write(scale);
        }
    }

    /// # Safety
    /// `at` must be the start of such a half.
    #[inline(always)]
    unsafe fn put(&self, at: *mut u8, place: Place, code: u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let at = at.add(place.byte);
            *at = match (self.kv_type, place.high) {
                (KvType::Q4, false) => (*at & 0xf0) | code,
                (KvType::Q4, true) => (*at & 0x0f) | code << 4,
                _ => code,
            };
        }
    }

    /// # Safety
    /// `at` must be the start of such a half.
    #[inline(always)]
    unsafe fn get(&self, at: *const u8, place: Place) -> u8 {
        // SAFETY: the caller's promise.
        let byte = unsafe { *at.add(place.byte) };
        match (self.kv_type, place.high) {
            (KvType::Q4, false) => byte & 0x0f,
            (KvType::Q4, true) => byte >> 4,
            _ => byte,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Random, Values};

    fn all() -> impl Iterator<Item = KvHalf> {
        let types = KvType::NAMES.iter().map(|&(_, kv_type)| kv_type);
        let dims = [8, 20, 64, 80, 96, 128, 256];
        types.flat_map(move |kv_type| {
            dims.into_iter()
                .flat_map(move |dim| [true, false].map(|is_keys| KvHalf { kv_type, dim, block_size: 32, is_keys }))
        })
    }

    /// Relative to the largest value of the vector; a rotation may gather all errors in one value.
    fn allowed(half: &KvHalf) -> f32 {
        let rotated = if half.kv_type.is_quantized() { (half.dim as f32).sqrt() } else { 1.0 };
        half.kv_type.rel_ppb() as f32 * 1.01e-9 * rotated
    }

    #[test]
    fn vectors_come_back_as_exactly_as_their_type_says() {
        let mut random = Random::new(7);
        for half in all() {
            let mut bytes = vec![0xffu32; half.bytes() / 4];
            let at = bytes.as_mut_ptr().cast::<u8>();
            let vectors: Vec<Vec<f32>> =
                (0..half.block_size).map(|_| random.values(Values::Normal, half.dim)).collect();
            // SAFETY: the memory is a half, and ours.
            unsafe {
                for slot in random.shuffled(half.block_size) {
                    half.encode(at, slot, &vectors[slot]);
                }
                for (slot, vector) in vectors.iter().enumerate() {
                    let mut found = vec![0f32; half.dim];
                    half.decode(at, slot, &mut found);
                    let largest = vector.iter().fold(0f32, |largest, x| largest.max(x.abs()));
                    for (x, y) in vector.iter().zip(&found) {
                        assert!((x - y).abs() <= allowed(&half) * largest, "{half:?} {slot}: {y}, not {x}");
                    }
                }
            }
        }
    }

    #[test]
    fn moving_changes_no_bit_and_no_neighbour() {
        let mut random = Random::new(8);
        for half in all() {
            let mut bytes = vec![0u32; half.bytes() / 4];
            let at = bytes.as_mut_ptr().cast::<u8>();
            let decoded = |at: *const u8, slot: usize| {
                let mut values = vec![0f32; half.dim];
                // SAFETY: all slots hold vectors.
                unsafe { half.decode(at, slot, &mut values) };
                values
            };
            // SAFETY: the memory is a half, and ours.
            unsafe {
                (0..half.block_size).for_each(|slot| half.encode(at, slot, &random.values(Values::Normal, half.dim)));
                let before: Vec<_> = (0..half.block_size).map(|slot| decoded(at, slot)).collect();
                half.copy(at, 21, at, 6);
                for slot in 0..half.block_size {
                    assert_eq!(decoded(at, slot), before[if slot == 6 { 21 } else { slot }], "{half:?} {slot}");
                }
            }
        }
    }

    #[test]
    fn nonsense_stays_nonsense_and_nothing_stays_nothing() {
        for half in all() {
            let mut bytes = vec![0u32; half.bytes() / 4];
            let at = bytes.as_mut_ptr().cast::<u8>();
            let mut found = vec![1f32; half.dim];
            // SAFETY: the memory is a half, and ours.
            unsafe {
                half.encode(at, 3, &vec![0f32; half.dim]);
                half.decode(at, 3, &mut found);
                assert!(found.iter().all(|&x| x == 0.0), "{half:?}");
                for nonsense in [f32::NAN, f32::INFINITY] {
                    let mut values = vec![1f32; half.dim];
                    values[5] = nonsense;
                    half.encode(at, 3, &values);
                    half.decode(at, 3, &mut found);
                    assert!(!found[5].is_finite(), "{half:?}");
                }
            }
        }
    }
}
