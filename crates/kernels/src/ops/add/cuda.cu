// x += y. One thread per value.
struct Args {
    float* x;
    const float* y;
    u64 count;
};

extern "C" __global__ void __launch_bounds__(256) add(Args args) {
    wait_for_inputs();
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.x[i] += args.y[i];
}
