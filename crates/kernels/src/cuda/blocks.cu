// Rows of weights in the blocks of the GGUF file. TYPE is the type's number in files. A quantised row comes in chunks
// of 32 values: `value = (code - OFFSET) * scale - min`, one scale and min per half of a chunk (equal halves where a
// group has 32 values). The layouts are those of `gguf/src/blocks`; `gguf/src/unpack` says the same on the CPU.

#define F32_ 0
#define F16_ 1
#define Q4_0_ 2
#define Q4_1_ 3
#define Q5_0_ 6
#define Q5_1_ 7
#define Q8_0_ 8
#define Q8_1_ 9
#define Q2_K_ 10
#define Q3_K_ 11
#define Q4_K_ 12
#define Q5_K_ 13
#define Q6_K_ 14
#define Q8_K_ 15
#define IQ4_NL_ 20
#define IQ4_XS_ 23
#define BF16_ 30
#define TQ2_0_ 35
#define MXFP4_ 39
#define NVFP4_ 40
#define Q1_0_ 41
#define Q2_0_ 42

#if TYPE == F32_ || TYPE == F16_ || TYPE == BF16_
#define QUANTIZED 0
#else
#define QUANTIZED 1
#endif

// One value of a row of plain numbers.
__device__ __forceinline__ float plain_value(const u8* row, int i) {
#if TYPE == F16_
    return half_to_float(((const u16*)row)[i]);
#elif TYPE == BF16_
    return bf16_to_float(((const u16*)row)[i]);
#else
    return ((const float*)row)[i];
#endif
}

// 32 values of a row: codes as signed bytes, four to a word, in order.
struct Chunk {
    u32 codes[8];
    float scale[2];
    float min[2];
};

#if TYPE == Q4_0_
#define OFFSET 8
#elif TYPE == Q5_0_
#define OFFSET 16
#elif TYPE == Q3_K_
#define OFFSET 4
#elif TYPE == Q6_K_
#define OFFSET 32
#elif TYPE == TQ2_0_ || TYPE == Q1_0_ || TYPE == Q2_0_
#define OFFSET 1
#else
#define OFFSET 0
#endif

#if TYPE == Q4_1_ || TYPE == Q5_1_ || TYPE == Q2_K_ || TYPE == Q4_K_ || TYPE == Q5_K_
#define HAS_MINS 1
#else
#define HAS_MINS 0
#endif

// Types whose groups have 16 values.
#if TYPE == Q2_K_ || TYPE == Q3_K_ || TYPE == Q6_K_ || TYPE == NVFP4_
#define HALVES 2
#else
#define HALVES 1
#endif

#if QUANTIZED

// Word `i` at `at`, which is aligned as blocks of the type are.
__device__ __forceinline__ u32 word(const u8* at, int i) {
    at += 4 * i;
#if TYPE == MXFP4_
    return at[0] | at[1] << 8 | at[2] << 16 | (u32)at[3] << 24;
#elif TYPE == Q4_0_ || TYPE == Q5_0_ || TYPE == Q8_0_ || TYPE == Q3_K_ || TYPE == Q6_K_ || TYPE == IQ4_NL_ ||           \
    TYPE == TQ2_0_ || TYPE == Q1_0_ || TYPE == Q2_0_
    return ((const u16*)at)[0] | (u32)((const u16*)at)[1] << 16;
#else
    return *(const u32*)at;
#endif
}

__device__ __forceinline__ float half_at(const u8* at) { return half_to_float(*(const u16*)at); }

// The four low bits of a number, one to a byte.
__device__ __forceinline__ u32 spread_bits(u32 bits) {
    return (bits & 1) | (bits & 2) << 7 | (bits & 4) << 14 | (bits & 8) << 21;
}

// 16 bytes: element `j` in the low nibble of byte `j`, element `j + 16` in the high one.
__device__ __forceinline__ void nibbles(const u8* at, u32 codes[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u32 both = word(at, i);
        codes[i] = both & 0x0f0f0f0f;
        codes[i + 4] = both >> 4 & 0x0f0f0f0f;
    }
}

// Four nibbles, one to a byte, looked up in a table of 16 bytes.
__device__ __forceinline__ u32 look_up(u32 nibbles, u32 t0, u32 t1, u32 t2, u32 t3) {
    u32 low = nibbles & 0x07070707;
    u32 select = (low | low >> 4) & 0x00ff00ff;
    select = (select | select >> 8) & 0xffff;
    u32 upper = (nibbles >> 3 & 0x01010101) * 0xff;
    return (__byte_perm(t0, t1, select) & ~upper) | (__byte_perm(t2, t3, select) & upper);
}

__device__ __forceinline__ u32 iq4_value(u32 nibbles) {
    return look_up(nibbles, 0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535);
}

__device__ __forceinline__ u32 fp4_value(u32 nibbles) {
    return look_up(nibbles, 0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc);
}

// Scale and min `g` of 0..8 in the twelve bytes of Q4_K and Q5_K.
__device__ __forceinline__ void scale_and_min(const u8* packed, int g, u32& scale, u32& min) {
    if (g < 4) {
        scale = packed[g] & 63;
        min = packed[g + 4] & 63;
    } else {
        scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
        min = packed[g + 4] >> 4 | (packed[g] >> 6) << 4;
    }
}

__device__ __forceinline__ void same_halves(Chunk& chunk, float scale, float min) {
    chunk.scale[0] = chunk.scale[1] = scale;
    chunk.min[0] = chunk.min[1] = min;
}

// Chunk `index` of a row.
__device__ __forceinline__ Chunk unpack(const u8* row, int index) {
    Chunk chunk;
#if TYPE == Q4_0_
    const u8* block = row + (size_t)index * 18;
    nibbles(block + 2, chunk.codes);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q4_1_
    const u8* block = row + (size_t)index * 20;
    nibbles(block + 4, chunk.codes);
    same_halves(chunk, half_at(block), -half_at(block + 2));
#elif TYPE == Q5_0_ || TYPE == Q5_1_
#if TYPE == Q5_0_
    const u8* block = row + (size_t)index * 22;
    u32 high = word(block + 2, 0);
    nibbles(block + 6, chunk.codes);
    same_halves(chunk, half_at(block), 0);
#else
    const u8* block = row + (size_t)index * 24;
    u32 high = word(block + 4, 0);
    nibbles(block + 8, chunk.codes);
    same_halves(chunk, half_at(block), -half_at(block + 2));
#endif
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] |= spread_bits(high >> 4 * i) << 4;
#elif TYPE == Q8_0_ || TYPE == Q8_1_
    const u8* block = row + (size_t)index * (TYPE == Q8_0_ ? 34 : 36);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = word(block + (TYPE == Q8_0_ ? 2 : 4), i);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q2_K_
    const u8* block = row + (size_t)(index / 8) * 84;
    int g = index % 8;
    float d = half_at(block + 80), dmin = half_at(block + 82);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = word(block + 16 + 32 * (g / 4), i) >> 2 * (g % 4) & 0x03030303;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 packed = block[2 * g + half];
        chunk.scale[half] = __fmul_rn(d, packed & 15);
        chunk.min[half] = __fmul_rn(dmin, packed >> 4);
    }
#elif TYPE == Q3_K_
    const u8* block = row + (size_t)(index / 8) * 110;
    int g = index % 8;
    float d = half_at(block + 108);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u32 low = word(block + 32 + 32 * (g / 4), i) >> 2 * (g % 4) & 0x03030303;
        chunk.codes[i] = low | (word(block, i) >> g & 0x01010101) << 2;
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int j = 2 * g + half;
        int low = block[96 + j % 8] >> 4 * (j / 8) & 15, high = block[104 + j % 4] >> 2 * (j / 4) & 3;
        chunk.scale[half] = __fmul_rn(d, (low | high << 4) - 32);
        chunk.min[half] = 0;
    }
#elif TYPE == Q4_K_
    const u8* block = row + (size_t)(index / 8) * 144;
    int g = index % 8;
    u32 heads = *(const u32*)block, scale, min;
    scale_and_min(block + 4, g, scale, min);
    const uint4* codes = (const uint4*)(block + 16 + 32 * (g / 2));
    uint4 first = codes[0], second = codes[1];
    u32 both[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = both[i] >> 4 * (g % 2) & 0x0f0f0f0f;
    float2 d = halves_to_floats(heads);
    same_halves(chunk, __fmul_rn(d.x, scale), __fmul_rn(d.y, min));
#elif TYPE == Q5_K_
    const u8* block = row + (size_t)(index / 8) * 176;
    int g = index % 8;
    u32 heads = *(const u32*)block, scale, min;
    scale_and_min(block + 4, g, scale, min);
    const uint4* codes = (const uint4*)(block + 48 + 32 * (g / 2));
    const uint4* fifths = (const uint4*)(block + 16);
    uint4 first = codes[0], second = codes[1], high0 = fifths[0], high1 = fifths[1];
    u32 both[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
    u32 high[8] = {high0.x, high0.y, high0.z, high0.w, high1.x, high1.y, high1.z, high1.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = (both[i] >> 4 * (g % 2) & 0x0f0f0f0f) | (high[i] >> g & 0x01010101) << 4;
    float2 d = halves_to_floats(heads);
    same_halves(chunk, __fmul_rn(d.x, scale), __fmul_rn(d.y, min));
#elif TYPE == Q6_K_
    const u8* block = row + (size_t)(index / 8) * 210;
    int g = index % 8;
    const u8 *low = block + 64 * (g / 4) + 32 * (g % 2), *high = block + 128 + 32 * (g / 4);
    float d = half_at(block + 208);
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = (word(low, i) >> 4 * (g % 4 / 2) & 0x0f0f0f0f) | (word(high, i) >> 2 * (g % 4) & 0x03030303) << 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        chunk.scale[half] = __fmul_rn(d, (i8)block[192 + 2 * g + half]);
        chunk.min[half] = 0;
    }
#elif TYPE == Q8_K_
    const u8* block = row + (size_t)(index / 8) * 292;
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = word(block + 4 + 32 * (index % 8), i);
    same_halves(chunk, __uint_as_float(word(block, 0)), 0);
#elif TYPE == IQ4_NL_
    const u8* block = row + (size_t)index * 18;
    nibbles(block + 2, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = iq4_value(chunk.codes[i]);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == IQ4_XS_
    const u8* block = row + (size_t)(index / 8) * 136;
    int g = index % 8;
    nibbles(block + 8 + 16 * g, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = iq4_value(chunk.codes[i]);
    int low = block[4 + g / 2] >> 4 * (g % 2) & 15, high = ((const u16*)block)[1] >> 2 * g & 3;
    same_halves(chunk, __fmul_rn(half_at(block), (low | high << 4) - 32), 0);
#elif TYPE == MXFP4_
    const u8* block = row + (size_t)index * 17;
    nibbles(block + 1, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = fp4_value(chunk.codes[i]);
    u32 e = block[0]; // 2^(e - 128): 0 and 1 are subnormal
    same_halves(chunk, __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0);
#elif TYPE == NVFP4_
    const u8* block = row + (size_t)(index / 2) * 36;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int g = 2 * (index % 2) + half;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            u32 both = word(block + 4 + 8 * g, i);
            chunk.codes[4 * half + i] = fp4_value(both & 0x0f0f0f0f);
            chunk.codes[4 * half + 2 + i] = fp4_value(both >> 4 & 0x0f0f0f0f);
        }
        u32 e = block[g], exponent = e >> 3 & 15, mantissa = e & 7; // half of an unsigned E4M3
        float normal = __uint_as_float((exponent + 119) << 23 | mantissa << 20);
        chunk.scale[half] = e == 0x7f ? 0 : exponent == 0 ? mantissa * (1.0f / 1024) : normal;
        chunk.min[half] = 0;
    }
#elif TYPE == TQ2_0_
    const u8* block = row + (size_t)(index / 8) * 66;
    int g = index % 8;
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = word(block + 32 * (g / 4), i) >> 2 * (g % 4) & 0x03030303;
    same_halves(chunk, half_at(block + 64), 0);
#elif TYPE == Q1_0_
    const u8* block = row + (size_t)(index / 4) * 18;
    u32 bits = word(block + 2, index % 4);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = spread_bits(bits >> 4 * i) << 1;
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q2_0_
    const u8* block = row + (size_t)(index / 2) * 18;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u32 crumbs = block[2 + 8 * (index % 2) + i];
        chunk.codes[i] = (crumbs & 3) | (crumbs & 12) << 6 | (crumbs & 48) << 12 | (crumbs & 192) << 18;
    }
    same_halves(chunk, half_at(block), 0);
#else
#error "a type without a device form"
#endif
    return chunk;
}

// Value `i` of 0..32, rounded as the CPU's decoder rounds.
__device__ __forceinline__ float chunk_value(const Chunk& chunk, int i) {
    int code = (i8)(chunk.codes[i / 4] >> 8 * (i % 4)) - OFFSET;
    float value = __fmul_rn((float)code, chunk.scale[i / 16]);
    return HAS_MINS ? __fsub_rn(value, chunk.min[i / 16]) : value;
}

#endif
