// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for some rows of int8 activations. A block computes 128 rows of weights and
// up to 8 NT COLUMNS rows of x; its warps take 16 RT rows of weights and 8 NT rows of x each. All blocks share all
// chunks evenly, so that one may begin and end in the middle of its rows of weights; who finishes such rows last adds
// their parts up, always in the same order.
struct Args {
    const u8* tiles;
    const float* bias;
    const u8* x;
    float* out;
    float* parts;  // per block two times what its threads hold
    u32* arrivals; // per 128 rows of weights and block of rows of x; 0 before and after
    u64 x_row_bytes;
    u32 n;
    u32 k;
    u32 num_rows;
};

#define WARPS 8
#define THREADS (32 * WARPS)
// Bytes from one row of a chunk of x to the next in shared memory: lanes read different banks.
#define X_STRIDE (HALVES == 2 ? 272 : 288)

__device__ __forceinline__ void copy_16(u8* to, const u8* from) {
#ifdef EMULATED
    *(uint4*)to = *(const uint4*)from;
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from) : "memory");
#endif
}

// Past this multiprocessor's own cache: what other blocks have written.
__device__ __forceinline__ float load_part(const float* at) {
#ifdef EMULATED
    return *at;
#else
    float value;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(at) : "memory");
    return value;
#endif
}

// sums += a chunk of weights (RT tiles at `weights`) times 8 NT rows of x: codes from column_of(t, 0) of row g on, and
// factors of rows 2 t and 2 t + 1, PITCH from one group to the next.
template <int RT, int NT, int PITCH, bool WHOLE>
__device__ __forceinline__ void multiply_chunk(const u8* weights, u32 pairs, const u8* codes, const float* factors, u32 lane,
                                               const Start& start, float sums[RT][NT][4]) {
    u32 g = lane / 4;
    ChunkScales chunk_of[RT];
#pragma unroll
    for (int r = 0; r < RT; r++) chunk_of[r] = chunk_scales(weights + r * CHUNK_BYTES + pairs * (LOW + HIGH), g);
#pragma unroll
    for (int pair = 0; pair < GROUPS / 2; pair++) {
        if (!WHOLE && pair >= pairs) break;
        Fragment w[RT][2];
#pragma unroll
        for (int r = 0; r < RT; r++) fragments(weights + r * CHUNK_BYTES, pairs, pair, lane, w[r]);
#pragma unroll
        for (int in_pair = 0; in_pair < 2; in_pair++) {
            int group = 2 * pair + in_pair;
            float scale[RT][HALVES][2], min[RT][2], base[RT][HALVES][2];
#pragma unroll
            for (int r = 0; r < RT; r++)
#pragma unroll
                for (int half = 0; half < HALVES; half++) {
                    group_scales(chunk_of[r], group, half, g, scale[r][half], min[r]);
                    base[r][half][0] = -MAGIC * scale[r][half][0], base[r][half][1] = -MAGIC * scale[r][half][1];
                }
#pragma unroll
            for (int j = 0; j < NT; j++) {
                const u8* code = codes + 8 * j * X_STRIDE + 32 * group;
                float2 x_scale = *(const float2*)(factors + group * PITCH + 8 * j), total;
                if (HAS_MINS) total = *(const float2*)(factors + (GROUPS + group) * PITCH + 8 * j);
#if HALVES == 1
                uint2 a = *(const uint2*)code;
#else
                uint2 a = make_uint2(*(const u32*)code, *(const u32*)(code + 16));
#endif
#pragma unroll
                for (int r = 0; r < RT; r++) {
                    int dots[2][4];
#if HALVES == 1
                    multiply(w[r][in_pair], a.x, a.y, start, dots[0]);
#else
                    multiply_half(w[r][in_pair].words[0], w[r][in_pair].words[1], a.x, start, dots[0]);
                    multiply_half(w[r][in_pair].words[2], w[r][in_pair].words[3], a.y, start, dots[1]);
#endif
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        float value = fmaf(__int_as_float(dots[0][i]), scale[r][0][i / 2], base[r][0][i / 2]);
                        if (HALVES == 2)
                            value += fmaf(__int_as_float(dots[1][i]), scale[r][HALVES - 1][i / 2], base[r][HALVES - 1][i / 2]);
                        if (HAS_MINS) value = fmaf(-min[r][i / 2], i % 2 ? total.y : total.x, value);
                        sums[r][j][i] = fmaf(value, i % 2 ? x_scale.y : x_scale.x, sums[r][j][i]);
                    }
                }
            }
        }
    }
}

template <int COLUMNS, int RT, int NT> __device__ __forceinline__ void mid(const Args& args, u8* shared) {
    constexpr u32 COLS = 8 * NT * COLUMNS, STAGE = WARPS * CHUNK_BYTES + COLS * X_STRIDE, PARTS = RT * NT * 4;
    constexpr u32 PITCH = COLS + 4, META = (COLS * GROUPS + THREADS - 1) / THREADS;
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u32 tiles = (args.n + TILE - 1) / TILE, chunks = (args.k + 255) / 256, groups = args.k / 32;
    u32 num_bands = (tiles + WARPS - 1) / WARPS;
    u64 units = (u64)num_bands * chunks;
    u32 first = blockIdx.x * units / gridDim.x, end = (blockIdx.x + 1) * units / gridDim.x;
    u32 row0 = blockIdx.y * COLS, num_rows = min(args.num_rows - row0, COLS);
    const u8* x = args.x + row0 * args.x_row_bytes;
    float* meta = (float*)(shared + STAGES * STAGE); // [2][scale, sum][group][row of x], rows 4 more than there are

    // Chunks are copied in order, `ahead` of those that are multiplied.
    struct Cursor {
        u32 band, chunk;
        __device__ __forceinline__ void step(u32 chunks) {
            if (++chunk == chunks) chunk = 0, band++;
        }
    };
    Cursor at = {first / chunks, first % chunks}, ahead = at, ahead_x = at, meta_at = at;
    u32 left = end - first, left_x = left; // chunks that are not copied yet
    u64 tile_size = tile_bytes(args.k);
    auto copy_weights = [&](u32 stage) {
        u32 tile = ahead.band * WARPS + warp;
        if (left > 0 && tile < tiles)
            copy_chunk(shared + stage * STAGE + warp * CHUNK_BYTES, args.tiles + tile * tile_size + ahead.chunk * CHUNK_BYTES,
                       pairs_of(args.k, ahead.chunk) * PAIR_BYTES, lane);
        left -= left > 0;
        ahead.step(chunks);
    };
    auto copy_x = [&](u32 stage) {
        u32 column = ahead_x.chunk * 256 + threadIdx.x % 16 * 16;
        u8* to = shared + stage * STAGE + WARPS * CHUNK_BYTES + threadIdx.x % 16 * 16;
#pragma unroll
        for (u32 i = 0; i < (COLS + 15) / 16; i++) {
            u32 row = 16 * i + threadIdx.x / 16;
            if (left_x > 0 && row < num_rows && column < args.k)
                copy_16(to + row * X_STRIDE, x + row * args.x_row_bytes + column);
        }
        left_x -= left_x > 0;
        ahead_x.step(chunks);
    };
    float scales[META], totals[META];
    auto load_meta = [&](bool some) {
        u32 group = meta_at.chunk * GROUPS + threadIdx.x % GROUPS;
        meta_at.step(chunks);
#pragma unroll
        for (u32 i = 0; i < META; i++) {
            u32 row = (i * THREADS + threadIdx.x) / GROUPS;
            bool there = some && row < num_rows && group < groups;
            const u8* at = x + row * args.x_row_bytes + args.k + 4 * group;
            scales[i] = there ? *(const float*)at : 0.0f;
            if (HAS_MINS) {
                int both = there ? *(const int*)(at + args.k / 8) : 0;
                totals[i] = (float)((i16)both + (both >> 16)) * (1 / STEP);
            }
        }
    };
    auto store_meta = [&](u32 which) {
#pragma unroll
        for (u32 i = 0; i < META; i++) {
            u32 row = (i * THREADS + threadIdx.x) / GROUPS, at = threadIdx.x % GROUPS * PITCH + row;
            if (row >= COLS) break;
            meta[which * 2 * GROUPS * PITCH + at] = scales[i];
            if (HAS_MINS) meta[(which * 2 + 1) * GROUPS * PITCH + at] = totals[i];
        }
    };

#pragma unroll
    for (u32 i = 0; i < STAGES - 1; i++) copy_weights(i);
    wait_for_inputs();
    load_meta(true);
#pragma unroll
    for (u32 i = 0; i < STAGES - 1; i++) {
        copy_x(i);
        commit();
    }
    store_meta(0);

    u32 band_warp = warp / COLUMNS, columns = warp % COLUMNS * 8 * NT;
    float sums[RT][NT][4] = {};
    Start start = start_of_sums();
    u32 stage = 0, from = first; // where the current rows of weights began
    for (u32 unit = first; unit < end; unit++) {
        arrived<STAGES - 2>();
        __syncthreads();
        u32 next = stage == 0 ? STAGES - 1 : stage - 1;
        copy_weights(next);
        copy_x(next);
        commit();
        load_meta(unit + 1 < end);
        u32 band = at.band, chunk = at.chunk, pairs = pairs_of(args.k, chunk);
        at.step(chunks);
        const u8* weights = shared + stage * STAGE + band_warp * RT * CHUNK_BYTES;
        const u8* codes = shared + stage * STAGE + WARPS * CHUNK_BYTES + (columns + g) * X_STRIDE + column_of(t, 0);
        const float* factors = meta + (unit - first) % 2 * 2 * GROUPS * PITCH + columns + 2 * t;
        // Whole chunks without a question between their pairs.
        if (BLOCK_LEN == 256 || pairs == GROUPS / 2)
            multiply_chunk<RT, NT, PITCH, true>(weights, pairs, codes, factors, lane, start, sums);
        else
            multiply_chunk<RT, NT, PITCH, BLOCK_LEN == 256>(weights, pairs, codes, factors, lane, start, sums);
        store_meta((unit + 1 - first) % 2);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        if (chunk + 1 < chunks && unit + 1 < end) continue;

        // These rows of weights are done, as far as this block has them.
        bool last = true;
        if (from % chunks != 0 || chunk + 1 < chunks) {
            // The block that has chunk c, and so the blocks that have parts of these rows.
            auto owner = [&](u64 c) { return (u32)(((c + 1) * gridDim.x + units - 1) / units) - 1; };
            u32 begin = owner((u64)band * chunks), finish = owner((u64)band * chunks + chunks - 1);
            auto part = [&](u32 block) {
                return args.parts + ((u64)(blockIdx.y * gridDim.x + block) * 2 + (block == begin)) * PARTS * THREADS + threadIdx.x;
            };
            float* mine = part(blockIdx.x);
#pragma unroll
            for (u32 i = 0; i < PARTS; i++) mine[i * THREADS] = sums[i / 4 / NT][i / 4 % NT][i % 4];
            __threadfence();
            __syncthreads();
            __shared__ u32 arrived_before;
            u32* arrivals = args.arrivals + blockIdx.y * num_bands + band;
            if (threadIdx.x == 0) {
                arrived_before = atomicAdd(arrivals, 1u);
                if (arrived_before == finish - begin) *arrivals = 0;
            }
            __syncthreads();
            last = arrived_before == finish - begin;
            if (last) {
                __threadfence();
#pragma unroll
                for (u32 i = 0; i < PARTS; i++) sums[i / 4 / NT][i / 4 % NT][i % 4] = 0;
                // Many loads at a time, block after block.
#pragma unroll 1
                for (u32 block = begin; block <= finish; block++) {
                    const float* from = part(block);
                    float values[PARTS];
#pragma unroll
                    for (u32 i = 0; i < PARTS; i++) values[i] = load_part(from + i * THREADS);
#pragma unroll
                    for (u32 i = 0; i < PARTS; i++) sums[i / 4 / NT][i / 4 % NT][i % 4] += values[i];
                }
            }
        }
#pragma unroll
        for (int r = 0; r < RT; r++)
#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    u32 n = (band * WARPS + band_warp * RT + r) * TILE + g + 8 * (i / 2), row = columns + 8 * j + 2 * t + i % 2;
                    if (last && n < args.n && row < num_rows)
                        args.out[(u64)(row0 + row) * args.n + n] = sums[r][j][i] * STEP + (args.bias ? args.bias[n] : 0.0f);
                    sums[r][j][i] = 0;
                }
        from = unit + 1;
    }
}

// ROWS of x at one time.
#if ROWS == 128
#define MID mid<2, 2, 8>
#elif ROWS == 64
#define MID mid<2, 2, 4>
#else
#define MID mid<1, 1, ROWS / 8>
#endif

extern "C" __global__ void __launch_bounds__(256, 1) matmul_mid(Args args) {
    SHARED;
    MID(args, shared);
}
