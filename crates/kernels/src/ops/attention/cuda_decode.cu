// Attention of single rows over a cache of halves: a block has one row, up to 8 query heads of one KV head and a part of
// the keys. The block of a row that is done last puts the parts together.
//
// A warp takes 16 keys, a block of the cache, at a time, straight from memory into the fragments of products: heads
// times keys, then dimensions times heads. Which dimension stands where in a fragment is free as long as both sides
// agree, so every load is of 16 bytes. The next block is on its way while one is computed with; keys that earlier steps
// have stored are asked for before the kernels of this step are done.
struct Args {
    const float* q;
    float* out;
    float* partial; // [rows, heads, parts, DIM], then as many largest scores and sums of weights
    u32* counters;  // [rows, KV heads, passes], zero before and after
    Kv kv;
    FaultPlace fault;
    u32 num_parts;
    u32 window;
    float scale;
    float softcap;
};

#define WARPS (DIM_K > 128 ? 4 : 8)
#define AHEAD (DIM_K <= 128) // larger heads leave no registers for a second block, nor for queries
#define HEADS (GROUP < 8 ? GROUP : 8)
#define PASSES ((GROUP + 7) / 8)
#define DIM DIM_K
#define MOST_PARTS 64
#define CHUNKS (DIM / 32)  // of 32 dimensions of a key: 8 for each of four lanes
#define HALVES ((DIM + 63) / 64) // of 64 dimensions of a value: 8 for each of eight lanes
#define DIM_IN(half, g) ((half) * 64 + 8 * (g))

__device__ __forceinline__ u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
__device__ __forceinline__ u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }

// A block of the cache as fragments: keys g and g + 8, values 2t, 2t + 1, 2t + 8 and 2t + 9.
struct Tile {
    uint4 k[2][CHUNKS], v[4][HALVES];
};

__device__ __forceinline__ void load_keys(Tile& tile, const u8* at, int g, int t) {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < CHUNKS; j++) tile.k[i][j] = *(const uint4*)(at + ((g + 8 * i) * DIM + 32 * j + 8 * t) * 2);
}
__device__ __forceinline__ void load_values(Tile& tile, const u8* at, int g, int t) {
    at += 16 * DIM * 2;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int h = 0; h < HALVES; h++)
            if (DIM % 64 == 0 || DIM_IN(h, g) < DIM)
                tile.v[i][h] = *(const uint4*)(at + ((2 * t + i % 2 + i / 2 * 8) * DIM + DIM_IN(h, g)) * 2);
            else
                tile.v[i][h] = uint4{0, 0, 0, 0};
}
// What is asked for ahead of its use.
__device__ __forceinline__ void load(Tile& tile, const u8* at, int g, int t) {
    load_keys(tile, at, g, t);
    if (AHEAD) load_values(tile, at, g, t);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) decode(Args args) {
    __shared__ float sums[WARPS][HEADS][DIM], maxima[WARPS][HEADS], totals[WARPS][HEADS];
    __shared__ uint2 queries[AHEAD ? 1 : 2 * CHUNKS][32];
    __shared__ bool is_last;
    let_next_start();
    const Kv& kv = args.kv;
    u32 row = blockIdx.z, kv_head = blockIdx.y / PASSES, first_head = blockIdx.y % PASSES * 8;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int num_heads = min(8, GROUP - (int)first_head);
    u32 head = kv_head * GROUP + first_head;
    const KvView& view = kv.views[view_of(kv, row)];
    u32 cached = num_cached(view, kv.layer, kv_head), end = cached + row - view.first_row + 1;
    u32 start = args.window && end > args.window ? end - args.window : 0;
    u32 first_block = start / 16, num_blocks = (end + 15) / 16 - first_block;
    u32 per_part = max((num_blocks + args.num_parts - 1) / args.num_parts, (u32)WARPS);
    u32 num_live = (num_blocks + per_part - 1) / per_part;
    if (blockIdx.x >= num_live) {
        wait();
        return;
    }
    u32 from = first_block + blockIdx.x * per_part, to = min(first_block + num_blocks, from + per_part);

    Tile next;
    u32 block = from + warp;
    const u8* at = block_of(kv, view, kv_head, min(block, to - 1) * 16);
    bool is_old = block * 16 + 16 <= cached;
    if (is_old) load(next, at, g, t);
    wait();
    if (!is_old) load(next, at, g, t);
    u32 q[2 * CHUNKS][2]; // of head g, as `a` of products 2j and 2j + 1
    float scale = args.softcap > 0 ? args.scale : args.scale * LOG2E;
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        float4 low = {0, 0, 0, 0}, high = {0, 0, 0, 0};
        if (g < num_heads) {
            const float4* at = (const float4*)(args.q + ((u64)row * NUM_HEADS + head + g) * DIM + 32 * j + 8 * t);
            low = at[0], high = at[1];
        }
        q[2 * j][0] = pair(low.x, low.y), q[2 * j][1] = pair(low.z, low.w);
        q[2 * j + 1][0] = pair(high.x, high.y), q[2 * j + 1][1] = pair(high.z, high.w);
    }
    if (!AHEAD) {
        if (warp == 0)
#pragma unroll
            for (int j = 0; j < 2 * CHUNKS; j++) queries[AHEAD ? 0 : j][lane] = uint2{q[j][0], q[j][1]};
        __syncthreads();
    }
    float sum[4 * HALVES][4] = {}; // dimensions times heads
    float largest = NOTHING, total = 0; // of head g
    if (block + WARPS < to) at = block_of(kv, view, kv_head, (block + WARPS) * 16);
    for (; block < to; block += WARPS) {
        Tile tile = next;
        if (AHEAD && block + WARPS < to) load(next, at, g, t);
        if (AHEAD && block + 2 * WARPS < to) at = block_of(kv, view, kv_head, (block + 2 * WARPS) * 16);
        float score[2][4] = {};
#pragma unroll
        for (int j = 0; j < CHUNKS; j++) {
            uint2 low = AHEAD ? uint2{q[2 * j][0], q[2 * j][1]} : queries[AHEAD ? 0 : 2 * j][lane];
            uint2 high = AHEAD ? uint2{q[2 * j + 1][0], q[2 * j + 1][1]} : queries[AHEAD ? 0 : 2 * j + 1][lane];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                mma(score[i], low.x, 0, low.y, 0, tile.k[i][j].x, tile.k[i][j].y);
                mma(score[i], high.x, 0, high.y, 0, tile.k[i][j].z, tile.k[i][j].w);
            }
        }
        if (!AHEAD) load_values(tile, block_of(kv, view, kv_head, block * 16), g, t);
        float now = largest;
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                u32 key = block * 16 + 8 * i + 2 * t + c;
                float one = capped(score[i][c], scale, args.softcap);
                score[i][c] = key < start || key >= end ? NOTHING : one;
                now = fmaxf(now, score[i][c]);
            }
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
        float base = now == NOTHING ? 0.0f : now, shrink = exp2_of(largest - base);
        largest = now;
        u32 weights[2];
        total *= shrink;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float a = exp2_of(score[i][0] - base), b = exp2_of(score[i][1] - base);
            total += a + b;
            weights[i] = pair(a, b);
        }
        float shrinks[2] = {__shfl_sync(FULL, shrink, 8 * t), __shfl_sync(FULL, shrink, 8 * t + 4)};
#pragma unroll
        for (int i = 0; i < 4 * HALVES; i++)
#pragma unroll
            for (int c = 0; c < 4; c++) sum[i][c] *= shrinks[c % 2];
        // Slots of the cache behind the last key hold what was there before: NaN times 0 must not count.
        if (block * 16 + 16 > end)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (block * 16 + 2 * t + i % 2 + i / 2 * 8 >= end)
#pragma unroll
                    for (int h = 0; h < HALVES; h++) tile.v[i][h] = uint4{0, 0, 0, 0};
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            const u32* a = &tile.v[0][h].x;
            const u32* b = &tile.v[1][h].x;
            const u32* c = &tile.v[2][h].x;
            const u32* d = &tile.v[3][h].x;
#pragma unroll
            for (int i = 0; i < 4; i++)
                mma(sum[4 * h + i], low_halves(a[i], b[i]), high_halves(a[i], b[i]), low_halves(c[i], d[i]),
                    high_halves(c[i], d[i]), weights[0], weights[1]);
        }
        if (!AHEAD) __syncwarp(); // keys that are loaded before these values are done with would need their registers
        if (!AHEAD && block + WARPS < to) load(next, block_of(kv, view, kv_head, (block + WARPS) * 16), g, t);
    }
    total += __shfl_xor_sync(FULL, total, 1);
    total += __shfl_xor_sync(FULL, total, 2);
    if (t == 0 && g < HEADS) maxima[warp][g] = largest, totals[warp][g] = total;
#pragma unroll
    for (int h = 0; h < HALVES; h++)
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                int of = 2 * t + c % 2, d = DIM_IN(h, g) + 2 * i + c / 2;
                if (of < HEADS && d < DIM) sums[warp][of][d] = sum[4 * h + i][c];
            }
    __syncthreads();
    u64 query = (u64)row * NUM_HEADS + head;
    float* parts = args.partial + query * args.num_parts * DIM;
    float* stats = args.partial + ((u64)gridDim.z * NUM_HEADS * DIM + 2 * query) * args.num_parts;
    for (int i = threadIdx.x; i < num_heads * DIM; i += blockDim.x) {
        int h = i / DIM, d = i % DIM;
        float all = NOTHING, weights = 0, value = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) all = fmaxf(all, maxima[w][h]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float weight = exp2_of(maxima[w][h] - (all == NOTHING ? 0.0f : all));
            weights += weight * totals[w][h];
            value += weight * sums[w][h][d];
        }
        if (num_live == 1) {
            args.out[(query + h) * DIM + d] = value / weights;
            if (d == 0 && !(weights > 0 && weights < INFINITY_F)) raise(args.fault, faults_of(weights));
        } else {
            u32 place = h * args.num_parts + blockIdx.x;
            parts[(u64)place * DIM + d] = value;
            if (d == 0) stats[2 * place] = all, stats[2 * place + 1] = weights;
        }
    }
    if (num_live == 1) return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        u32* counter = args.counters + row * (NUM_KV_HEADS * PASSES) + blockIdx.y;
        is_last = atomicAdd(counter, 1u) == num_live - 1;
        if (is_last) *counter = 0;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    // A warp per head, four dimensions per lane.
    for (int h = warp; h < num_heads; h += WARPS) {
        const float2* of = (const float2*)(stats + 2 * h * args.num_parts);
        float2 stat[MOST_PARTS / 32];
        float all = NOTHING, weights = 0;
#pragma unroll
        for (int i = 0; i < MOST_PARTS / 32; i++) {
            u32 p = lane + 32 * i;
            stat[i] = p < num_live ? __ldcg(of + p) : float2{NOTHING, 0};
            all = fmaxf(all, stat[i].x);
        }
        all = warp_max(all);
        float base = all == NOTHING ? 0.0f : all;
#pragma unroll
        for (int i = 0; i < MOST_PARTS / 32; i++) {
            stat[i].x = exp2_of(stat[i].x - base);
            weights += stat[i].x * stat[i].y;
        }
        weights = warp_sum(weights);
#pragma unroll
        for (int first = 0; first < DIM; first += 128) {
            int d = first + 4 * lane < DIM ? first + 4 * lane : 0; // without a place of their own lanes go along
            float4 value = {0, 0, 0, 0};
            const float* from = parts + (u64)h * args.num_parts * DIM + d;
#pragma unroll
            for (int i = 0; i < MOST_PARTS / 32; i++)
#pragma unroll 8
                for (u32 p = 0; p < 32; p++) {
                    if (32 * i + p >= num_live) break;
                    float4 part = __ldcg((const float4*)(from + (u64)(32 * i + p) * DIM));
                    float weight = __shfl_sync(FULL, stat[i].x, p);
                    value.x += weight * part.x, value.y += weight * part.y;
                    value.z += weight * part.z, value.w += weight * part.w;
                }
            if (first + 4 * lane >= DIM) continue;
            float inverse = 1.0f / weights;
            *(float4*)(args.out + (query + h) * DIM + d) =
                float4{value.x * inverse, value.y * inverse, value.z * inverse, value.w * inverse};
        }
        if (lane == 0 && !(weights > 0 && weights < INFINITY_F)) raise(args.fault, faults_of(weights));
    }
}
