// Activations as halves, and the results set right again. A block per row.

struct ToHalf {
    const float* x;
    u16* out;
    float* factors; // what the results of each row are to be multiplied with
    u32 k;
};

extern "C" __global__ void __launch_bounds__(256) to_half(ToHalf args) {
    wait_for_inputs();
    const float* x = args.x + (u64)blockIdx.x * args.k;
    u16* out = args.out + (u64)blockIdx.x * args.k;
    float largest = 0;
    for (u32 i = threadIdx.x; i < args.k; i += blockDim.x) largest = fmaxf(largest, fabsf(x[i]));
    int exponent = exponent_of_row(largest);
    for (u32 i = threadIdx.x; i < args.k; i += blockDim.x) out[i] = float_to_half(ldexpf(x[i], -exponent));
    if (threadIdx.x == 0) args.factors[blockIdx.x] = ldexpf(1.0f, exponent);
}

struct Finish {
    float* out;
    const float* bias;
    const float* factors;
    u32 n;
};

extern "C" __global__ void __launch_bounds__(256) finish(Finish args) {
    wait_for_inputs();
    float factor = args.factors[blockIdx.x];
    if (factor == 1.0f && !args.bias) return;
    float* out = args.out + (u64)blockIdx.x * args.n;
    for (u32 i = blockIdx.y * blockDim.x + threadIdx.x; i < args.n; i += gridDim.y * blockDim.x)
        out[i] = out[i] * factor + (args.bias ? args.bias[i] : 0.0f);
}
