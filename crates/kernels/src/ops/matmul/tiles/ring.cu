// How a warp keeps memory busy: a ring of chunks in shared memory, filled some turns ahead.

#ifdef EMULATED
__device__ __forceinline__ void copy_chunk(u8* to, const u8* from, u32 bytes, u32 lane) {
    for (u32 at = 16 * lane; at < bytes; at += 512) *(uint4*)(to + at) = *(const uint4*)(from + at);
}
__device__ __forceinline__ void commit() {}
template <int LEFT> __device__ __forceinline__ void arrived() { __syncwarp(); }
#define SHARED static __attribute__((aligned(128))) u8 shared[256 << 10]
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
#endif
