// out[i] = x[output_rows[i]]. A block per row.
struct Args {
    const float* x;
    float* out;
    const u32* output_rows;
    u64 width;
};

extern "C" __global__ void __launch_bounds__(256) gather(Args args) {
    wait_for_inputs();
    const float* from = args.x + args.output_rows[blockIdx.x] * args.width;
    float* to = args.out + blockIdx.x * args.width;
    for (u64 i = threadIdx.x; i < args.width; i += blockDim.x) to[i] = from[i];
}
