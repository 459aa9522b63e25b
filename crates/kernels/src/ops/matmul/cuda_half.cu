// Activations as halves, and the results set right again. A row whose values do not suit halves is scaled by a power
// of two, which loses nothing. A block per row.

// Largest sizes that are left alone: products with weights of moderate size neither overflow nor vanish.
#define LEAST 0.0625f
#define MOST 16384.0f

struct ToHalf {
    const float* x;
    u16* out;
    float* factors; // what the results of each row are to be multiplied with
    u32 k;
};

extern "C" __global__ void __launch_bounds__(256) to_half(ToHalf args) {
    __shared__ float largest_of[8];
    wait_for_inputs();
    const float* x = args.x + (u64)blockIdx.x * args.k;
    u16* out = args.out + (u64)blockIdx.x * args.k;
    float largest = 0;
    for (u32 i = threadIdx.x; i < args.k; i += blockDim.x) largest = fmaxf(largest, fabsf(x[i]));
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) largest_of[threadIdx.x / 32] = largest;
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / 32; warp++) largest = fmaxf(largest, largest_of[warp]);
    bool scaled = isfinite(largest) && largest > 0 && !(largest >= LEAST && largest <= MOST);
    int exponent = scaled ? ilogbf(largest) : 0;
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
