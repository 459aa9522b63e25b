// Rows of weights in the blocks of the GGUF file. TYPE is the type's number in files. A quantised row comes in chunks
// of 32 values: `value = (code - OFFSET) * scale - min`, one scale and min per half of a chunk (equal halves where a
// group has 32 values). The layouts are those of `gguf/src/blocks`; `gguf/src/unpack` says the same on the CPU. Types whose
// codes are points of a lattice are unpacked in `lattice.cu`.

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
#define IQ2_XXS_ 16
#define IQ2_XS_ 17
#define IQ3_XXS_ 18
#define IQ1_S_ 19
#define IQ4_NL_ 20
#define IQ3_S_ 21
#define IQ2_S_ 22
#define IQ4_XS_ 23
#define IQ1_M_ 29
#define BF16_ 30
#define TQ1_0_ 34
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

#if TYPE == IQ1_S_ || TYPE == IQ1_M_ || TYPE == IQ2_XXS_ || TYPE == IQ2_XS_ || TYPE == IQ2_S_ || TYPE == IQ3_XXS_ ||        \
    TYPE == IQ3_S_
#define LATTICE 1
#else
#define LATTICE 0
// What kernels do before they unpack: only lattices ask for something.
__device__ __forceinline__ void take_points() {}
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
#elif TYPE == TQ1_0_ || TYPE == TQ2_0_ || TYPE == Q1_0_ || TYPE == Q2_0_
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
#if TYPE == Q2_K_ || TYPE == Q3_K_ || TYPE == Q6_K_ || TYPE == NVFP4_ || TYPE == IQ1_M_ || TYPE == IQ2_XS_ || TYPE == IQ2_S_
#define HALVES 2
#else
#define HALVES 1
#endif

#if QUANTIZED

// Blocks of these types, and the words in them, begin at words.
#if TYPE == Q4_1_ || TYPE == Q5_1_ || TYPE == Q8_1_ || TYPE == Q2_K_ || TYPE == Q4_K_ || TYPE == Q5_K_ || TYPE == Q8_K_ ||  \
    TYPE == IQ4_XS_ || TYPE == NVFP4_ || TYPE == IQ1_M_
#define ALIGNED 1
#else
#define ALIGNED 0
#endif

// N words at `at`, wherever that is: put together from aligned ones, of which none is read that has no part in them.
template <int N> __device__ __forceinline__ void words(const u8* at, u32* out) {
    u32 beside = ALIGNED ? 0 : (u64)at & 3;
    const u32* from = (const u32*)(at - beside);
    u32 low = from[0];
#pragma unroll
    for (int i = 0; i < N; i++) {
        u32 high = !ALIGNED || i + 1 < N ? from[i + 1 < N || beside ? i + 1 : i] : 0;
        out[i] = ALIGNED ? low : __funnelshift_r(low, high, 8 * beside);
        low = high;
    }
}

__device__ __forceinline__ float half_at(const u8* at) { return half_to_float(*(const u16*)at); }

// The four low bits of a number, one to a byte.
__device__ __forceinline__ u32 spread_bits(u32 bits) {
    return (bits & 15) * 0x00204081 & 0x01010101;
}

// 16 bytes: element `j` in the low nibble of byte `j`, element `j + 16` in the high one.
__device__ __forceinline__ void nibbles(const u8* at, u32 codes[8]) {
    u32 both[4];
    words<4>(at, both);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        codes[i] = both[i] & 0x0f0f0f0f;
        codes[i + 4] = both[i] >> 4 & 0x0f0f0f0f;
    }
}

// Bytes of eight, chosen by the nibbles of a selector, of which none is above 7: `__byte_perm` would make sure of that.
__device__ __forceinline__ u32 chosen(u32 low, u32 high, u32 selector) {
#ifdef EMULATED
    return __byte_perm(low, high, selector);
#else
    u32 out;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(low), "r"(high), "r"(selector));
    return out;
#endif
}

// Four nibbles, one to a byte, looked up in a table of 16 bytes.
__device__ __forceinline__ u32 look_up(u32 nibbles, u32 t0, u32 t1, u32 t2, u32 t3) {
    u32 low = nibbles & 0x07070707;
    u32 select = (low | low >> 4) & 0x00ff00ff;
    select = (select | select >> 8) & 0xffff;
    u32 upper = (nibbles >> 3 & 0x01010101) * 0xff;
    return (chosen(t0, t1, select) & ~upper) | (chosen(t2, t3, select) & upper);
}

__device__ __forceinline__ u32 iq4_value(u32 nibbles) {
    return look_up(nibbles, 0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535);
}

__device__ __forceinline__ u32 fp4_value(u32 nibbles) {
    return look_up(nibbles, 0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc);
}

// Digit `digit` of each of four bytes in base 3: what a byte has above 256 when it was multiplied by 3 so often and once more.
__device__ __forceinline__ u32 trits(u32 bytes, u32 digit) {
    u32 power = chosen(0x1b090301, 81, digit) & 255;
    u32 even = (bytes & 0x00ff00ff) * power & 0x00ff00ff, odd = (bytes >> 8 & 0x00ff00ff) * power & 0x00ff00ff;
    return (even * 3 >> 8 & 0x00030003) | (odd * 3 & 0x03000300);
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

#if !LATTICE

// Chunk `index` of a row.
__device__ __forceinline__ Chunk unpack(const u8* row, u32 index) {
    Chunk chunk;
#if TYPE == Q4_0_
    const u8* block = row + (u64)index * 18;
    nibbles(block + 2, chunk.codes);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q4_1_
    const u8* block = row + (u64)index * 20;
    nibbles(block + 4, chunk.codes);
    same_halves(chunk, half_at(block), -half_at(block + 2));
#elif TYPE == Q5_0_ || TYPE == Q5_1_
#if TYPE == Q5_0_
    const u8* block = row + (u64)index * 22;
    u32 high;
    words<1>(block + 2, &high);
    nibbles(block + 6, chunk.codes);
    same_halves(chunk, half_at(block), 0);
#else
    const u8* block = row + (u64)index * 24;
    u32 high;
    words<1>(block + 4, &high);
    nibbles(block + 8, chunk.codes);
    same_halves(chunk, half_at(block), -half_at(block + 2));
#endif
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] |= spread_bits(high >> 4 * i) << 4;
#elif TYPE == Q8_0_ || TYPE == Q8_1_
    const u8* block = row + (u64)index * (TYPE == Q8_0_ ? 34 : 36);
    words<8>(block + (TYPE == Q8_0_ ? 2 : 4), chunk.codes);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q2_K_
    const u8* block = row + (u64)(index / 8) * 84;
    u32 g = index % 8;
    float d = half_at(block + 80), dmin = half_at(block + 82);
    words<8>(block + 16 + 32 * (g / 4), chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = chunk.codes[i] >> 2 * (g % 4) & 0x03030303;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        u32 packed = block[2 * g + half];
        chunk.scale[half] = __fmul_rn(d, packed & 15);
        chunk.min[half] = __fmul_rn(dmin, packed >> 4);
    }
#elif TYPE == Q3_K_
    const u8* block = row + (u64)(index / 8) * 110;
    u32 g = index % 8;
    float d = half_at(block + 108);
    u32 low[8], third[8];
    words<8>(block + 32 + 32 * (g / 4), low);
    words<8>(block, third);
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = (low[i] >> 2 * (g % 4) & 0x03030303) | (third[i] >> g & 0x01010101) << 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int j = 2 * g + half;
        int four = block[96 + j % 8] >> 4 * (j / 8) & 15, two = block[104 + j % 4] >> 2 * (j / 4) & 3;
        chunk.scale[half] = __fmul_rn(d, (four | two << 4) - 32);
        chunk.min[half] = 0;
    }
#elif TYPE == Q4_K_
    const u8* block = row + (u64)(index / 8) * 144;
    u32 g = index % 8;
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
    const u8* block = row + (u64)(index / 8) * 176;
    u32 g = index % 8;
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
    const u8* block = row + (u64)(index / 8) * 210;
    u32 g = index % 8;
    u32 low[8], high[8];
    words<8>(block + 64 * (g / 4) + 32 * (g % 2), low);
    words<8>(block + 128 + 32 * (g / 4), high);
    float d = half_at(block + 208);
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = (low[i] >> 4 * (g % 4 / 2) & 0x0f0f0f0f) | (high[i] >> 2 * (g % 4) & 0x03030303) << 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        chunk.scale[half] = __fmul_rn(d, (i8)block[192 + 2 * g + half]);
        chunk.min[half] = 0;
    }
#elif TYPE == Q8_K_
    const u8* block = row + (u64)(index / 8) * 292;
    words<8>(block + 4 + 32 * (index % 8), chunk.codes);
    same_halves(chunk, *(const float*)block, 0);
#elif TYPE == IQ4_NL_
    const u8* block = row + (u64)index * 18;
    nibbles(block + 2, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = iq4_value(chunk.codes[i]);
    same_halves(chunk, half_at(block), 0);
#elif TYPE == IQ4_XS_
    const u8* block = row + (u64)(index / 8) * 136;
    u32 g = index % 8;
    nibbles(block + 8 + 16 * g, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = iq4_value(chunk.codes[i]);
    int low = block[4 + g / 2] >> 4 * (g % 2) & 15, high = ((const u16*)block)[1] >> 2 * g & 3;
    same_halves(chunk, __fmul_rn(half_at(block), (low | high << 4) - 32), 0);
#elif TYPE == MXFP4_
    const u8* block = row + (u64)index * 17;
    nibbles(block + 1, chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = fp4_value(chunk.codes[i]);
    u32 e = block[0]; // 2^(e - 128): 0 and 1 are subnormal
    same_halves(chunk, __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0);
#elif TYPE == NVFP4_
    const u8* block = row + (u64)(index / 2) * 36;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int g = 2 * (index % 2) + half;
        u32 both[2];
        words<2>(block + 4 + 8 * g, both);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            chunk.codes[4 * half + i] = fp4_value(both[i] & 0x0f0f0f0f);
            chunk.codes[4 * half + 2 + i] = fp4_value(both[i] >> 4 & 0x0f0f0f0f);
        }
        u32 e = block[g], exponent = e >> 3 & 15, mantissa = e & 7; // half of an unsigned E4M3
        float normal = __uint_as_float((exponent + 119) << 23 | mantissa << 20);
        chunk.scale[half] = e == 0x7f ? 0 : exponent == 0 ? mantissa * (1.0f / 1024) : normal;
        chunk.min[half] = 0;
    }
#elif TYPE == TQ1_0_
    const u8* block = row + (u64)(index / 8) * 54;
    u32 g = index % 8, bytes[8];
    // 32 bytes of five digits each, then 16, which come last here but for 4 bytes of four.
    words<8>(block + (g < 5 ? 0 : 20), bytes);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        bool last = g == 7 && i >= 4;
        u32 four = g < 5 ? bytes[i] : last ? bytes[7] : bytes[3 + i % 4];
        chunk.codes[i] = trits(four, g < 5 ? g : last ? i - 4 : 2 * (g - 5) + i / 4);
    }
    same_halves(chunk, half_at(block + 52), 0);
#elif TYPE == TQ2_0_
    const u8* block = row + (u64)(index / 8) * 66;
    u32 g = index % 8;
    words<8>(block + 32 * (g / 4), chunk.codes);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = chunk.codes[i] >> 2 * (g % 4) & 0x03030303;
    same_halves(chunk, half_at(block + 64), 0);
#elif TYPE == Q1_0_
    const u8* block = row + (u64)(index / 4) * 18;
    u32 bits;
    words<1>(block + 2 + 4 * (index % 4), &bits);
#pragma unroll
    for (int i = 0; i < 8; i++) chunk.codes[i] = spread_bits(bits >> 4 * i) << 1;
    same_halves(chunk, half_at(block), 0);
#elif TYPE == Q2_0_
    const u8* block = row + (u64)(index / 2) * 18;
    u32 both[2];
    words<2>(block + 2 + 8 * (index % 2), both);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        u32 crumbs = both[i / 4] >> 8 * (i % 4);
        chunk.codes[i] = (crumbs & 3) | (crumbs & 12) << 6 | (crumbs & 48) << 12 | (crumbs & 192) << 18;
    }
    same_halves(chunk, half_at(block), 0);
#else
#error "a type without a device form"
#endif
    return chunk;
}

#endif

// Value `i` of 0..32, rounded as the CPU's decoder rounds.
__device__ __forceinline__ float chunk_value(const Chunk& chunk, int i) {
    int code = (i8)(chunk.codes[i / 4] >> 8 * (i % 4)) - OFFSET;
    float value = __fmul_rn((float)code, chunk.scale[i / 16]);
    return HAS_MINS ? __fsub_rn(value, chunk.min[i / 16]) : value;
}

#endif
