// Looks for logits that are no numbers or infinite; -Inf rules a token out and is fine.
struct Args {
    const float* logits;
    u64 count;
    FaultPlace fault;
};

extern "C" __global__ void __launch_bounds__(256) look_over(Args args) {
    wait_for_inputs();
    u32 faults = 0;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.count; i += (u64)gridDim.x * blockDim.x) {
        float logit = args.logits[i];
        if (!(logit < INFINITY_F)) faults |= faults_of(logit);
    }
    if (faults) raise(args.fault, faults);
}
