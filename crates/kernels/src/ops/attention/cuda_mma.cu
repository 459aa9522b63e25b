// What attention on tensor cores is made of: products of halves summed in f32, copies from memory into shared memory
// that nobody waits for, and matrices of 8 x 8 halves from there into the registers that the products want.
//
// Fragments of m16n8k16, with g = lane / 4 and t = lane % 4: `a` holds rows g and g + 8 at columns 2t, 2t + 1, then
// the same at columns 2t + 8, 2t + 9; `b` rows 2t, 2t + 1, then 2t + 8, 2t + 9 of column g; `c` columns 2t, 2t + 1 of
// rows g, then g + 8.

#ifdef EMULATED
static __attribute__((aligned(1024))) u8 shared[256 << 10];
#define SHARED
__device__ __forceinline__ float product(u32 a, u32 b) {
    float2 x = halves_to_floats(a), y = halves_to_floats(b);
    return x.x * y.x + x.y * y.y;
}
__device__ __forceinline__ void mma(float c[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    u64 low[32], high[32], b[32]; // of all lanes: a0 and a1, a2 and a3, b0 and b1
    memcpy(low, exchange(a0 | (u64)a1 << 32), sizeof low);
    memcpy(high, exchange(a2 | (u64)a3 << 32), sizeof high);
    memcpy(b, exchange(b0 | (u64)b1 << 32), sizeof b);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            u64 column = b[(2 * t + i % 2) * 4 + k];
            int row = 4 * g + k, half = i / 2 * 32;
            c[i] += product(low[row] >> half, column) + product(high[row] >> half, column >> 32);
        }
}

__device__ __forceinline__ u32 shared_address(const void* at) { return (const u8*)at - shared; }
__device__ __forceinline__ void copy_16(u32 to, const void* from, bool there) {
    *(uint4*)(shared + to) = there ? *(const uint4*)from : uint4{0, 0, 0, 0};
}
__device__ __forceinline__ void copies_sent() {}
template <int LEFT> __device__ __forceinline__ void copies_done() {}
__device__ __forceinline__ void store_16(u32 at, u32 a, u32 b, u32 c, u32 d) { *(uint4*)(shared + at) = uint4{a, b, c, d}; }
__device__ __forceinline__ uint4 load_16(u32 at) { return *(const uint4*)(shared + at); }
__device__ __forceinline__ void store_8(u32 at, uint2 two) { *(uint2*)(shared + at) = two; }
__device__ __forceinline__ void store_2(u32 at, u16 half) { *(u16*)(shared + at) = half; }
__device__ __forceinline__ void load_four(u32 out[4], u32 at) {
    auto rows = exchange(at);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) out[i] = ((const u32*)(shared + rows[8 * i + g]))[t];
}
__device__ __forceinline__ void load_four_turned(u32 out[4], u32 at) {
    auto rows = exchange(at);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    auto value = [&](int row) { return (u32)((const u16*)(shared + rows[row]))[g]; };
    for (int i = 0; i < 4; i++) out[i] = value(8 * i + 2 * t) | value(8 * i + 2 * t + 1) << 16;
}
__device__ __forceinline__ float exp2_of(float x) { return exp2f(x); }
__device__ __forceinline__ float log2_of(float x) { return log2f(x); }
__device__ __forceinline__ u32 less(u32 a, u32 b) {
    float2 x = halves_to_floats(a), y = halves_to_floats(b);
    return floats_to_halves(x.x - y.x, x.y - y.y);
}
__device__ __forceinline__ u32 pair(float low, float high) { return floats_to_halves(low, high); }
#else
#define SHARED extern __shared__ __align__(1024) u8 shared[]
__device__ __forceinline__ void mma(float c[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

__device__ __forceinline__ void copy_16(u32 to, const void* from, bool there) {
    int bytes = there ? 16 : 0; // the rest is filled with zeros
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}
__device__ __forceinline__ void copies_sent() { asm volatile("cp.async.commit_group;"); }
template <int LEFT> __device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT)); }

__device__ __forceinline__ void store_16(u32 at, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(a), "r"(b), "r"(c), "r"(d));
}
__device__ __forceinline__ uint4 load_16(u32 at) {
    uint4 four;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(four.x), "=r"(four.y), "=r"(four.z), "=r"(four.w)
                 : "r"(at));
    return four;
}
__device__ __forceinline__ void store_8(u32 at, uint2 two) {
    asm volatile("st.shared.v2.b32 [%0], {%1,%2};" ::"r"(at), "r"(two.x), "r"(two.y));
}
__device__ __forceinline__ void store_2(u32 at, u16 half) { asm volatile("st.shared.b16 [%0], %1;" ::"r"(at), "h"(half)); }
__device__ __forceinline__ void load_four(u32 out[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at));
}
__device__ __forceinline__ void load_four_turned(u32 out[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at));
}

__device__ __forceinline__ float exp2_of(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float log2_of(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Pairs of halves.
__device__ __forceinline__ u32 less(u32 a, u32 b) {
    u32 c;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(c) : "r"(a), "r"(b));
    return c;
}

__device__ __forceinline__ u32 pair(float low, float high) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#endif

// Four codes, made positive by an offset, as two pairs of halves: bytes under 0x64 are the halves 1024 to 1279.
template <int OFFSET> __device__ __forceinline__ uint2 halves_of(u32 codes) {
    const u32 off = 0x64006400 + OFFSET * 0x10001;
    return uint2{less(__byte_perm(codes, 0x64646464, 0x4140), off), less(__byte_perm(codes, 0x64646464, 0x4342), off)};
}

#define LOG2E 1.4426950408889634f
#define NOTHING (-INFINITY_F)
#define GROUP (NUM_HEADS / NUM_KV_HEADS)
#define DIM DIM_K

// A score as the power of two that its weight is, before the largest is taken off. `scale` holds LOG2E unless scores
// are bounded.
__device__ __forceinline__ float capped(float score, float scale, float softcap) {
    score *= scale;
    return softcap > 0 ? LOG2E * softcap * tanhf(score / softcap) : score;
}

#define LANE_DIMS (DIM / 32) // of a head that a warp holds: lane + 32 i

// A head's queries, or its results, in the lanes of a warp.
struct Head {
    float x[LANE_DIMS];
};

// As `rotate` of `kv.cu`, within a warp.
__device__ __forceinline__ void rotate_head(Head& head, int lane) {
    const int part = DIM & -DIM;
#pragma unroll
    for (int width = 1; width < part; width *= 2) {
        if (width < 32) {
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) {
                float other = __shfl_xor_sync(FULL, head.x[i], width);
                head.x[i] = lane & width ? other - head.x[i] : head.x[i] + other;
            }
        } else {
            Head before = head;
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) {
                int step = width / 32;
                head.x[i] = i & step ? before.x[i ^ step] - before.x[i] : before.x[i] + before.x[i ^ step];
            }
        }
    }
    float factor = __fdiv_rn(1.0f, sqrtf((float)part));
#pragma unroll
    for (int i = 0; i < LANE_DIMS; i++) head.x[i] *= factor;
}
