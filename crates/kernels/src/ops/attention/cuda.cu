// Attention of one row and up to HEADS query heads of one KV head per block, over one part of the keys; with several
// parts, `merge` puts them together. Everything in f32; online softmax (arXiv 2205.14135).
//
// The warps of a block take tiles of 32 keys in turn. Within a tile each lane scores one key, for all heads at once;
// then the lanes share out the dimensions of the values.
struct Args {
    const float* q;
    float* out;
    float* partial; // [rows, heads, parts, DIM_V + 2], where there are several parts
    Kv kv;
    Fit fit;
    FaultPlace fault;
    u32 num_parts;
    u32 window;
    float scale;
    float softcap;
};

#define WARPS 4
#define GROUP (NUM_HEADS / NUM_KV_HEADS)
#define PASSES ((GROUP + HEADS - 1) / HEADS)
// Dimensions of a value per lane: neighbours where they can be loaded together.
#define DIMS ((DIM_V + 31) / 32)
#define NEIGHBOURS (DIM_V % 64 == 0)
#define NOTHING (-INFINITY_F)

__device__ __forceinline__ int dim_of(int lane, int i) { return NEIGHBOURS ? lane * DIMS + i : lane + 32 * i; }

__device__ __forceinline__ float half_of(u16 bits, int type) {
    return type == 1 ? half_to_float(bits) : bf16_to_float(bits);
}

// Eight neighbouring numbers of a key, or codes of one.
__device__ __forceinline__ void load_eight(const u8* at, int first, float out[8]) {
#if K_CODED
    u32 low = *(const u32*)(at + key_byte<K_TYPE>(first)), high = 0;
    if (K_TYPE == 3) high = *(const u32*)(at + key_byte<K_TYPE>(first + 4));
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int byte = low >> 8 * i & 0xff, other = high >> 8 * i & 0xff;
        out[i] = K_TYPE == 4 ? byte % 16 - 8 : byte - 128;
        out[4 + i] = K_TYPE == 4 ? byte / 16 - 8 : other - 128;
    }
#elif K_TYPE
    uint4 raw = ((const uint4*)at)[first / 8];
    u32 pairs[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = half_of((u16)pairs[i], K_TYPE);
        out[2 * i + 1] = half_of((u16)(pairs[i] >> 16), K_TYPE);
    }
#else
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float4 four = ((const float4*)at)[first / 4 + i];
        out[4 * i] = four.x, out[4 * i + 1] = four.y, out[4 * i + 2] = four.z, out[4 * i + 3] = four.w;
    }
#endif
}

// This lane's dimensions of a value, or codes of one.
__device__ __forceinline__ void load_value(const u8* at, int lane, float out[DIMS]) {
#if V_CODED
#pragma unroll
    for (int i = 0; i < DIMS; i++) out[i] = dim_of(lane, i) >= DIM_V ? 0.0f : value_code(at, dim_of(lane, i));
#elif V_TYPE && NEIGHBOURS
#pragma unroll
    for (int i = 0; i < DIMS / 2; i++) {
        u32 pair = ((const u32*)at)[lane * (DIMS / 2) + i];
        out[2 * i] = half_of((u16)pair, V_TYPE);
        out[2 * i + 1] = half_of((u16)(pair >> 16), V_TYPE);
    }
#else
#pragma unroll
    for (int i = 0; i < DIMS; i++) {
        int d = dim_of(lane, i);
        out[i] = d >= DIM_V ? 0.0f : V_TYPE ? half_of(((const u16*)at)[d], V_TYPE) : ((const float*)at)[d];
    }
#endif
}

// Weight of what was summed under maximum `own` once the maximum is `all`.
__device__ __forceinline__ float weight_of(float own, float all) { return own == NOTHING ? 0.0f : expf(own - all); }

extern "C" __global__ void __launch_bounds__(32 * WARPS) attend(Args args) {
    __shared__ float q[HEADS][(DIM_K + 3) / 4 * 4];
#if FIT
    __shared__ float2 waves[HEADS][PAIRS];
#endif
    __shared__ float maxima[WARPS][HEADS], totals[WARPS][HEADS], sums[WARPS][HEADS][DIM_V];
    wait_for_inputs();
    const Kv& kv = args.kv;
    u32 row = blockIdx.x, kv_head = blockIdx.y / PASSES, first_head = blockIdx.y % PASSES * HEADS;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, num_heads = min(HEADS, GROUP - (int)first_head);
    u32 head = kv_head * GROUP + first_head; // of the queries
    for (int i = threadIdx.x; i < HEADS * DIM_K; i += blockDim.x) {
        int h = i / DIM_K, d = i % DIM_K;
        q[h][d] = h < num_heads ? args.q[((u64)row * NUM_HEADS + head + h) * DIM_K + d] : 0.0f;
#if FIT
        q[h][d] *= steps_of(args.fit, kv_head)[d];
#endif
    }
#if FIT
    for (int i = threadIdx.x; i < HEADS * PAIRS; i += blockDim.x) {
        int h = i / PAIRS;
        const float* from = args.q + ((u64)row * NUM_HEADS + head + h) * DIM_K;
        waves[h][i % PAIRS] = h < num_heads ? wave_of(args.fit, kv_head, from, i % PAIRS) : float2{0, 0};
    }
#endif
    const KvView& view = kv.views[view_of(kv, row)];
#if K_CODED
    rotate<DIM_K>(q[0], HEADS, (DIM_K + 3) / 4 * 4);
#else
    __syncthreads(); // all threads have stored their part of q
#endif
    u32 end = num_cached(view, kv.layer, kv_head) + row - view.first_row + 1;
    u32 start = args.window && end > args.window ? end - args.window : 0;
    u32 num_tiles = (end - start + 31) / 32, tiles_per_part = (num_tiles + args.num_parts - 1) / args.num_parts;
    tiles_per_part = max(tiles_per_part, (u32)WARPS);
    u32 first_tile = blockIdx.z * tiles_per_part, last_tile = min(num_tiles, first_tile + tiles_per_part);

    float largest[HEADS], total[HEADS], sum[HEADS][DIMS];
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        largest[h] = NOTHING;
        total[h] = 0;
#pragma unroll
        for (int i = 0; i < DIMS; i++) sum[h][i] = 0;
    }
    for (u32 tile = first_tile + warp; tile < last_tile; tile += WARPS) {
        u32 first = start + 32 * tile, key = min(first + lane, end - 1); // beyond the end: the last key, not counted
        u8* block = block_of(kv, view, kv_head, key);
        const u8* at = key_at(block, key);
        float score[HEADS] = {};
#if DIM_K % 8 == 0
#pragma unroll 4
        for (int d = 0; d < DIM_K; d += 8) {
            float eight[8];
            load_eight(at, d, eight);
#pragma unroll
            for (int h = 0; h < HEADS; h++)
#pragma unroll
                for (int i = 0; i < 8; i++) score[h] += q[h][d + i] * eight[i];
        }
#else
        for (int d = 0; d < DIM_K; d++) {
#if K_CODED
            float one = key_code(at, d);
#else
            float one = K_TYPE ? half_of(((const u16*)at)[d], K_TYPE) : ((const float*)at)[d];
#endif
#pragma unroll
            for (int h = 0; h < HEADS; h++) score[h] += q[h][d] * one;
        }
#endif
        float factor = K_CODED ? args.scale * *key_scale(block, key) : args.scale;
#if FIT
        float share[HEADS] = {}; // of the mean
        const float* mean = means_of(args.fit, kv_head);
        for (int j = 0; j < PAIRS; j++) {
            bool turns = j < HALF;
            if (turns && mean[first_of_pair(j)] == 0 && mean[second_of_pair(j)] == 0) continue;
            float2 at = turns ? angle_at(args.fit, j, key) : float2{1, 0};
#pragma unroll
            for (int h = 0; h < HEADS; h++) share[h] += waves[h][j].x * at.x + waves[h][j].y * at.y;
        }
#endif
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            float value = score[h] * factor;
#if FIT
            value += share[h] * args.scale;
#endif
            if (args.softcap > 0) value = args.softcap * tanhf(value / args.softcap);
            if (first + lane >= end) value = NOTHING;
            float before = largest[h], now = fmaxf(before, warp_max(value));
            float base = now == NOTHING ? 0.0f : now, shrink = weight_of(before, base);
            score[h] = expf(value - base);
            total[h] = total[h] * shrink + score[h];
            largest[h] = now;
#pragma unroll
            for (int i = 0; i < DIMS; i++) sum[h][i] *= shrink;
        }
        u64 value_address = (u64)value_at(block, key);
        float weights[HEADS], part = V_CODED ? *value_scale(block, key) : 1.0f; // of codes: times their scale
#pragma unroll
        for (int h = 0; h < HEADS; h++) weights[h] = V_CODED ? score[h] * part : score[h];
        int count = min(32u, end - first);
        for (int j = 0; j < count; j++) {
            float value[DIMS];
            load_value((const u8*)__shfl_sync(FULL, value_address, j), lane, value);
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                float weight = __shfl_sync(FULL, weights[h], j);
#pragma unroll
                for (int i = 0; i < DIMS; i++) sum[h][i] += weight * value[i];
            }
        }
    }
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        float all = warp_sum(total[h]);
        if (lane == 0) maxima[warp][h] = largest[h], totals[warp][h] = all;
#pragma unroll
        for (int i = 0; i < DIMS; i++)
            if (dim_of(lane, i) < DIM_V) sums[warp][h][dim_of(lane, i)] = sum[h][i];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < num_heads * DIM_V; i += blockDim.x) {
        int h = i / DIM_V, d = i % DIM_V;
        float all = NOTHING, weights = 0, value = 0;
        for (int w = 0; w < WARPS; w++) all = fmaxf(all, maxima[w][h]);
        for (int w = 0; w < WARPS; w++) {
            float weight = weight_of(maxima[w][h], all);
            if (maxima[w][h] == NOTHING && totals[w][h] == 0) continue; // saw no key
            weights += weight * totals[w][h];
            value += weight * sums[w][h][d];
        }
        u64 query = (u64)row * NUM_HEADS + head + h;
        if (args.num_parts == 1) {
            if (V_CODED)
                sums[0][h][d] = value / weights; // where this thread alone has read
            else
                args.out[query * DIM_V + d] = value / weights;
            if (d == 0 && !(weights > 0 && weights < INFINITY_F)) raise(args.fault, faults_of(weights));
        } else {
            float* to = args.partial + (query * args.num_parts + blockIdx.z) * (DIM_V + 2);
            to[2 + d] = value;
            if (d == 0) to[0] = all, to[1] = weights;
        }
    }
#if V_CODED
    if (args.num_parts > 1) return;
    rotate<DIM_V>(sums[0][0], num_heads, DIM_V);
    for (int i = threadIdx.x; i < num_heads * DIM_V; i += blockDim.x)
        args.out[((u64)row * NUM_HEADS + head) * DIM_V + i] = sums[0][i / DIM_V][i % DIM_V];
#endif
}

// One row and query head per block.
extern "C" __global__ void __launch_bounds__(128) merge(Args args) {
    __shared__ float rotated[DIM_V];
    wait_for_inputs();
    u64 query = (u64)blockIdx.x * NUM_HEADS + blockIdx.y;
    const float* parts = args.partial + query * args.num_parts * (DIM_V + 2);
    float all = NOTHING, weights = 0;
    for (u32 p = 0; p < args.num_parts; p++) all = fmaxf(all, parts[p * (DIM_V + 2)]);
    for (u32 p = 0; p < args.num_parts; p++) {
        const float* part = parts + p * (DIM_V + 2);
        weights += weight_of(part[0], all) * part[1];
        if (part[0] == NOTHING) weights += part[1]; // nothing, or the NaN of keys that all have no score
    }
    for (int d = threadIdx.x; d < DIM_V; d += blockDim.x) {
        float value = 0;
        for (u32 p = 0; p < args.num_parts; p++) {
            const float* part = parts + p * (DIM_V + 2);
            float weight = weight_of(part[0], all);
            if (weight != 0) value += weight * part[2 + d];
        }
        rotated[d] = value / weights;
    }
#if V_CODED
    rotate<DIM_V>(rotated, 1, DIM_V);
#endif
    for (int d = threadIdx.x; d < DIM_V; d += blockDim.x) args.out[query * DIM_V + d] = rotated[d];
    if (threadIdx.x == 0 && !(weights > 0 && weights < INFINITY_F)) raise(args.fault, faults_of(weights));
}
