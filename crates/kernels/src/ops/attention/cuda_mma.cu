// What attention on tensor cores is made of: products of halves summed in f32, copies from memory into shared memory
// that nobody waits for, and matrices of 8 x 8 halves from there into the registers that the products want.
//
// Fragments of m16n8k16, with g = lane / 4 and t = lane % 4: `a` holds rows g and g + 8 at columns 2t, 2t + 1, then
// the same at columns 2t + 8, 2t + 9; `b` rows 2t, 2t + 1, then 2t + 8, 2t + 9 of column g; `c` columns 2t, 2t + 1 of
// rows g, then g + 8.

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

__device__ __forceinline__ u32 pair(float low, float high) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

#define LOG2E 1.4426950408889634f
#define NOTHING (-INFINITY_F)
#define GROUP (NUM_HEADS / NUM_KV_HEADS)

// A score as the power of two that its weight is, before the largest is taken off. `scale` holds LOG2E unless scores
// are bounded.
__device__ __forceinline__ float capped(float score, float scale, float softcap) {
    score *= scale;
    return softcap > 0 ? LOG2E * softcap * tanhf(score / softcap) : score;
}
