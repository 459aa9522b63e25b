// Rows of floats as halves. A block per row.
struct Args {
    const float* x;
    u16* out;
    float* factors; // what the results of each row are to be multiplied with
    FaultPlace fault;
    u32 width;
};

extern "C" __global__ void __launch_bounds__(256) halve(Args args) {
    wait_for_inputs();
    const float4* x = (const float4*)(args.x + (u64)blockIdx.x * args.width);
    u16* out = args.out + (u64)blockIdx.x * args.width;
    float largest = 0;
    for (u32 i = threadIdx.x; i < args.width / 4; i += blockDim.x) largest = fmaxf(largest, largest_of_four(x[i]));
    int exponent = exponent_of_row(largest);
    for (u32 i = threadIdx.x; i < args.width / 4; i += blockDim.x) halve_four(x[i], exponent, out, i, args.fault);
    if (threadIdx.x == 0) args.factors[blockIdx.x] = ldexpf(1.0f, exponent);
}
