// Queries and keys are rotated, keys and values stored: a row and a head per block, first those of queries, then keys,
// then values. As `rope` and `kv_store` one by one.
struct Args {
    float* q;
    float* k;
    const float* v;
    const float* table;
    Kv kv;
    Fit fit;
    FaultPlace fault;
    u32 rotary_dim;
};

extern "C" __global__ void __launch_bounds__(128) rope_store(Args args) {
    let_next_start();
    u32 row = blockIdx.x, head = blockIdx.y, half = args.rotary_dim / 2, kv_head = 0;
    bool is_query = head < NUM_HEADS, is_key = !is_query && head < NUM_HEADS + NUM_KV_HEADS;
    u8 *to = nullptr, *block = nullptr;
    u32 position = 0;
    if (!is_query) {
        kv_head = (head - NUM_HEADS) % NUM_KV_HEADS;
        const KvView& view = args.kv.views[view_of(args.kv, row)];
        position = num_cached(view, args.kv.layer, kv_head) + row - view.first_row;
        block = block_of(args.kv, view, kv_head, position);
        to = is_key ? key_at(block, position) : value_at(block, position);
    }
    wait();
    u32 faults = 0;
    if (!is_query && !is_key) {
        const float* v = args.v + ((u64)row * NUM_KV_HEADS + kv_head) * DIM_V;
#if V_CODED
        faults |= store_value(block, position, v);
#else
        for (int i = threadIdx.x; i < DIM_V; i += blockDim.x) faults |= store<V_TYPE>(to, i, v[i]);
#endif
    } else {
        float* x = is_query ? args.q + ((u64)row * NUM_HEADS + head) * DIM_K
                            : args.k + ((u64)row * NUM_KV_HEADS + kv_head) * DIM_K;
        const float* table = args.table + (u64)row * args.rotary_dim;
        for (u32 j = threadIdx.x; j < half; j += blockDim.x) {
            u32 a = ADJACENT ? 2 * j : j, b = ADJACENT ? a + 1 : j + half;
            float cosine = table[j], sine = table[half + j], first = x[a], second = x[b];
            float left = __fsub_rn(__fmul_rn(first, cosine), __fmul_rn(second, sine));
            float right = __fadd_rn(__fmul_rn(first, sine), __fmul_rn(second, cosine));
            x[a] = left, x[b] = right;
            if (is_key && !K_CODED) faults |= store<K_TYPE>(to, a, left) | store<K_TYPE>(to, b, right);
        }
#if K_CODED
        __syncthreads();
        if (is_key) faults |= store_key(block, kv_head, position, args.fit, x);
#else
        if (is_key)
            for (u32 i = args.rotary_dim + threadIdx.x; i < DIM_K; i += blockDim.x)
                faults |= store<K_TYPE>(to, i, x[i]);
#endif
    }
    if (faults) raise(args.fault, faults);
}
