// How a warp keeps memory busy: a ring of chunks in shared memory, filled some turns ahead.

#ifdef EMULATED
__device__ __forceinline__ void copy_chunk(u8* to, const u8* from, u32 bytes, u32 lane) {
    for (u32 at = 16 * lane; at < bytes; at += 512) *(uint4*)(to + at) = *(const uint4*)(from + at);
}
__device__ __forceinline__ void commit() {}
template <int LEFT> __device__ __forceinline__ void arrived() { __syncwarp(); }
#define SHARED static __attribute__((aligned(128))) u8 shared[256 << 10]

typedef u8* Shared;
__device__ __forceinline__ Shared shared_at(void* at) { return (u8*)at; }
__device__ __forceinline__ void make_gate(Shared) {}
__device__ __forceinline__ void gates_are_made() { __syncwarp(); }
__device__ __forceinline__ void copy_through(Shared to, const u8* from, u32 bytes, Shared) {
    for (u32 at = 0; at < bytes; at += 16) *(uint4*)(to + at) = *(const uint4*)(from + at);
}
__device__ __forceinline__ void pass(Shared, u32) { __syncwarp(); }
#else
#define SHARED extern __shared__ __align__(128) u8 shared[]

__device__ __forceinline__ void copy_chunk(u8* to, const u8* from, u32 bytes, u32 lane) {
    u32 shared = (u32)__cvta_generic_to_shared(to);
#pragma unroll
    for (u32 at = 0; at < CHUNK_BYTES; at += 512)
        if (at + 16 * lane < bytes)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared + at + 16 * lane),
                         "l"(from + at + 16 * lane) : "memory");
}

__device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT> __device__ __forceinline__ void arrived() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
    __syncwarp();
}

// Where something lies, as instructions for shared memory want it told.
typedef u32 Shared;
__device__ __forceinline__ Shared shared_at(void* at) { return (u32)__cvta_generic_to_shared(at); }

#if __CUDA_ARCH__ >= 900
// A gate, 8 bytes, opens when what one lane has copied through it by one instruction is there. Turns are 0, 1, 0 and so on.
__device__ __forceinline__ void make_gate(Shared gate) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(gate) : "memory");
}
__device__ __forceinline__ void gates_are_made() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    __syncwarp();
}
__device__ __forceinline__ void copy_through(Shared to, const u8* from, u32 bytes, Shared gate) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(gate), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(gate) : "memory");
}
__device__ __forceinline__ void pass(Shared gate, u32 turn) {
    asm volatile("{\n.reg .pred open;\nclosed%=: mbarrier.try_wait.parity.shared.b64 open, [%0], %1;\n@!open bra closed%=;\n}"
                 ::"r"(gate), "r"(turn) : "memory");
}
#endif
#endif
