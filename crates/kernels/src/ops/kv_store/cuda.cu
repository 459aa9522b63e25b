// Keys and values of one row and head per block, encoded as the cache's types.
struct Args {
    const float* k;
    const float* v;
    Kv kv;
    Fit fit;
    FaultPlace fault;
};

extern "C" __global__ void __launch_bounds__(128) kv_store(Args args) {
    wait_for_inputs();
    u32 row = blockIdx.x, head = blockIdx.y;
    const KvView& view = args.kv.views[view_of(args.kv, row)];
    u32 position = num_cached(view, args.kv.layer, head) + row - view.first_row;
    u8* block = block_of(args.kv, view, head, position);
    const float* k = args.k + ((u64)row * NUM_KV_HEADS + head) * DIM_K;
    const float* v = args.v + ((u64)row * NUM_KV_HEADS + head) * DIM_V;
    u32 faults = 0;
#if K_CODED
    faults |= store_key(block, head, position, args.fit, k);
#else
    for (int i = threadIdx.x; i < DIM_K; i += blockDim.x) faults |= store<K_TYPE>(key_at(block, position), i, k[i]);
#endif
#if V_CODED
    faults |= store_value(block, position, v);
#else
    for (int i = threadIdx.x; i < DIM_V; i += blockDim.x) faults |= store<V_TYPE>(value_at(block, position), i, v[i]);
#endif
    if (faults) raise(args.fault, faults);
}
