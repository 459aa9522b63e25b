// Looks for logits that are no numbers or infinite; -Inf rules a token out and is fine. Of each row the most likely token is
// noted, the first of equal ones.
struct Args {
    const float* logits; // [rows, num_tokens]
    u64* best;           // [rows], all ones before: the least word stays
    FaultPlace fault;
    u32 num_tokens;
};

#define THREADS 256

// The less the likelier: the token in the lower half, above it what falls as the logit rises, 0 for what is no logit.
__device__ __forceinline__ u64 word_of(float logit, u32 token) {
    u32 bits = __float_as_uint(logit + 0.0f); // -0 is 0
    u32 rank = bits >> 31 ? ~bits : bits | 0x80000000;
    return (u64)(logit < INFINITY_F ? ~rank : 0) << 32 | token;
}

// A row and a piece of it per block.
extern "C" __global__ void __launch_bounds__(THREADS) look_over(Args args) {
    __shared__ u64 words[THREADS / 32];
    wait_for_inputs();
    const float* logits = args.logits + (u64)blockIdx.x * args.num_tokens;
    u64 least = ~0ull;
    u32 faults = 0;
    for (u32 i = blockIdx.y * THREADS + threadIdx.x; i < args.num_tokens; i += gridDim.y * THREADS) {
        float logit = logits[i];
        if (!(logit < INFINITY_F)) faults |= faults_of(logit);
        least = min(least, word_of(logit, i));
    }
    if (faults) raise(args.fault, faults);
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) least = min(least, __shfl_xor_sync(FULL, least, lane));
    if (threadIdx.x % 32 == 0) words[threadIdx.x / 32] = least;
    __syncthreads();
    if (threadIdx.x) return;
    for (int warp = 1; warp < THREADS / 32; warp++) least = min(least, words[warp]);
    atomicMin(args.best + blockIdx.x, least);
}
