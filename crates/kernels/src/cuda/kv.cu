// The KV cache as a step sees it (`launch::KvView`, `kv::KvLayout`). BLOCK_SIZE positions of one head of one layer make
// a physical block: all keys, then all values. K_TYPE and V_TYPE are 0 for f32, 1 for f16, 2 for bf16, 3 for codes of 8
// bits and 4 for codes of 4 bits of the rotated vector, which lie as `kv/code.rs` says: interleaved by groups of 16
// positions, and behind all codes a scale per position.

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

#define K_CODED (K_TYPE >= 3)
#define V_CODED (V_TYPE >= 3)
// Bytes of the codes of one vector.
#define CODE_BYTES(type, dim) ((type) == 4 ? ((dim) + 7) / 8 * 4 : ((dim) + 3) / 4 * 4)
#define VECTOR_BYTES(type, dim) ((type) == 0 ? 4 * (dim) : (type) < 3 ? 2 * (dim) : CODE_BYTES(type, dim) + 4)
#define K_BYTES VECTOR_BYTES(K_TYPE, DIM_K)
#define V_BYTES VECTOR_BYTES(V_TYPE, DIM_V)
#define K_CODES CODE_BYTES(K_TYPE, DIM_K)
#define V_CODES CODE_BYTES(V_TYPE, DIM_V)
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

// The key of a position: its floats, or its first code.
__device__ __forceinline__ u8* key_at(u8* block, u32 position) {
    u32 slot = position % BLOCK_SIZE;
    return block + (K_CODED ? slot / 16 * 16 * K_CODES + slot % 16 * 4 : slot * K_BYTES);
}
__device__ __forceinline__ u8* value_at(u8* block, u32 position) {
    u32 slot = position % BLOCK_SIZE;
    u32 place = V_CODED ? slot / 16 * 16 * V_CODES + slot % 16 / 4 * 4 * V_CODES + slot % 4 : slot * V_BYTES;
    return block + BLOCK_SIZE * K_BYTES + place;
}

// Where the scale of a vector of codes is.
__device__ __forceinline__ float* key_scale(u8* block, u32 position) {
    return (float*)(block + BLOCK_SIZE * K_CODES) + position % BLOCK_SIZE;
}
__device__ __forceinline__ float* value_scale(u8* block, u32 position) {
    return (float*)(block + BLOCK_SIZE * (K_BYTES + V_CODES)) + position % BLOCK_SIZE;
}

// The byte with code `i`, from the first one on, and whether it is the upper half of it.
template <int TYPE> __device__ __forceinline__ int key_byte(int i) {
    return TYPE == 4 ? i / 8 * 64 + i % 4 : i / 4 * 64 + i % 4;
}
template <int TYPE, int DIM> __device__ __forceinline__ int value_byte(int i) {
    return 4 * (TYPE == 4 ? i % CODE_BYTES(TYPE, DIM) : i);
}

// A code of a key, and of a value.
__device__ __forceinline__ float key_code(const u8* at, int i) {
    u8 byte = at[key_byte<K_TYPE>(i)];
    return K_TYPE == 4 ? (float)((byte >> (i & 4)) % 16 - 8) : (float)(byte - 128);
}
__device__ __forceinline__ float value_code(const u8* at, int i) {
    u8 byte = at[value_byte<V_TYPE, DIM_V>(i)];
    return V_TYPE == 4 ? (float)((i < V_CODES ? byte : byte >> 4) % 16 - 8) : (float)(i8)byte;
}

// Rotates vectors in shared memory, each `stride` floats from the one before, as `kv/hadamard.rs`: all threads of a
// block together, which see the result.
template <int DIM> __device__ __forceinline__ void rotate(float* x, int num_vectors, int stride) {
    const int part = DIM & -DIM;
    float factor = __fdiv_rn(1.0f, sqrtf((float)part));
    for (int width = 1; width < part; width *= 2) {
        __syncthreads();
        for (int p = threadIdx.x; p < num_vectors * (DIM / 2); p += blockDim.x) {
            int r = p % (DIM / 2);
            float* at = x + p / (DIM / 2) * stride + r / width * 2 * width + r % width;
            float a = at[0], b = at[width];
            at[0] = __fadd_rn(a, b), at[width] = __fsub_rn(a, b);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < num_vectors * DIM; i += blockDim.x) {
        float* at = x + i / DIM * stride + i % DIM;
        *at = __fmul_rn(*at, factor);
    }
    __syncthreads();
}

// Stores one float of a key or value vector. Returns what is wrong with it.
template <int TYPE> __device__ __forceinline__ u32 store(u8* at, int i, float value) {
    if (TYPE == 0)
        ((float*)at)[i] = value;
    else
        ((u16*)at)[i] = TYPE == 1 ? float_to_half(value) : float_to_bf16(value);
    bool well = fabsf(value) <= (TYPE == 1 ? 65504.0f : 3.4028234663852886e38f);
    return well ? 0 : faults_of(value);
}

// The nearest of 4-bit codes.
__device__ __forceinline__ float nearest_of_four(float value, float factor) {
    float at = fminf(fmaxf(__fmul_rn(value, factor), -8.0f), 7.0f);
    return __fsub_rn(__fadd_rn(at, 12582912.0f), 12582912.0f);
}

// Scale and factor of 4-bit codes, of those that the largest value alone would have: `scale_of_four` of `kv/code.rs`, to
// the last bit. All threads of a block together.
template <int DIM> __device__ __forceinline__ float2 scale_of_four(const float* x, float scale, float factor) {
    const int CUTS = 12, LANES = 16;
    __shared__ float products[CUTS][LANES], squares[CUTS][LANES];
    __shared__ float2 found[CUTS]; // how much is hit, scale
    const float cuts[CUTS] = {1.0f, 0.96f, 0.92f, 0.88f, 0.84f, 0.8f, 0.76f, 0.72f, 0.68f, 0.64f, 0.6f, 0.56f};
    for (int p = threadIdx.x; p < CUTS * LANES; p += blockDim.x) {
        int cut = p / LANES, lane = p % LANES;
        float product = 0, square = 0, cut_factor = __fdiv_rn(factor, cuts[cut]);
        for (int i = lane; i < DIM; i += LANES) {
            float code = nearest_of_four(x[i], cut_factor);
            product = __fadd_rn(product, __fmul_rn(code, x[i]));
            square = __fadd_rn(square, __fmul_rn(code, code));
        }
        products[cut][lane] = product, squares[cut][lane] = square;
    }
    __syncthreads();
    for (int cut = threadIdx.x; cut < CUTS; cut += blockDim.x) {
        float product = products[cut][0], square = squares[cut][0];
        for (int lane = 1; lane < LANES; lane++) {
            product = __fadd_rn(product, products[cut][lane]);
            square = __fadd_rn(square, squares[cut][lane]);
        }
        float ratio = __fdiv_rn(product, square);
        found[cut] = float2{__fmul_rn(product, ratio), ratio};
    }
    __syncthreads();
    float best = -INFINITY_F;
    float2 chosen = {scale, factor};
    for (int cut = 0; cut < CUTS; cut++) {
        float hit = found[cut].x;
        if (hit > best && hit < INFINITY_F) best = hit, chosen = float2{found[cut].y, __fdiv_rn(factor, cuts[cut])};
    }
    return chosen;
}

// Stores a vector, which all threads of a block have put into `x` in shared memory, as codes, whose first lies at `at`.
template <int TYPE, bool KEY, int DIM> __device__ __forceinline__ u32 store_codes(u8* at, float* scale_at, float* x) {
    const int CODES = CODE_BYTES(TYPE, DIM);
    u32 faults = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < DIM; i += blockDim.x)
        if (!(fabsf(x[i]) <= 3.4028234663852886e38f / 512)) faults |= faults_of(x[i]); // the rotation sums up
    rotate<DIM>(x, 1, DIM);
    u32 largest_bits = 0;
    for (int i = threadIdx.x % 32; i < DIM; i += 32) largest_bits = max(largest_bits, __float_as_uint(x[i]) & 0x7fffffffu);
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) largest_bits = max(largest_bits, __shfl_xor_sync(FULL, largest_bits, lane));
    const float most = TYPE == 4 ? 7.0f : 127.0f;
    float largest = __uint_as_float(largest_bits), scale = 0, factor = 0;
    if (largest_bits >= 0x7f800000u)
        scale = NAN_F;
    else if (largest >= 1e-30f)
        scale = __fmul_rn(largest, 1.0f / most), factor = __fdiv_rn(most, largest);
    if (TYPE == 4 && factor != 0) {
        float2 chosen = scale_of_four<DIM>(x, scale, factor);
        scale = chosen.x, factor = chosen.y;
    }
    if (threadIdx.x == 0) *scale_at = scale;
    const int offset = TYPE == 4 ? 8 : KEY ? 128 : 0;
    // The nearest whole number, ties to even, ends up in the low bits.
    auto code = [&](int i) {
        float at = __fmul_rn(x[i], factor);
        if (TYPE == 4) at = fminf(fmaxf(at, -8.0f), 7.0f);
        u32 bits = __float_as_uint(__fadd_rn(at, 12582912.0f));
        return (u8)((factor == 0 ? 0 : bits) + offset);
    };
    for (int b = threadIdx.x; b < CODES; b += blockDim.x) {
        int low = TYPE == 4 && KEY ? b / 4 * 8 + b % 4 : b, high = low + (KEY ? 4 : CODES);
        u8* to = at + (KEY ? b / 4 * 64 + b % 4 : 4 * b);
        if (TYPE == 4) {
            u8 byte = *to;
            if (low < DIM) byte = (byte & 0xf0) | (code(low) & 0x0f);
            if (high < DIM) byte = (byte & 0x0f) | code(high) << 4;
            *to = byte;
        } else if (low < DIM) {
            *to = code(low);
        }
    }
    __syncthreads(); // before others are put where these were
    return faults;
}

// Stores a value vector as codes.
__device__ __forceinline__ u32 store_value(u8* block, u32 position, const float* value) {
    __shared__ float x[DIM_V];
    for (int i = threadIdx.x; i < DIM_V; i += blockDim.x) x[i] = value[i];
    return store_codes<V_TYPE, false, DIM_V>(value_at(block, position), value_scale(block, position), x);
}

// Stores a key as codes, fitted to them where FIT says so.
__device__ __forceinline__ u32 store_key(u8* block, u32 head, u32 position, const Fit& fit, const float* key) {
    __shared__ float x[DIM_K];
#if FIT
    fit_key(fit, head, position, key, x);
#else
    for (int i = threadIdx.x; i < DIM_K; i += blockDim.x) x[i] = key[i];
#endif
    return store_codes<K_TYPE, true, DIM_K>(key_at(block, position), key_scale(block, position), x);
}

// The view that `row` belongs to, found by all threads of a block together; views are in the order of their rows.
__device__ __forceinline__ u32 view_of(const Kv& kv, u32 row) {
    __shared__ u32 found;
    // Sequences that generate have a row each.
    u32 same = min(row, kv.num_views - 1);
    if (kv.views[same].first_row == row && kv.views[same].num_rows) return same;
    for (u32 i = threadIdx.x; i < kv.num_views; i += blockDim.x) {
        u32 first = kv.views[i].first_row;
        if (row >= first && row - first < kv.views[i].num_rows) found = i;
    }
    __syncthreads();
    return found;
}
