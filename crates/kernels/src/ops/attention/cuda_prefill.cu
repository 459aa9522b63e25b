// Attention of many rows, after FlashAttention 2 (arXiv 2307.08691): a block has ROWS rows of one sequence and one query
// head, a warp 16 * HEIGHT of them; keys and values come in tiles of KEYS, the next one on its way while this one is
// computed with (`cuda_prefill_halves.cu`, `cuda_prefill_codes.cu`). Queries stay in shared memory: registers hold sums and scores.
struct Args {
    const float* q;
    float* out;
    Kv kv;
    Fit fit;
    FaultPlace fault;
    u32 window;
    float scale;
    float softcap;
};

// The view that the `index`th run of ROWS rows belongs to, and its first row within the view; false when there are
// fewer.
__device__ __forceinline__ bool rows_of(const Kv& kv, u32 index, u32& view, u32& first) {
    for (u32 i = 0; i < kv.num_views; i++) {
        u32 runs = (kv.views[i].num_rows + ROWS - 1) / ROWS;
        if (index < runs) {
            view = i, first = index * ROWS;
            return true;
        }
        index -= runs;
    }
    return false;
}

extern "C" __global__ void __launch_bounds__(THREADS, DIM > 128 ? 1 : 2) prefill(Args args) {
    SHARED;
    wait_for_inputs();
    const Kv& kv = args.kv;
    u32 index, first_row, head = blockIdx.x, kv_head = head / GROUP;
    // The longest reaches first: what starts late is short.
    if (!rows_of(kv, gridDim.y - 1 - blockIdx.y, index, first_row)) return;
    const KvView& view = kv.views[index];
    u32 oldest = num_cached(view, kv.layer, kv_head) + first_row; // the last key that the first row sees
    u32 num_rows = min((u32)ROWS, view.num_rows - first_row), end = oldest + num_rows;
    // From a whole tile on, which lies within one span of angles; blocks before `held` may be given back already.
    u32 held = args.window && oldest + 1 > args.window ? (oldest + 1 - args.window) / 16 * 16 : 0;
    u32 start = held / KEYS * KEYS;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u32 keys = shared_address(shared), values = keys + STAGES * TILE_BYTES;
    u32 queries = values + STAGES * TILE_BYTES + warp * (16 * HEIGHT * DIM * 2);

    Sources sources; // of the tile that is sent for next
    find(sources, kv, view, kv_head, start, held, end);
#if K_CODED
    const u32 raw_at = (2 * STAGES * KEYS + ROWS) * DIM * 2;
    u32 raw = keys + raw_at;
    send_for(raw, kv, sources);
#if FIT
    u32 waves = raw + TILE_BLOCKS * BLOCK_BYTES + warp * WAVE_BYTES, span = ~0u;
    const float* steps = steps_of(args.fit, kv_head);
#endif
#else
    send_for(keys, values, kv, sources, start, end);
#endif
    find(sources, kv, view, kv_head, start + KEYS, held, end);
    u32 warp_row = 16 * HEIGHT * warp;
    const float* rows = args.q + ((u64)(view.first_row + first_row + warp_row) * NUM_HEADS + head) * DIM;
#if K_CODED
    for (int row = 0; row < 16 * HEIGHT; row++) {
        Head one = {};
        if (warp_row + row < num_rows)
#pragma unroll
            for (int i = 0; i < LANE_DIMS; i++) one.x[i] = rows[(u64)row * NUM_HEADS * DIM + lane + 32 * i];
#if FIT
#pragma unroll
        for (int i = 0; i < LANE_DIMS; i++) one.x[i] *= steps[lane + 32 * i];
#endif
        rotate_head(one, lane);
#pragma unroll
        for (int i = 0; i < LANE_DIMS; i++) store_2(half_at(queries, row, lane + 32 * i), nearest_half(one.x[i]));
    }
#else
    for (int i = lane; i < 16 * HEIGHT * PIECES; i += 32) {
        u32 row = i / PIECES, piece = i % PIECES;
        float4 low = {0, 0, 0, 0}, high = {0, 0, 0, 0};
        if (warp_row + row < num_rows) {
            const float4* from = (const float4*)(rows + (u64)row * NUM_HEADS * DIM + 8 * piece);
            low = from[0], high = from[1];
        }
        store_16(queries + place(row, piece), pair(low.x, low.y), pair(low.z, low.w), pair(high.x, high.y),
                 pair(high.z, high.w));
    }
#endif
    float scale = args.softcap > 0 ? args.scale : args.scale * LOG2E;
    float factor = args.softcap > 0 ? 1.0f : scale; // what scores are still to be multiplied with
    float sum[HEIGHT][DIM / 8][4] = {};
    float largest[HEIGHT][2], total[HEIGHT][2] = {};
#pragma unroll
    for (int m = 0; m < HEIGHT; m++) largest[m][0] = largest[m][1] = NOTHING;
    u32 first_of_warp = oldest + warp_row; // the last key that its first row sees; all rows see what is between the two
    u32 end_of_warp = first_of_warp + 16 * HEIGHT;
    u32 seen_from = args.window && end_of_warp > args.window ? end_of_warp - args.window : 0;

#if K_CODED
    float size = 0; // the largest scale of a value so far: sums are in its units
#endif
    int stage = 0;
    for (u32 tile = start; tile < end; tile += KEYS, stage = (stage + 1) % STAGES) {
        copies_done<0>();
        __syncthreads();
#if K_CODED
        unpack(keys, values, shared + raw_at, tile, end);
        __syncthreads();
        float tile_size = 0;
        for (int i = lane; i < KEYS; i += 32) tile_size = fmaxf(tile_size, value_scales[i]);
        tile_size = fmaxf(size, warp_max(tile_size));
        float smaller = tile_size > 0 ? size / tile_size : 0.0f, unit = tile_size > 0 ? 1 / tile_size : 0.0f;
        size = tile_size;
#endif
        if (tile + KEYS < end) {
#if K_CODED
            send_for(raw, kv, sources);
#else
            u32 next = (stage ^ 1) * TILE_BYTES;
            send_for(keys + next, values + next, kv, sources, tile + KEYS, end);
#endif
            find(sources, kv, view, kv_head, tile + 2 * KEYS, held, end);
        }
        // Rows of a warp that all end before the tile have nothing to do with it but to wait.
        bool idle = tile >= end_of_warp;
        u32 key_tile = keys + stage * TILE_BYTES, value_tile = values + stage * TILE_BYTES;
        float score[HEIGHT][KEYS / 8][4] = {};
#if FIT
        if (!idle && tile / SPAN != span) {
            span = tile / SPAN;
            turn_waves(waves, args.fit, kv_head, rows, warp_row < num_rows ? num_rows - warp_row : 0, span, lane);
        }
#endif
        if (!idle)
#pragma unroll
            for (int j = 0; j < DIM / 16; j++) {
                u32 q[HEIGHT][4];
#pragma unroll
                for (int m = 0; m < HEIGHT; m++)
                    load_four(q[m], along(queries, lane % 16, lane / 16, j) + m * 16 * DIM * 2);
#pragma unroll
                for (int n = 0; n < KEYS / 16; n++) {
                    u32 b[4]; // keys 16n.. and 16n + 8.., each with both halves of 16 dimensions
                    load_four(b, along(key_tile, lane % 8 + lane / 16 * 8, lane / 8 % 2, j) + n * 16 * DIM * 2);
#pragma unroll
                    for (int m = 0; m < HEIGHT; m++) {
                        mma(score[m][2 * n], q[m][0], q[m][1], q[m][2], q[m][3], b[0], b[1]);
                        mma(score[m][2 * n + 1], q[m][0], q[m][1], q[m][2], q[m][3], b[2], b[3]);
                    }
                }
            }
        bool whole = tile + KEYS - 1 <= first_of_warp && tile >= seen_from;
        if (!idle)
#pragma unroll
        for (int m = 0; m < HEIGHT; m++) {
#if K_CODED
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int c = 0; c < 4; c++) score[m][n][c] *= key_scales[8 * n + 2 * t + c % 2];
#endif
#if FIT
            add_means(args.fit, tile, waves, lane, score[m]);
#endif
            if (args.softcap > 0) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int c = 0; c < 4; c++) score[m][n][c] = capped(score[m][n][c], scale, args.softcap);
            }
            if (!whole) {
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int c = 0; c < 4; c++) {
                        u32 key = tile + 8 * n + 2 * t + c % 2, last = first_of_warp + 16 * m + g + c / 2 * 8;
                        bool seen = key <= last && (!args.window || key + args.window > last);
                        if (!seen) score[m][n][c] = NOTHING;
                    }
            }
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float now = largest[m][r];
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) now = fmaxf(now, fmaxf(score[m][n][2 * r], score[m][n][2 * r + 1]));
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
                float base = now == NOTHING ? 0.0f : now * factor;
                float shrink = exp2_of(largest[m][r] * factor - base);
                largest[m][r] = now;
                float part = 0;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int c = 2 * r; c < 2 * r + 2; c++) {
                        score[m][n][c] = exp2_of(score[m][n][c] * factor - base);
                        part += score[m][n][c];
                    }
                total[m][r] = total[m][r] * shrink + part;
#if K_CODED
                shrink *= smaller;
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (int c = 0; c < 2; c++) score[m][n][2 * r + c] *= value_scales[8 * n + 2 * t + c] * unit;
#endif
#pragma unroll
                for (int d = 0; d < DIM / 8; d++) sum[m][d][2 * r] *= shrink, sum[m][d][2 * r + 1] *= shrink;
            }
        }
        if (!idle)
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                u32 a[HEIGHT][4];
#pragma unroll
                for (int m = 0; m < HEIGHT; m++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        a[m][i] = pair(score[m][2 * n + i / 2][i % 2 * 2], score[m][2 * n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
                for (int d = 0; d < DIM / 16; d++) {
                    u32 b[4]; // dimensions 16d.. and 16d + 8.., each with both halves of 16 keys
                    load_four_turned(b, along(value_tile, lane % 16, lane / 16, d) + n * 16 * DIM * 2);
#pragma unroll
                    for (int m = 0; m < HEIGHT; m++) {
                        mma(sum[m][2 * d], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
                        mma(sum[m][2 * d + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
                    }
                }
            }
    }
    float* out = args.out + ((u64)(view.first_row + first_row + warp_row) * NUM_HEADS + head) * DIM;
#pragma unroll
    for (int m = 0; m < HEIGHT; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float all = total[m][r];
            all += __shfl_xor_sync(FULL, all, 1);
            all += __shfl_xor_sync(FULL, all, 2);
            u32 row = 16 * m + g + 8 * r;
            if (warp_row + row >= num_rows) continue;
            if (t == 0 && !(all > 0 && all < INFINITY_F)) raise(args.fault, faults_of(all));
            float inverse = 1.0f / all;
#if K_CODED
            inverse *= size;
#endif
#pragma unroll
            for (int d = 0; d < DIM / 8; d++) {
                float2 two = {sum[m][d][2 * r] * inverse, sum[m][d][2 * r + 1] * inverse};
                *(float2*)(out + (u64)row * NUM_HEADS * DIM + 8 * d + 2 * t) = two;
            }
        }
#if V_CODED
    __syncwarp();
    for (u32 row = 0; row < 16 * HEIGHT && warp_row + row < num_rows; row++) {
        Head one;
        float* at = out + (u64)row * NUM_HEADS * DIM + lane;
#pragma unroll
        for (int i = 0; i < LANE_DIMS; i++) one.x[i] = at[32 * i];
        rotate_head(one, lane);
#pragma unroll
        for (int i = 0; i < LANE_DIMS; i++) at[32 * i] = one.x[i];
    }
#endif
}
