// RMS norm of one group per block. Squares are summed in f64, as the reference does: they may leave the range of f32.
// A thread keeps its numbers in registers, four neighbours at a time where the width allows.
struct Args {
    const float* x;
    const float* weight;
    float* out;
    u64 width;
    FaultPlace fault;
    float eps;
};

// Sum over the block, in every thread.
__device__ __forceinline__ double block_sum(double sum) {
    __shared__ double sums[32];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    return warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? sums[threadIdx.x % 32] : 0.0);
}

__device__ __forceinline__ float scale_of(const Args& args, double sum) {
    double mean = sum / args.width;
    bool sound = mean <= 3.4028234663852886e38 && mean + args.eps > 0;
    if (threadIdx.x == 0 && !sound) raise(args.fault, faults_of(mean));
    return (float)(1.0 / sqrt(mean + args.eps));
}

extern "C" __global__ void __launch_bounds__(1024) norm_rows(Args args) {
    wait_for_inputs();
    const float* x = args.x + blockIdx.x * args.width;
    float* out = args.out + blockIdx.x * args.width;
    double sum = 0;
    for (u64 i = threadIdx.x; i < args.width; i += blockDim.x) sum += (double)x[i] * x[i];
    float scale = scale_of(args, block_sum(sum));
    for (u64 i = threadIdx.x; i < args.width; i += blockDim.x) out[i] = x[i] * scale * args.weight[i];
}

// FOURS times four numbers per thread, of which the last may not be there.
template <int FOURS> __device__ __forceinline__ void norm_fours(const Args& args) {
    u32 fours = args.width / 4;
    float4 w[FOURS], value[FOURS];
    let_next_start();
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        w[i] = at < fours ? ((const float4*)args.weight)[at] : float4{0, 0, 0, 0};
    }
    wait();
    const float4* x = (const float4*)(args.x + blockIdx.x * args.width);
    double sum = 0;
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        value[i] = at < fours ? x[at] : float4{0, 0, 0, 0};
        double low = (double)value[i].x * value[i].x + (double)value[i].y * value[i].y;
        sum += low + ((double)value[i].z * value[i].z + (double)value[i].w * value[i].w);
    }
    float scale = scale_of(args, block_sum(sum));
    float4* out = (float4*)(args.out + blockIdx.x * args.width);
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        float4 v = value[i];
        if (at < fours)
            out[at] = float4{v.x * scale * w[i].x, v.y * scale * w[i].y, v.z * scale * w[i].z, v.w * scale * w[i].w};
    }
}

extern "C" __global__ void __launch_bounds__(1024) norm_1(Args args) { norm_fours<1>(args); }
extern "C" __global__ void __launch_bounds__(1024) norm_2(Args args) { norm_fours<2>(args); }
