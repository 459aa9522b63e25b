// Reads memory as fast as it goes: 16 bytes per thread and load, four loads under way.

struct Args {
    const uint4* from;
    unsigned int* out;
    unsigned long long count;  // of pieces of 16 bytes, a multiple of 4
};

extern "C" __global__ void read(Args args) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory"); // nothing overlaps with what is measured
#endif
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    unsigned int sum = 0;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < args.count; i += 4 * step) {
        uint4 a[4];
#pragma unroll
        for (int j = 0; j < 4; j++) a[j] = i + j * step < args.count ? args.from[i + j * step] : uint4{0, 0, 0, 0};
#pragma unroll
        for (int j = 0; j < 4; j++) sum ^= a[j].x ^ a[j].y ^ a[j].z ^ a[j].w;
    }
    if (sum == 0x12345678u) *args.out = sum;  // hardly ever: what keeps the loads
}
