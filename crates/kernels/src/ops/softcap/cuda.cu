// x = cap * tanh(x / cap). One thread per value.
struct Args {
    float* x;
    u64 count;
    float cap;
};

extern "C" __global__ void __launch_bounds__(256) softcap(Args args) {
    wait_for_inputs();
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.x[i] = args.cap * tanhf(args.x[i] / args.cap);
}
