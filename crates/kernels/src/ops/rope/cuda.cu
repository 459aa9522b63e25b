// Rotates one pair per thread; ADJACENT says which values form a pair. Each product and each sum is rounded, as in the
// reference.
struct Args {
    float* x;
    const float* table;
    u64 num_heads; // of all rows
    u32 heads_per_row;
    u32 head_dim;
    u32 rotary_dim;
};

extern "C" __global__ void __launch_bounds__(256) rope(Args args) {
    wait_for_inputs();
    u32 half = args.rotary_dim / 2;
    u64 pair = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u64 head = pair / half;
    u32 j = pair % half;
    if (head >= args.num_heads) return;
    const float* table = args.table + head / args.heads_per_row * args.rotary_dim;
    float* x = args.x + head * args.head_dim;
    u32 a = ADJACENT ? 2 * j : j, b = ADJACENT ? a + 1 : j + half;
    float cosine = table[j], sine = table[half + j], first = x[a], second = x[b];
    x[a] = __fsub_rn(__fmul_rn(first, cosine), __fmul_rn(second, sine));
    x[b] = __fadd_rn(__fmul_rn(first, sine), __fmul_rn(second, cosine));
}
