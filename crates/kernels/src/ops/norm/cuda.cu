// RMS norm of one group per block. Squares are summed in f64, as the reference does: they may leave the range of f32.
struct Args {
    const float* x;
    const float* weight;
    float* out;
    u64 width;
    FaultPlace fault;
    float eps;
};

extern "C" __global__ void __launch_bounds__(256) norm_rows(Args args) {
    __shared__ double sums[8];
    wait_for_inputs();
    const float* x = args.x + blockIdx.x * args.width;
    float* out = args.out + blockIdx.x * args.width;
    double sum = 0;
    for (u64 i = threadIdx.x; i < args.width; i += blockDim.x) sum += (double)x[i] * x[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int warp = 0; warp < blockDim.x / 32; warp++) sum += sums[warp];
    double mean = sum / args.width;
    float scale = (float)(1.0 / sqrt(mean + args.eps));
    for (u64 i = threadIdx.x; i < args.width; i += blockDim.x) out[i] = x[i] * scale * args.weight[i];
    bool sound = mean <= 3.4028234663852886e38 && mean + args.eps > 0;
    if (threadIdx.x == 0 && !sound) raise(args.fault, faults_of(mean));
}
