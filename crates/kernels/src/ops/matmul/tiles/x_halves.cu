// int8 activations as halves, for a product by cuBLASLt. A block per row.

struct Args {
    const u8* x;
    u16* out;
    float* factors; // what the results of each row are to be multiplied with
    u64 x_row_bytes;
    u32 k;
};

extern "C" __global__ void __launch_bounds__(256) x_to_half(Args args) {
    wait_for_inputs();
    const u8* x = args.x + blockIdx.x * args.x_row_bytes;
    const float* scales = (const float*)(x + args.k);
    u16* out = args.out + (u64)blockIdx.x * args.k;
    float largest = 0;
    for (u32 i = threadIdx.x; i < args.k / 32; i += blockDim.x) largest = fmaxf(largest, 127 * scales[i]);
    int exponent = exponent_of_row(largest);
    for (u32 i = threadIdx.x; i < args.k / 4; i += blockDim.x) {
        u32 codes = ((const u32*)x)[i];
        float scale = ldexpf(scales[i / 8], -exponent);
        u32 low = floats_to_halves((i8)codes * scale, (i8)(codes >> 8) * scale);
        ((uint2*)out)[i] = make_uint2(low, floats_to_halves((i8)(codes >> 16) * scale, (i8)(codes >> 24) * scale));
    }
    if (threadIdx.x == 0) args.factors[blockIdx.x] = ldexpf(1.0f, exponent);
}
