// Products of tensor cores of 64 rows of weights, in the registers of four warps, and ROWS rows of activations in shared
// memory: `wgmma`. Before it stands `fragment.cu`; ROWS is 16, 32, 64, 128 or 256.

// A slab of activations: 64 halves of each row, 128 bytes, whose pieces of 16 change places (SWIZZLE) so that rows lie in
// different banks.
#define SLAB_BYTES (ROWS * 128)
#define SWIZZLE(row, piece) ((row) * 128 + (((piece) ^ ((row) & 7)) << 4))

// What a warp multiplies at one time: 16 rows and 64 columns of weights, four steps of 16; of each step rows g and g + 8 of
// the first two places of lane t, then those of the other two.
struct Halves {
    u32 words[4][4];
};

#ifdef EMULATED
__device__ __forceinline__ u32 on_halves(u32 a, float (*of)(float, float, float), u32 b, u32 c) {
    float2 x = halves_to_floats(a), y = halves_to_floats(b), z = halves_to_floats(c);
    return floats_to_halves(of(x.x, y.x, z.x), of(x.y, y.y, z.y));
}
__device__ __forceinline__ u32 fma_halves(u32 a, u32 b, u32 c) {
    return on_halves(a, [](float x, float y, float z) { return fmaf(x, y, z); }, b, c);
}
__device__ __forceinline__ u32 both_halves(float value) { return floats_to_halves(value, value); }
__device__ __forceinline__ u32 low_twice(u32 two) { return (two & 0xffff) | two << 16; }
__device__ __forceinline__ u32 high_twice(u32 two) { return (two & 0xffff0000) | two >> 16; }

typedef const u8* Slab;
__device__ __forceinline__ Slab slab_at(const u8* at) { return at; }
__device__ __forceinline__ Slab slab_after(Slab slab, u32 bytes) { return slab + bytes; }
__device__ __forceinline__ void multiply_slab(float sums[ROWS / 8][4], Halves& w, Slab slab) {
    int lane = threadIdx.x % 32, t = lane % 4;
    for (int step = 0; step < 4; step++)
        for (int i = 0; i < 4; i++) {
            float row[16];
            for (int other = 0; other < 4; other++)
                for (int part = 0; part < 2; part++) {
                    float2 two = halves_to_floats(__shfl_sync(FULL, w.words[step][2 * part + i / 2], lane / 4 * 4 + other));
                    row[8 * part + 2 * other] = two.x, row[8 * part + 2 * other + 1] = two.y;
                }
            for (int j = 0; j < ROWS / 8; j++)
                for (int place = 0; place < 16; place++) {
                    const u8* piece = slab + SWIZZLE(8 * j + 2 * t + i % 2, 2 * step + place / 8);
                    sums[j][i] += row[place] * half_to_float(((const u16*)piece)[place % 8]);
                }
        }
}
template <int LEFT> __device__ __forceinline__ void products_done() {}
__device__ __forceinline__ void used(Halves& w) {}
__device__ __forceinline__ void show_copies() {}
__device__ __forceinline__ void keep(float sums[ROWS / 8][4]) {}
#else
__device__ __forceinline__ u32 fma_halves(u32 a, u32 b, u32 c) {
    u32 out;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
    return out;
}
__device__ __forceinline__ u32 both_halves(float value) {
    u32 out;
    asm("cvt.rn.f16x2.f32 %0, %1, %1;" : "=r"(out) : "f"(value));
    return out;
}
// One of two halves as both: no instruction where it is a factor.
__device__ __forceinline__ u32 low_twice(u32 two) {
    u32 out;
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {low, low};\n}" : "=r"(out) : "r"(two));
    return out;
}
__device__ __forceinline__ u32 high_twice(u32 two) {
    u32 out;
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {high, high};\n}" : "=r"(out) : "r"(two));
    return out;
}

// Where a slab lies, as `wgmma` wants it told: swizzled rows of 128 bytes, eight of them 1024 bytes from the next eight.
typedef u64 Slab;
__device__ __forceinline__ Slab slab_at(const u8* at) {
    return (u64)((u32)__cvta_generic_to_shared(at) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
__device__ __forceinline__ Slab slab_after(Slab slab, u32 bytes) { return slab + bytes / 16; }

#define FOUR(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#define EIGHT(j) FOUR(j), FOUR(j + 1)
#define SIXTEEN(j) EIGHT(j), EIGHT(j + 2)
__device__ __forceinline__ void multiply_step(float sums[ROWS / 8][4], const u32 w[4], Slab slab) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
#if ROWS == 16
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7"
        "}, {%8, %9, %10, %11}, %12, p, 1, 1, 0;\n}"
        : EIGHT(0)
#elif ROWS == 32
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
        "}, {%16, %17, %18, %19}, %20, p, 1, 1, 0;\n}"
        : SIXTEEN(0)
#elif ROWS == 64
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}"
        : SIXTEEN(0), SIXTEEN(4)
#elif ROWS == 128
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}"
        : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12)
#elif ROWS == 256
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, {%128, %129, %130, %131}, %132, p, 1, 1, 0;\n}"
        : SIXTEEN(0), SIXTEEN(4), SIXTEEN(8), SIXTEEN(12), SIXTEEN(16), SIXTEEN(20), SIXTEEN(24), SIXTEEN(28)
#endif
        : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "l"(slab)
        : "memory");
}

// sums += w times the slab; begins now, done when `products_done` says so. Until then nobody may touch either.
__device__ __forceinline__ void multiply_slab(float sums[ROWS / 8][4], Halves& w, Slab slab) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int step = 0; step < 4; step++) multiply_step(sums, w.words[step], slab + 2 * step);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// All products but those of the last LEFT slabs.
template <int LEFT> __device__ __forceinline__ void products_done() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// The registers were in use up to here.
__device__ __forceinline__ void used(Halves& w) {
#pragma unroll
    for (int i = 0; i < 16; i++) asm volatile("" : "+r"(w.words[i / 4][i % 4])::"memory");
}

// The compiler does not put off what led to these values.
__device__ __forceinline__ void keep(float sums[ROWS / 8][4]) {
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++) asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
}

// Tensor cores see what this thread's copies have brought.
__device__ __forceinline__ void show_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#endif

#if LOW == 512 && HIGH == 0 && !TABLE
#define NIBBLES 1
#else
#define NIBBLES 0
#endif

#define ONES 0x3c003c00
#define THOUSAND 0x64006400 // twice 1024: what lies in the low bits of it counts one by one

// Types whose scales are halves as they lie in a chunk.
#define PLAIN (BLOCK_LEN == 32 && !HAS_MINS && TYPE != MXFP4_)

// Scales of a chunk as halves, decoded once for all lanes that need them: per group and g what rows g and g + 8 are to be
// multiplied with and what is to be added, each twice; of groups of two halves the factors of both halves of row g, then
// of row g + 8.
#define SCALE_TABLE_BYTES (PLAIN ? 0 : GROUPS * 8 * 16)

#if PLAIN
// What is behind the last of `there` columns may be anything: their scales become zeros.
__device__ __forceinline__ void decode_scales(u8* at, u8*, u32 lane, int there) {
    if (there < 256)
        for (u32 i = lane; i < GROUPS * 8; i += 32)
            if (32 * (int)(i / 8) >= there) ((u32*)at)[i] = 0;
}
#else
// Lane 8 pair + g makes those of rows g and g + 8 in both groups of the pair; there are `there` columns from the chunk on.
__device__ __forceinline__ void decode_scales(u8* at, u8* table, u32 lane, int there) {
    u32 g = lane % 8, pair = lane / 8;
#pragma unroll
    for (int row = 0; row < 2; row++) {
#if TYPE == Q4_K_ || TYPE == Q5_K_
        // Both fields at one time, as both heads lie.
        uint4 word = ((const uint4*)at)[g + 8 * row];
        u32 last = last_fields(word.y, word.z, word.w);
        u32 both = pair & 1 ? (pair & 2 ? last : word.z) : (pair & 2 ? word.w : word.y);
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            u32 fields = both >> 12 * odd, value = (fields & 63) | (fields << 10 & 63 << 16) | THOUSAND;
            value = fma_halves(fma_halves(value, ONES, 0xe400e400), word.x, 0x80008000);
            uint2 words = make_uint2(low_twice(value), high_twice(value) ^ 0x80008000);
            *(uint2*)(table + (2 * pair + odd) * 128 + 16 * g + 8 * row) = words;
        }
#else
        float scale[2][2]; // by group of the pair, and half of the group
#if HAS_MINS
        float min[2];
#endif
#if TYPE == Q6_K_
        u32 word = ((const u32*)at)[4 * (g + 8 * row) + pair];
        float head = half_to_float(((const u16*)(at + 256))[2 * g + row]);
#pragma unroll
        for (int i = 0; i < 4; i++) scale[i / 2][i % 2] = (float)(i8)(word >> 8 * i) * head;
#elif TYPE == IQ4_XS_
        uint2 word = ((const uint2*)at)[g + 8 * row];
        u32 fields = (u32)((word.x | (u64)word.y << 32) >> (16 + 12 * pair));
#pragma unroll
        for (int odd = 0; odd < 2; odd++)
            scale[odd][0] = (float)((int)(fields >> 6 * odd & 63) - 32) * half_to_float((u16)word.x);
#elif TYPE == MXFP4_
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            u32 e = at[16 * (2 * pair + odd) + 2 * g + row];
            scale[odd][0] = __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        }
#elif HAS_MINS
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            const u16* both = (const u16*)(at + 64 * (2 * pair + odd)) + 4 * g + row;
            scale[odd][0] = half_to_float(both[0]), min[odd] = half_to_float(both[2]);
        }
#else
#pragma unroll
        for (int odd = 0; odd < 2; odd++)
            scale[odd][0] = half_to_float(((const u16*)(at + 32 * (2 * pair + odd)))[2 * g + row]);
#endif
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            bool zero = BLOCK_LEN == 32 && 64 * (int)pair + 32 * odd >= there; // behind the last column may be anything
            uint2 words;
            words.x = zero ? 0 : both_halves(scale[odd][0]);
#if HALVES == 2
            words.y = both_halves(scale[odd][1]);
#elif HAS_MINS
            words.y = zero ? 0 : both_halves(-min[odd]);
#else
            words.y = 0;
#endif
            *(uint2*)(table + (2 * pair + odd) * 128 + 16 * g + 8 * row) = words;
        }
#endif
    }
}
#endif

// Codes that fill a byte from the top are STEPs of 1; less 1024 of them, and 128 where they have a sign.
#if HIGH == 128
#define CODE_STEP 0x30003000
#define CODE_OFFSET (HAS_MINS ? 0xd800d800 : 0xd880d880)
#elif HIGH == 256
#define CODE_STEP 0x34003400
#define CODE_OFFSET 0xdc80dc80
#else
#define CODE_STEP ONES
#define CODE_OFFSET 0xe480e480
#endif

// Bits that turn codes into halves of 1024 and more. An instruction has room for one constant, and to mask and to mark takes
// two: these must be in registers, so the compiler must not know them. (There is one layer of blocks.)
struct Marks {
    u32 low, high;
};
__device__ __forceinline__ Marks marks() {
#if TYPE == Q4_0_
    return Marks{0x64086408 * gridDim.z, 0x64806480 * gridDim.z};
#else
    return Marks{THOUSAND * gridDim.z, THOUSAND * gridDim.z};
#endif
}

// Weights of pair `pair` of a chunk, given its scales: where they lie, or where they were decoded to.
__device__ __forceinline__ Halves weights_of(const u8* chunk, u32 pairs, int pair, const u8* scales_at, u32 lane, const Marks& mark) {
    Halves out;
    u32 g = lane / 4;
#if NIBBLES
    uint4 all = ((const uint4*)(chunk + pair * LOW))[lane];
    u32 words[4] = {all.x, all.y, all.z, all.w};
#else
    Fragment w[2];
    fragments(chunk, pairs, pair, lane, w);
#endif
#pragma unroll
    for (int odd = 0; odd < 2; odd++) {
#if PLAIN
        u32 both = *(const u32*)(scales_at + (2 * pair + odd) * 32 + 4 * g);
        u32 factor[2] = {low_twice(both), high_twice(both)}, more[2] = {0, 0};
#else
        uint4 scales = *(const uint4*)(scales_at + (2 * pair + odd) * 128 + 16 * g);
        u32 factor[2] = {scales.x, scales.z}, more[2] = {scales.y, scales.w};
#endif
#if HALVES == 2
        // A lane has columns 4 t and 16 + 4 t, and is to have 8 t: of two rounds of exchange every lane gives one of its
        // words in each. Its new columns are of one half.
        u32 t = lane % 4;
#pragma unroll
        for (int row = 0; row < 2; row++) {
            if (t >= 2) factor[row] = more[row];
            more[row] = 0;
            u32 low = w[odd].words[row], high = w[odd].words[2 + row];
            u32 first = __shfl_sync(FULL, lane & 1 ? high : low, (lane & ~3u) + (t < 2 ? 2 * t : 2 * t - 3));
            u32 second = __shfl_sync(FULL, lane & 1 ? low : high, (lane & ~3u) + (t < 2 ? 2 * t + 1 : 2 * t - 4));
            w[odd].words[row] = t < 2 ? first : second, w[odd].words[2 + row] = t < 2 ? second : first;
        }
#endif
#pragma unroll
        for (int row = 0; row < 2; row++)
#pragma unroll
            for (int step = 0; step < 2; step++)
#pragma unroll
                for (int two = 0; two < 2; two++) {
                    // 1024 and more, exactly; then the code; then the weight.
                    u32 value;
#if NIBBLES
                    u32 word = words[2 * odd + row] >> 8 * two;
                    value = step ? (word & 0x00f000f0) ^ mark.high : (word & 0x000f000f) ^ mark.low;
#if TYPE == Q4_0_
                    value = step ? fma_halves(value, 0x2c002c00, 0xd480d480) : fma_halves(value, ONES, 0xe408e408);
#else
                    value = step ? fma_halves(value, 0x2c002c00, 0xd400d400) : fma_halves(value, ONES, 0xe400e400);
#endif
#else
                    u32 word = w[odd].words[2 * step + row] ^ (HAS_MINS ? 0 : 0x80808080);
                    value = __byte_perm(word, mark.low, two ? 0x5351 : 0x5250);
                    value = fma_halves(value, CODE_STEP, CODE_OFFSET);
#endif
                    out.words[2 * odd + step][2 * two + row] = fma_halves(value, factor[row], more[row]);
                }
    }
    return out;
}
