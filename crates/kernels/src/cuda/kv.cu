// The KV cache as a step sees it (`launch::KvView`, `kv::KvLayout`). BLOCK_SIZE positions of one head of one layer make
// a physical block: all keys, then all values. K_TYPE and V_TYPE are 0 for f32, 1 for f16.

struct KvView {
    const u32* table;
    const u32* lengths;
    u32 layer_stride, head_stride, layer_step, head_step, first_logical, context, first_row, num_rows;
};

struct Kv {
    u8* storage;
    const KvView* views;
    u32 num_views;
    u32 layer;
};

#define K_BYTES (DIM_K * (K_TYPE ? 2 : 4))
#define V_BYTES (DIM_V * (V_TYPE ? 2 : 4))
#define BLOCK_BYTES ((u64)BLOCK_SIZE * (K_BYTES + V_BYTES))

// Tokens cached before this step.
__device__ __forceinline__ u32 num_cached(const KvView& view, u32 layer, u32 head) {
    return view.lengths ? view.lengths[layer * NUM_KV_HEADS + head] : view.context;
}

// The physical block with `position`.
__device__ __forceinline__ u32 physical_block(const Kv& kv, const KvView& view, u32 head, u32 position) {
    u32 index = kv.layer * view.layer_stride + head * view.head_stride + position / BLOCK_SIZE - view.first_logical;
    return view.table[index] + kv.layer * view.layer_step + head * view.head_step;
}
__device__ __forceinline__ u8* block_of(const Kv& kv, const KvView& view, u32 head, u32 position) {
    return kv.storage + physical_block(kv, view, head, position) * BLOCK_BYTES;
}

__device__ __forceinline__ u8* key_at(u8* block, u32 position) { return block + position % BLOCK_SIZE * K_BYTES; }

__device__ __forceinline__ u8* value_at(u8* block, u32 position) {
    return block + BLOCK_SIZE * K_BYTES + position % BLOCK_SIZE * V_BYTES;
}

// Stores one value of a key or value vector. Returns what is wrong with it.
template <int HALF> __device__ __forceinline__ u32 store(u8* at, int i, float value) {
    if (HALF)
        ((u16*)at)[i] = float_to_half(value);
    else
        ((float*)at)[i] = value;
    bool well = fabsf(value) <= (HALF ? 65504.0f : 3.4028234663852886e38f);
    return well ? 0 : faults_of(value);
}

// The view that `row` belongs to, found by all threads of a block together; views are in the order of their rows.
__device__ __forceinline__ u32 view_of(const Kv& kv, u32 row) {
    __shared__ u32 found;
    for (u32 i = threadIdx.x; i < kv.num_views; i += blockDim.x) {
        u32 first = kv.views[i].first_row;
        if (row >= first && row - first < kv.views[i].num_rows) found = i;
    }
    __syncthreads();
    return found;
}
