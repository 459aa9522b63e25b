// Cosines and sines of one row per block. Angles are taken in f64, as the reference does.
struct Args {
    const u32* positions;
    const float* inv_freq;
    float* out;
    u32 half; // angles per row
    float magnitude;
};

extern "C" __global__ void __launch_bounds__(128) rope_table(Args args) {
    wait_for_inputs();
    double position = args.positions[blockIdx.x];
    float* out = args.out + (u64)blockIdx.x * 2 * args.half;
    for (u32 j = threadIdx.x; j < args.half; j += blockDim.x) {
        double angle = position * args.inv_freq[j], sine, cosine;
        sincos(angle, &sine, &cosine);
        out[j] = (float)cosine * args.magnitude;
        out[args.half + j] = (float)sine * args.magnitude;
    }
}
