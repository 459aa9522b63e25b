// Rows of weights whose codes are points of a lattice: IQ1, IQ2, IQ3. Comes after `blocks.cu` and the lattice of TYPE: POINTS,
// a nibble for each digit, so that a point is the selector of a byte permutation, and VALUES, a byte for each digit.
#if LATTICE

#define NUM_POINTS (sizeof(POINTS) / sizeof(u32))

// Lanes look up at random places, which shared memory does best.
alignas(16) __shared__ u32 points[NUM_POINTS];

// What a block does before it unpacks.
__device__ __forceinline__ void take_points() {
    for (u32 i = threadIdx.x; i < NUM_POINTS / 4; i += blockDim.x) ((uint4*)points)[i] = ((const uint4*)POINTS)[i];
    __syncthreads();
}

// The four low values, each times `factor` and `more` larger.
__device__ __forceinline__ u32 each_value(int factor, int more) {
    u32 out = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) out |= (u32)(u8)((i8)(VALUES >> 8 * i) * factor + more) << 8 * i;
    return out;
}

// IQ1: the eight codes of a point, all one more or one less.
__device__ __forceinline__ void shifted(u32 index, bool less, u32* codes) {
    u32 point = points[index], values = less ? each_value(1, -1) : each_value(1, 1);
    codes[0] = chosen(values, 0, point);
    codes[1] = chosen(values, 0, point >> 16);
}

// IQ2: the eight codes of a point, negated where a bit of `signs` is set, of which the two above the lowest eight count
// for nothing: a sign is bit 2 of its selector.
__device__ __forceinline__ void signed_eight(u32 index, u32 signs, u32* codes) {
    signs = signs * 0x1001 & 0x000f000f;
    signs = signs * 0x41 & 0x03030303;
    u32 point = points[index] | (signs * 0x24 & 0x44444444), values = each_value(1, 0), negative = each_value(-1, 0);
    codes[0] = chosen(values, negative, point);
    codes[1] = chosen(values, negative, point >> 16);
}

// IQ3: the four codes of a point, negated where one of the four low bits of `signs` is set. No value is 0: nothing carries.
__device__ __forceinline__ u32 signed_four(u32 index, u32 signs) {
    u32 ones = spread_bits(signs), values = chosen((u32)VALUES, (u32)(VALUES >> 32), points[index]);
    return (values ^ ones * 0xff) + ones;
}

// Sign index `l` of a word: seven bits, and an eighth that makes their number even. Of the bits above none counts.
__device__ __forceinline__ u32 even_signs(u32 word, int l) {
    u32 seven = word >> 7 * l & 127;
    return seven + (__popc(seven) << 7);
}

// Chunk `index` of a row.
__device__ __forceinline__ Chunk unpack(const u8* row, u32 index) {
    Chunk chunk;
    u32 g = index % 8;
#if TYPE == IQ1_S_
    const u8* block = row + (u64)(index / 8) * 50;
    u32 low, high = ((const u16*)(block + 34))[g];
    words<1>(block + 2 + 4 * g, &low);
#pragma unroll
    for (int l = 0; l < 4; l++)
        shifted((low >> 8 * l & 255) | (high >> 3 * l & 7) << 8, high & 0x8000, &chunk.codes[2 * l]);
    same_halves(chunk, __fmul_rn(half_at(block), (2 * (high >> 12 & 7) + 1) * 0.125f), 0);
#elif TYPE == IQ1_M_
    const u8* block = row + (u64)(index / 8) * 56;
    u32 low, high = ((const u16*)(block + 32))[g], scales[2];
    words<1>(block + 4 * g, &low);
    words<2>(block + 48, scales);
#pragma unroll
    for (int l = 0; l < 4; l++) {
        u32 nibble = high >> 4 * l;
        shifted((low >> 8 * l & 255) | (nibble & 7) << 8, nibble & 8, &chunk.codes[2 * l]);
    }
    // The top nibbles of four halves are a half.
    u32 d = (scales[0] >> 12 & 15) | scales[0] >> 28 << 4 | (scales[1] >> 12 & 15) << 8 | scales[1] >> 28 << 12;
    u32 both = scales[g / 4] >> (16 * (g / 2 % 2) + 6 * (g % 2));
#pragma unroll
    for (int half = 0; half < 2; half++) {
        chunk.scale[half] = __fmul_rn(half_to_float((u16)d), (2 * (both >> 3 * half & 7) + 1) * 0.125f);
        chunk.min[half] = 0;
    }
#elif TYPE == IQ2_XXS_
    const u8* block = row + (u64)(index / 8) * 66;
    u32 both[2];
    words<2>(block + 2 + 8 * g, both);
#pragma unroll
    for (int l = 0; l < 4; l++) signed_eight(both[0] >> 8 * l & 255, even_signs(both[1], l), &chunk.codes[2 * l]);
    same_halves(chunk, __fmul_rn(half_at(block), (0.5f + (both[1] >> 28)) * 0.25f), 0);
#elif TYPE == IQ2_XS_ || TYPE == IQ2_S_
#if TYPE == IQ2_XS_
    const u8* block = row + (u64)(index / 8) * 74;
    u32 both[2], scales = block[66 + g];
    words<2>(block + 2 + 8 * g, both);
#pragma unroll
    for (int l = 0; l < 4; l++) {
        u32 half = both[l / 2] >> 16 * (l % 2);
        signed_eight(half & 511, even_signs(half >> 9, 0), &chunk.codes[2 * l]);
    }
#else
    const u8* block = row + (u64)(index / 8) * 82;
    u32 low, signs, high = block[66 + g], scales = block[74 + g];
    words<1>(block + 2 + 4 * g, &low);
    words<1>(block + 34 + 4 * g, &signs);
#pragma unroll
    for (int l = 0; l < 4; l++)
        signed_eight((low >> 8 * l & 255) | (high >> 2 * l & 3) << 8, signs >> 8 * l & 255, &chunk.codes[2 * l]);
#endif
    float d = half_at(block);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        chunk.scale[half] = __fmul_rn(d, (0.5f + (scales >> 4 * half & 15)) * 0.25f);
        chunk.min[half] = 0;
    }
#elif TYPE == IQ3_XXS_
    const u8* block = row + (u64)(index / 8) * 98;
    u32 four[2], word;
    words<2>(block + 2 + 8 * g, four);
    words<1>(block + 66 + 4 * g, &word);
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = signed_four(four[i / 4] >> 8 * (i % 4) & 255, even_signs(word, i / 2) >> 4 * (i % 2));
    same_halves(chunk, __fmul_rn(half_at(block), (0.5f + (word >> 28)) * 0.5f), 0);
#else
    const u8* block = row + (u64)(index / 8) * 110;
    u32 four[2], signs, ninth = block[66 + g], scale = block[106 + g / 2] >> 4 * (g % 2) & 15;
    words<2>(block + 2 + 8 * g, four);
    words<1>(block + 74 + 4 * g, &signs);
#pragma unroll
    for (int i = 0; i < 8; i++)
        chunk.codes[i] = signed_four((four[i / 4] >> 8 * (i % 4) & 255) | (ninth >> i & 1) << 8, signs >> 4 * i);
    same_halves(chunk, __fmul_rn(half_at(block), 1 + 2 * scale), 0);
#endif
    return chunk;
}

#endif
