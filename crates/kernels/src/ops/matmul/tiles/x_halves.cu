// int8 activations as halves, for a product by cuBLASLt. A row whose values do not suit halves is scaled by a power of
// two, which loses nothing. A block per row.

#define LEAST 0.0625f
#define MOST 16384.0f

struct Args {
    const u8* x;
    u16* out;
    float* factors; // what the results of each row are to be multiplied with
    u64 x_row_bytes;
    u32 k;
};

extern "C" __global__ void __launch_bounds__(256) x_to_half(Args args) {
    __shared__ float largest_of[8];
    wait_for_inputs();
    const u8* x = args.x + blockIdx.x * args.x_row_bytes;
    const float* scales = (const float*)(x + args.k);
    u16* out = args.out + (u64)blockIdx.x * args.k;
    float largest = 0;
    for (u32 i = threadIdx.x; i < args.k / 32; i += blockDim.x) largest = fmaxf(largest, 127 * scales[i]);
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) largest_of[threadIdx.x / 32] = largest;
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / 32; warp++) largest = fmaxf(largest, largest_of[warp]);
    bool scaled = isfinite(largest) && largest > 0 && !(largest >= LEAST && largest <= MOST);
    int exponent = scaled ? ilogbf(largest) : 0;
    for (u32 i = threadIdx.x; i < args.k / 4; i += blockDim.x) {
        u32 codes = ((const u32*)x)[i];
        float scale = ldexpf(scales[i / 8], -exponent);
        u32 low = floats_to_halves((i8)codes * scale, (i8)(codes >> 8) * scale);
        ((uint2*)out)[i] = make_uint2(low, floats_to_halves((i8)(codes >> 16) * scale, (i8)(codes >> 24) * scale));
    }
    if (threadIdx.x == 0) args.factors[blockIdx.x] = ldexpf(1.0f, exponent);
}
