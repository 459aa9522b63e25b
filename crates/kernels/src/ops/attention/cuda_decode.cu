// Attention of single rows on tensor cores: a block has one row, up to 8 query heads of one KV head and a part of the keys.
// The block with the last part puts the parts together.
//
// A warp takes a tile of keys at a time (`Tile`, of halves or of codes), straight from memory into the fragments of
// products: heads times keys, then dimensions times heads. Which dimension stands where in a fragment is free as long as
// both sides agree, so every load is of 16 bytes. The next tile is on its way while one is computed with; keys that
// earlier steps have stored are asked for before the kernels of this step are done.
//
// Memory is busy as soon as it is asked for and as long as keys last, so what is to be short is the way there and the way
// back, which are chains of loads that wait for each other: view, table, keys; then parts. These need no word that they are
// there: their places hold zeros until somebody puts a number there, and zeros again once it was taken.
struct Args {
    const float* q;
    float* out;
    float* partial; // [rows, heads, parts, DIM], then as many largest scores and sums of weights; zeros before and after
    Kv kv;
    Fit fit;
    FaultPlace fault;
    u32 num_parts;
    u32 window;
    float scale;
    float softcap;
};

#define WARPS (DIM > 128 ? 4 : 8)
#define AHEAD (DIM <= 128) // larger heads leave no registers for a second tile, nor for queries
#define HEADS (GROUP < 8 ? GROUP : 8)
#define PASSES ((GROUP + 7) / 8)
// Waves of all heads and the turns of all warps (`fit.cu`) lie where sums go when they are done with.
#define WAVE_ROW (WAVES / 2 + 2) // pairs from a head's waves to the next one's, so that no two lanes meet in a bank
#define SUM_FLOATS (WARPS * HEADS * DIM)
#define WAVE_FLOATS (FIT ? HEADS * 2 * WAVE_ROW + WARPS * WAVES : 0)
#define TURNS ((WAVES / 2 + 31) / 32) // per lane
#define TABLE_TILES (32 / (KEYS / 16)) // whose entries of the table the lanes of a warp hold
#define PARTS_AT_ONCE 16

// What a warp reads, tile by tile: its first, then every WARPS-th.
struct Reader {
    const Kv& kv;
    const KvView& view;
    u32 kv_head, first_tile, start, end;
    int lane;
    u32 entry; // of this lane's block

    // Asks for the entries of the tiles from number n on.
    __device__ __forceinline__ void turn_page(u32 n) {
        u32 block = (first_tile + (n + lane / (KEYS / 16)) * WARPS) * (KEYS / 16) + lane % (KEYS / 16);
        entry = physical_block(kv, view, kv_head, 16 * min(max(block, start / 16), (end - 1) / 16));
    }
    __device__ __forceinline__ void find(u32 n, const u8* blocks[KEYS / 16]) {
        if (n % TABLE_TILES == 0 && n) turn_page(n);
#pragma unroll
        for (int i = 0; i < KEYS / 16; i++)
            blocks[i] = kv.storage + __shfl_sync(FULL, entry, n % TABLE_TILES * (KEYS / 16) + i) * BLOCK_BYTES;
    }
    __device__ __forceinline__ int keys_left(u32 n) { return (int)end - (int)((first_tile + n * WARPS) * KEYS); }
};

__device__ __forceinline__ void put_out(const Args& args, u64 query, Head head, float weights, int lane) {
    if (V_CODED) rotate_head(head, lane);
#pragma unroll
    for (int i = 0; i < LANE_DIMS; i++) args.out[query * DIM + lane + 32 * i] = head.x[i] / weights;
    if (lane == 0 && !(weights > 0 && weights < INFINITY_F)) raise(args.fault, faults_of(weights));
}

// A number for the block that waits for it: never the zero that says there is none yet.
__device__ __forceinline__ void put(float* at, float x) {
    x = x == 0 ? -0.0f : x;
#ifdef EMULATED
    *at = x;
#else
    asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(at), "f"(x) : "memory");
#endif
}
__device__ __forceinline__ float look(const float* at) {
#ifdef EMULATED
    return *at;
#else
    float x;
    asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(x) : "l"(at) : "memory");
    return x;
#endif
}
__device__ __forceinline__ bool is_there(float x) { return __float_as_uint(x) != 0; }

// The base that exponents are taken from: anything where there is no key.
__device__ __forceinline__ float base_of(float largest) { return largest == NOTHING ? 0.0f : largest; }

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) decode(Args args) {
    __shared__ float4 room[(SUM_FLOATS > WAVE_FLOATS ? SUM_FLOATS : WAVE_FLOATS) / 4];
    __shared__ float maxima[WARPS][HEADS], bases[WARPS][HEADS], totals[WARPS][HEADS];
    float (*sums)[HEADS][DIM] = (float (*)[HEADS][DIM])room;
    __shared__ u32 rotated[K_CODED ? 8 : 1][DIM / 2]; // queries as halves
    __shared__ uint2 queries[AHEAD ? 1 : DIM / 16][32];
    let_next_start();
    const Kv& kv = args.kv;
    u32 row = blockIdx.z, kv_head = blockIdx.y / PASSES, first_head = blockIdx.y % PASSES * 8;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int num_heads = min(8, GROUP - (int)first_head);
    u64 query = (u64)row * NUM_HEADS + kv_head * GROUP + first_head;
    const KvView& view = kv.views[view_of(kv, row)];
    u32 cached = num_cached(view, kv.layer, kv_head), end = cached + row - view.first_row + 1;
    u32 start = args.window && end > args.window ? end - args.window : 0;
    u32 first_tile = start / KEYS, num_tiles = (end + KEYS - 1) / KEYS - first_tile;
    u32 per_part = max((num_tiles + args.num_parts - 1) / args.num_parts, (u32)WARPS);
    u32 num_live = (num_tiles + per_part - 1) / per_part;
    if (blockIdx.x >= num_live) {
        wait();
        return;
    }
    u32 from = first_tile + blockIdx.x * per_part + warp, to = min(num_tiles, (blockIdx.x + 1) * per_part) + first_tile;
    u32 count = from < to ? (to - from + WARPS - 1) / WARPS : 0;

    Reader reader = {kv, view, kv_head, from, start, end, lane, 0};
    Tile next;
    const u8* blocks[KEYS / 16];
#if FIT
    float2 *waves = (float2*)room, *turns = waves + HEADS * WAVE_ROW + warp * (WAVES / 2), next_turns[TURNS];
#endif
    auto load = [&](u32 n) {
        reader.find(n, blocks);
#if FIT
#pragma unroll
        for (int i = 0; i < TURNS; i++) next_turns[i] = turn_of(args.fit, (from + n * WARPS) * KEYS / SPAN, lane + 32 * i);
#endif
        load_keys(next, blocks, g, t);
        if (AHEAD) load_values(next, blocks, reader.keys_left(n), g, t);
    };
    reader.turn_page(0);
    bool is_old = (from + 1) * KEYS <= cached;
    if (is_old && count) load(0);
#if FIT
    NearTable near(args.fit);
#endif
    wait();
    if (!is_old && count) load(0);
    if (K_CODED) {
        for (int h = warp; h < num_heads; h += WARPS) {
            Head head;
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) head.x[i] = args.q[(query + h) * DIM + lane + 32 * i];
#if FIT
            for (int j = lane; j < WAVES / 2; j += 32) {
                float2 wave = wave_of(args.fit, kv_head, args.q + (query + h) * DIM, j);
                waves[h * WAVE_ROW + j] = float2{wave.x / WAVE_UNIT, wave.y / WAVE_UNIT};
            }
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) head.x[i] *= steps_of(args.fit, kv_head)[lane + 32 * i];
#endif
            rotate_head(head, lane);
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) ((u16*)rotated[K_CODED ? h : 0])[lane + 32 * i] = nearest_half(head.x[i]);
        }
#if FIT
        near.wait();
#endif
        __syncthreads();
    }
    uint2 q[DIM / 16]; // of head g, as `a` of products
#pragma unroll
    for (int i = 0; i < DIM / 16; i++) {
        u32 halves[2] = {0, 0};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int d = query_dim(i, half, t);
            if (g >= num_heads) continue;
            if (K_CODED) {
                halves[half] = rotated[K_CODED ? g : 0][d / 2];
            } else {
                float2 two = *(const float2*)(args.q + (query + g) * DIM + d);
                halves[half] = pair(two.x, two.y);
            }
        }
        q[i] = uint2{halves[0], halves[1]};
    }
    if (!AHEAD) {
        if (warp == 0)
#pragma unroll
            for (int i = 0; i < DIM / 16; i++) queries[AHEAD ? 0 : i][lane] = q[i];
        __syncthreads();
    }
    float sum[SUMS][4] = {};                            // dimensions times heads
    float largest = NOTHING, base = NOTHING, total = 0; // of head g; `base` is that of the weights of `sum`
    float scale = args.softcap > 0 ? args.scale : args.scale * LOG2E;
    for (u32 n = 0; n < count; n++) {
        Tile tile = next;
        u32 first_key = (from + n * WARPS) * KEYS;
#if FIT
        __syncwarp(); // the turns of the tile before are done with
#pragma unroll
        for (int i = 0; i < TURNS; i++)
            if (lane + 32 * i < WAVES / 2) turns[lane + 32 * i] = next_turns[i];
        __syncwarp();
#endif
        if (AHEAD && n + 1 < count) load(n + 1);
        float score[KEYS / 8][4] = {};
        multiply_keys(tile, [&](int i) { return AHEAD ? q[i] : queries[AHEAD ? 0 : i][lane]; }, t, score);
#if FIT
        add_means(near, first_key, g < HEADS ? waves + g * WAVE_ROW : nullptr, turns, g, t, score);
#endif
        if (!AHEAD) load_values(tile, blocks, reader.keys_left(n), g, t);
        float now = largest, base_now = base;
#if VALUE_SCALES
        float size = log2_of(tile.value_scale);
        float sizes[KEYS / 8][2]; // of values, as powers of two; those that do not count have none
#endif
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                u32 key = first_key + key_of(i, c, t);
                bool counts = key >= start && key < end;
                score[i][c] = counts ? capped(score[i][c], scale, args.softcap) : NOTHING;
                now = fmaxf(now, score[i][c]);
#if VALUE_SCALES
                float of_value = __shfl_sync(FULL, size, key_of(i, c, t));
                sizes[i][c] = counts ? score[i][c] + of_value : NOTHING;
                base_now = fmaxf(base_now, sizes[i][c]);
#endif
            }
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
        now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
#if VALUE_SCALES
        base_now = fmaxf(base_now, __shfl_xor_sync(FULL, base_now, 1));
        base_now = fmaxf(base_now, __shfl_xor_sync(FULL, base_now, 2));
#else
        base_now = now;
#endif
        total *= exp2_of(largest - base_of(now));
        float shrink = exp2_of(base - base_of(base_now));
        largest = now, base = base_now;
        float weight[KEYS / 8][2];
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
            for (int c = 0; c < 2; c++) {
                weight[i][c] = exp2_of(score[i][c] - base_of(now));
                total += weight[i][c];
#if VALUE_SCALES
                weight[i][c] = exp2_of(sizes[i][c] - base_of(base_now));
#endif
            }
        float shrinks[2] = {__shfl_sync(FULL, shrink, 8 * t), __shfl_sync(FULL, shrink, 8 * t + 4)};
#pragma unroll
        for (int i = 0; i < SUMS; i++)
#pragma unroll
            for (int c = 0; c < 4; c++) sum[i][c] *= shrinks[c % 2];
        add_values(tile, weight, sum);
        if (!AHEAD) __syncwarp(); // keys that are loaded before these values are done with would need their registers
        if (!AHEAD && n + 1 < count) load(n + 1);
    }
    total += __shfl_xor_sync(FULL, total, 1);
    total += __shfl_xor_sync(FULL, total, 2);
#if FIT
    __syncthreads(); // the waves are done with
#endif
    if (t == 0 && g < HEADS) maxima[warp][g] = largest, bases[warp][g] = base, totals[warp][g] = total;
#pragma unroll
    for (int i = 0; i < SUMS; i++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int of = 2 * t + c % 2, d = dim_of(i, c, g);
            if (of < HEADS && d < DIM) sums[warp][of][d] = sum[i][c];
        }
    __syncthreads();
    // From here on a warp has a head.
    float* parts = args.partial + query * args.num_parts * DIM;
    float* stats = args.partial + (u64)gridDim.z * NUM_HEADS * DIM * args.num_parts + query * args.num_parts * 2;
    bool is_last = blockIdx.x == num_live - 1;
    for (int h = warp; h < num_heads; h += WARPS) {
        Head head = {};
        float all = NOTHING, weights = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) all = fmaxf(all, maxima[w][h]);
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            weights += exp2_of(maxima[w][h] - base_of(all)) * totals[w][h];
            float weight = exp2_of(bases[w][h] - base_of(all));
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) head.x[i] += weight * sums[w][h][lane + 32 * i];
        }
        float *values = parts + (u64)h * args.num_parts * DIM + lane, *stat = stats + h * args.num_parts * 2;
        if (!is_last) {
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) put(values + (u64)blockIdx.x * DIM + 32 * i, head.x[i]);
            if (lane < 2) put(stat + blockIdx.x * 2 + lane, lane ? weights : all);
            continue;
        }
        // Its own part comes last; those before it are as many as lanes at a time.
        float own = all, own_weights = weights;
        Head sum = {};
        float largest = NOTHING, total = 0; // of the parts that `sum` has
        for (u32 first = 0; first + 1 < num_live; first += PARTS_AT_ONCE) {
            u32 others = min(num_live - 1 - first, (u32)PARTS_AT_ONCE);
            float* at = stat + (first + lane) * 2; // of the part with this lane's number
            float* from = values + (u64)first * DIM;
            bool has_part = lane < (int)others, there;
            float score, part_total;
            Head part[PARTS_AT_ONCE];
            do { // all on their way at once
                score = has_part ? look(at) : NOTHING, part_total = has_part ? look(at + 1) : 1.0f;
                there = is_there(score) && is_there(part_total);
#pragma unroll
                for (int p = 0; p < PARTS_AT_ONCE; p++)
#pragma unroll
                    for (int i = 0; i < LANE_DIMS; i++) {
                        part[p].x[i] = p < others ? look(from + p * DIM + 32 * i) : -0.0f;
                        there &= is_there(part[p].x[i]);
                    }
            } while (!there);
            __syncwarp();
            if (has_part) at[0] = 0, at[1] = 0;
            float now = fmaxf(largest, warp_max(score)), shrink = exp2_of(largest - base_of(now));
            float weight = exp2_of(score - base_of(now));
            largest = now, total = total * shrink + warp_sum(weight * part_total);
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) sum.x[i] *= shrink;
#pragma unroll
            for (int p = 0; p < PARTS_AT_ONCE; p++) {
                float of_part = __shfl_sync(FULL, weight, p);
#pragma unroll
                for (int i = 0; i < LANE_DIMS; i++) {
                    if (p < others) from[p * DIM + 32 * i] = 0;
                    sum.x[i] += of_part * part[p].x[i];
                }
            }
        }
        all = fmaxf(largest, own);
        float before = exp2_of(largest - base_of(all)), of_own = exp2_of(own - base_of(all));
        weights = total * before + own_weights * of_own;
#pragma unroll
        for (int i = 0; i < LANE_DIMS; i++) head.x[i] = sum.x[i] * before + head.x[i] * of_own;
        put_out(args, query + h, head, weights, lane);
    }
}
