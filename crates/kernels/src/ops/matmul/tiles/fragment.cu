// Tensor-core products of int8 with weights out of a chunk in shared memory.

// What a code in a byte is to be multiplied with.
#if TYPE == Q4_0_
#define STEP (1.0f / 16)
#elif HIGH == 128
#define STEP (1.0f / 8)
#elif HIGH == 256
#define STEP (1.0f / 4)
#else
#define STEP 1.0f
#endif

// An integer below 2^22 in size, added to these bits, is a float less MAGIC.
#define MAGIC_BITS 0x4b400000
#define MAGIC 12582912.0f

#if HAS_MINS
#define CODE "u8"
#else
#define CODE "s8"
#endif

// Where column g (or 2 t) of a product finds its activations.
struct Fragment {
    u32 words[4]; // row g part 0, row g + 8 part 0, row g part 1, row g + 8 part 1
};

// 16 rows of codes times 8 columns of activations, 32 values each (16 of them), plus MAGIC_BITS.
#ifdef EMULATED
__device__ __forceinline__ int dot4(u32 codes, u32 x) {
    int sum = 0;
    for (int i = 0; i < 4; i++) sum += (HAS_MINS ? (int)(codes >> 8 * i & 255) : (int)(i8)(codes >> 8 * i)) * (i8)(x >> 8 * i);
    return sum;
}
struct Start {};
__device__ __forceinline__ Start start_of_sums() { return Start{}; }
__device__ __forceinline__ void multiply_half(u32 first, u32 second, u32 x, const Start&, int sums[4]) {
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        sums[i] = MAGIC_BITS;
        for (int t = 0; t < 4; t++)
            sums[i] += dot4(__shfl_sync(FULL, i / 2 ? second : first, lane / 4 * 4 + t),
                            __shfl_sync(FULL, x, (2 * (lane % 4) + i % 2) * 4 + t));
    }
}
__device__ __forceinline__ void multiply(const Fragment& w, u32 x0, u32 x1, const Start& start, int sums[4]) {
    int more[4];
    multiply_half(w.words[0], w.words[1], x0, start, sums);
    multiply_half(w.words[2], w.words[3], x1, start, more);
    for (int i = 0; i < 4; i++) sums[i] += more[i] - MAGIC_BITS;
}
#else
// What sums start from, four registers that stay: the compiler does not learn that they are one constant.
struct Start {
    int bits[4];
};
__device__ __forceinline__ Start start_of_sums() {
    Start start;
#pragma unroll
    for (int i = 0; i < 4; i++) asm volatile("mov.b32 %0, %1;" : "=r"(start.bits[i]) : "n"(MAGIC_BITS));
    return start;
}
__device__ __forceinline__ void multiply(const Fragment& w, u32 x0, u32 x1, const Start& start, int sums[4]) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32." CODE ".s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])
        : "r"(w.words[0]), "r"(w.words[1]), "r"(w.words[2]), "r"(w.words[3]), "r"(x0), "r"(x1), "r"(start.bits[0]),
          "r"(start.bits[1]), "r"(start.bits[2]), "r"(start.bits[3]));
}
__device__ __forceinline__ void multiply_half(u32 first, u32 second, u32 x, const Start& start, int sums[4]) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32." CODE ".s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
        : "=r"(sums[0]), "=r"(sums[1]), "=r"(sums[2]), "=r"(sums[3])
        : "r"(first), "r"(second), "r"(x), "r"(start.bits[0]), "r"(start.bits[1]), "r"(start.bits[2]), "r"(start.bits[3]));
}
#endif

#if TABLE
#if TYPE == MXFP4_
#define TABLE_LOW 0x03020100, 0x0c080604
#define TABLE_HIGH 0xfdfeff00, 0xf4f8fafc
#else
#define TABLE_LOW 0xbfad9881, 0xf6eaddcf
#define TABLE_HIGH 0x26190d01, 0x71594535
#endif
#endif

// The fragments of pair `pair` of a chunk.
__device__ __forceinline__ void fragments(const u8* chunk, u32 pairs, int pair, u32 lane, Fragment out[2]) {
#if LOW == 1024
#pragma unroll
    for (int g = 0; g < 2; g++) {
        uint4 w = ((const uint4*)(chunk + pair * LOW))[32 * g + lane];
        out[g] = Fragment{{w.x, w.z, w.y, w.w}};
    }
#else
    uint4 w = ((const uint4*)(chunk + pair * LOW))[lane];
    u32 words[4] = {w.x, w.y, w.z, w.w};
#if HIGH == 128
    u32 fifth = ((const u32*)(chunk + pairs * LOW + pair * HIGH))[lane];
#elif HIGH == 256
    uint2 both = ((const uint2*)(chunk + pairs * LOW + pair * HIGH))[lane];
    u32 high[2] = {both.x, both.y};
#endif
#pragma unroll
    for (int g = 0; g < 2; g++)
#pragma unroll
        for (int row = 0; row < 2; row++) {
            u32 word = words[2 * g + row];
#if TABLE
            u32 low = word & 0x77777777, select = (word >> 1 & 0x44444444) | 0x32103210;
#pragma unroll
            for (int part = 0; part < 2; part++) {
                u32 below = __byte_perm(TABLE_LOW, low >> 16 * part), above = __byte_perm(TABLE_HIGH, low >> 16 * part);
                out[g].words[2 * part + row] = __byte_perm(below, above, select >> 16 * part);
            }
#else
#pragma unroll
            for (int part = 0; part < 2; part++) {
#if HIGH == 128
                u32 code = (part ? word >> 1 : word << 3) & 0x78787878;
                code |= (fifth << (4 * g + 2 * row + part)) & 0x80808080;
#elif HIGH == 256
                u32 code = (part ? word >> 2 : word << 2) & 0x3c3c3c3c;
                code |= (high[g] << 2 * (2 * row + part)) & 0xc0c0c0c0;
#elif TYPE == Q4_0_
                u32 code = (part ? word : word << 4) & 0xf0f0f0f0;
#else
                u32 code = (part ? word >> 4 : word) & 0x0f0f0f0f;
#endif
                out[g].words[2 * part + row] = code;
            }
#endif
        }
#endif
}

// Scales of a chunk, as far as they are read once for all its groups.
struct ChunkScales {
#if TYPE == Q4_K_ || TYPE == Q5_K_
    u32 words[2][4];
    float scale[2], min[2];
#elif TYPE == Q6_K_
    u32 words[2][4];
    float scale[2];
#elif TYPE == IQ4_XS_
    uint2 words[2];
    float scale[2];
#endif
    const u8* at;
};

#define TWO_23 8388608.0f
#define TWO_23_BITS 0x4b000000

__device__ __forceinline__ ChunkScales chunk_scales(const u8* at, u32 g) {
    ChunkScales scales;
    scales.at = at;
#if TYPE == Q4_K_ || TYPE == Q5_K_
#pragma unroll
    for (int row = 0; row < 2; row++) {
        uint4 word = ((const uint4*)at)[g + 8 * row];
        float2 heads = halves_to_floats(word.x);
        scales.scale[row] = heads.x, scales.min[row] = heads.y;
        scales.words[row][0] = word.y, scales.words[row][1] = word.z, scales.words[row][2] = word.w;
        scales.words[row][3] = last_fields(word.y, word.z, word.w);
    }
#elif TYPE == Q6_K_
#pragma unroll
    for (int row = 0; row < 2; row++) {
        uint4 word = ((const uint4*)at)[g + 8 * row];
        u32 words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
        for (int i = 0; i < 4; i++) scales.words[row][i] = words[i] ^ 0x80808080;
    }
    float2 heads = halves_to_floats(((const u32*)(at + 256))[g]);
    scales.scale[0] = heads.x, scales.scale[1] = heads.y;
#elif TYPE == IQ4_XS_
#pragma unroll
    for (int row = 0; row < 2; row++) {
        scales.words[row] = ((const uint2*)at)[g + 8 * row];
        scales.scale[row] = half_to_float((u16)scales.words[row].x);
    }
#endif
    return scales;
}

// Scale (of half `half`) of rows g and g + 8 in a group, and min: what a code is to be multiplied with, and what is to
// be taken away.
__device__ __forceinline__ void group_scales(const ChunkScales& chunk, int group, int half, u32 g, float scale[2], float min[2]) {
#if TYPE == Q4_K_ || TYPE == Q5_K_
#pragma unroll
    for (int row = 0; row < 2; row++) {
        u32 both = chunk.words[row][group / 2] >> 12 * (group % 2);
        float d = chunk.scale[row], dmin = chunk.min[row];
        scale[row] = fmaf(__uint_as_float((both & 63) | TWO_23_BITS), d, -TWO_23 * d);
        min[row] = fmaf(__uint_as_float((both >> 6 & 63) | TWO_23_BITS), dmin, -TWO_23 * dmin);
    }
#elif TYPE == Q6_K_
    int index = 2 * group + half;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        u32 bits = __byte_perm(chunk.words[row][index / 4], TWO_23_BITS, 0x7440 + index % 4);
        scale[row] = (__uint_as_float(bits) - (TWO_23 + 128)) * chunk.scale[row];
    }
#elif TYPE == IQ4_XS_
    int bit = 16 + 6 * group;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        uint2 word = chunk.words[row];
        u32 bits = bit >= 32 ? word.y >> (bit - 32) : __funnelshift_r(word.x, word.y, bit);
        scale[row] = (__uint_as_float((bits & 63) | TWO_23_BITS) - (TWO_23 + 32)) * chunk.scale[row];
    }
#elif TYPE == MXFP4_
    u32 both = ((const u16*)(chunk.at + 16 * group))[g];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        u32 e = row ? both >> 8 : both & 255;
        scale[row] = __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    }
#elif HAS_MINS
    uint2 both = ((const uint2*)(chunk.at + 64 * group))[g];
    float2 scales = halves_to_floats(both.x), mins = halves_to_floats(both.y);
    scale[0] = scales.x, scale[1] = scales.y;
    min[0] = mins.x, min[1] = mins.y;
#else
    float2 scales = halves_to_floats(((const u32*)(chunk.at + 32 * group))[g]);
    scale[0] = scales.x, scale[1] = scales.y;
#endif
}
