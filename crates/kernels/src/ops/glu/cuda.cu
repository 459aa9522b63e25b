// out = act(gate) * up. One thread per value; GELU_TANH says which activation. `out` may be `gate` or `up`.
struct Args {
    const float* gate;
    const float* up;
    float* out;
    u64 count;
};

extern "C" __global__ void __launch_bounds__(256) glu(Args args) {
    wait_for_inputs();
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= args.count) return;
    float x = args.gate[i];
#if GELU_TANH
    // 0.5 (1 + tanh y) = 1 / (1 + e^-2y), with twice the root of 2 / pi in the factor.
    float y = 1.5957691216057308f * (x + 0.044715f * x * x * x);
#else
    float y = x;
#endif
    args.out[i] = x / (1.0f + expf(-y)) * args.up[i];
}
