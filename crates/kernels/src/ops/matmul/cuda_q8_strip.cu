// What a lane of `cuda_q8.cu` multiplies: a strip of 32 columns of a row of weights, and of a row of activations. In most types
// strip and chunk are the same. Where a byte holds two bits each of four columns that lie 32 apart, a strip is 8 such bytes with
// all that they hold, for else four lanes would read each: 4 parts of 8 columns.
#if TYPE == Q2_K_ || TYPE == Q3_K_ || TYPE == Q6_K_ || TYPE == TQ2_0_
#define PLANES 1
#define PARTS 4
#else
#define PLANES 0
#define PARTS HALVES
#endif
// Words of codes in a part, which has one scale.
#define PART_WORDS (8 / PARTS)

#if PLANES

// As it lies in the file: what is made of it is made when it is needed, which takes fewer registers.
struct Strip {
    u32 two[2];
#if TYPE == Q3_K_
    u32 third[2];
#elif TYPE == Q6_K_
    u32 four[2][2];
#endif
#if TYPE == Q2_K_
    u32 scales[2];
    float2 d;
#elif TYPE == Q3_K_
    u32 scales[3];
    float d;
#elif TYPE == Q6_K_
    u32 scales[2];
    float d;
#else
    float d;
#endif
};

// Strip `index` of a row: of half `h` of a block the columns 128 h + 32 part + 8 q and on. Groups of 16 have a scale.
__device__ __forceinline__ Strip strip(const u8* row, u32 index) {
    Strip out;
    u32 h = index % 8 / 4, q = index % 4;
#if TYPE == Q2_K_
    const u8* block = row + (u64)(index / 8) * 84;
    u32 heads;
    words<2>(block + 16 + 32 * h + 8 * q, out.two);
    words<2>(block + 8 * h, out.scales);
    words<1>(block + 80, &heads);
    out.scales[0] >>= 8 * (q / 2), out.scales[1] >>= 8 * (q / 2);
    out.d = halves_to_floats(heads);
#elif TYPE == Q3_K_
    const u8* block = row + (u64)(index / 8) * 110;
    words<2>(block + 32 + 32 * h + 8 * q, out.two);
    words<2>(block + 8 * q, out.third);
    words<3>(block + 96, out.scales);
    out.third[0] >>= 4 * h, out.third[1] >>= 4 * h;
#pragma unroll
    for (int i = 0; i < 3; i++) out.scales[i] >>= 8 * (q / 2) + 4 * h;
    out.d = half_at(block + 108);
#elif TYPE == Q6_K_
    const u8* block = row + (u64)(index / 8) * 210;
    words<2>(block + 64 * h + 8 * q, out.four[0]);
    words<2>(block + 64 * h + 32 + 8 * q, out.four[1]);
    words<2>(block + 128 + 32 * h + 8 * q, out.two);
    words<2>(block + 192 + 8 * h, out.scales);
    out.scales[0] >>= 8 * (q / 2), out.scales[1] >>= 8 * (q / 2);
    out.d = half_at(block + 208);
#else
    const u8* block = row + (u64)(index / 8) * 66;
    words<2>(block + 32 * h + 8 * q, out.two);
    out.d = half_at(block + 64);
#endif
    return out;
}

// Word `i` of the codes of a part.
__device__ __forceinline__ u32 codes_of(const Strip& w, int part, int i) {
#if TYPE == Q6_K_
    u32 high = part < 3 ? w.two[i] << (4 - 2 * part) : w.two[i] >> 2;
    return (high & 0x30303030) | (w.four[part % 2][i] >> part / 2 * 4 & 0x0f0f0f0f);
#elif TYPE == Q3_K_
    u32 third = part < 3 ? w.third[i] << (2 - part) : w.third[i] >> 1;
    return (third & 0x04040404) | (w.two[i] >> 2 * part & 0x03030303);
#else
    return w.two[i] >> 2 * part & 0x03030303;
#endif
}

__device__ __forceinline__ float scale_of(const Strip& w, int part) {
#if TYPE == Q2_K_
    return w.d.x * (w.scales[part / 2] >> 16 * (part % 2) & 15);
#elif TYPE == Q3_K_
    u32 low = w.scales[part / 2] >> 16 * (part % 2) & 15, high = w.scales[2] >> (16 * (part % 2) + part / 2 * 2) & 3;
    return w.d * ((int)(low | high << 4) - 32);
#elif TYPE == Q6_K_
    return w.d * (i8)(w.scales[part / 2] >> 16 * (part % 2));
#else
    return w.d;
#endif
}

__device__ __forceinline__ float min_of(const Strip& w, int part) {
#if TYPE == Q2_K_
    return w.d.y * (w.scales[part / 2] >> (16 * (part % 2) + 4) & 15);
#else
    return 0;
#endif
}

#else

typedef Chunk Strip;
__device__ __forceinline__ Strip strip(const u8* row, u32 index) { return unpack(row, index); }
__device__ __forceinline__ u32 codes_of(const Strip& w, int part, int i) { return w.codes[PART_WORDS * part + i]; }
__device__ __forceinline__ float scale_of(const Strip& w, int part) { return w.scale[part]; }
__device__ __forceinline__ float min_of(const Strip& w, int part) { return w.min[part]; }

#endif

// The same columns of a row of activations: codes, and of each part their scale and sum.
struct Activations {
    int codes[8];
    float scale[PARTS];
    int sums[PARTS];
};

__device__ __forceinline__ Activations activations(const u8* x, u32 k, u32 index) {
    Activations out;
    const float* scales = (const float*)(x + k);
#if PLANES
    float4 four = *(const float4*)(scales + index / 4 * 4);
    out.scale[0] = four.x, out.scale[1] = four.y, out.scale[2] = four.z, out.scale[3] = four.w;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        uint2 codes = *(const uint2*)(x + 128 * (index / 4) + 32 * part + 8 * (index % 4));
        out.codes[2 * part] = codes.x, out.codes[2 * part + 1] = codes.y;
        out.sums[part] = __dp4a(0x01010101, (int)codes.y, __dp4a(0x01010101, (int)codes.x, 0));
    }
#else
    const int4* codes = (const int4*)(x + 32 * index);
    int4 a = codes[0], b = codes[1];
    short2 sums = ((const short2*)(x + k + k / 8))[index];
    out.codes[0] = a.x, out.codes[1] = a.y, out.codes[2] = a.z, out.codes[3] = a.w;
    out.codes[4] = b.x, out.codes[5] = b.y, out.codes[6] = b.z, out.codes[7] = b.w;
    out.scale[0] = out.scale[PARTS - 1] = scales[index];
    out.sums[0] = PARTS == 2 ? sums.x : sums.x + sums.y;
    if (PARTS == 2) out.sums[1] = sums.y;
#endif
    return out;
}
