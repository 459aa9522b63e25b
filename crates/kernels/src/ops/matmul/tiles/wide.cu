// out[r, n] = f[r] Σ_k x[r, k] w[n, k] (+ bias[n]) for some rows of activations that are halves. A block computes 16 WARPS
// rows of weights, a tile per warp, and ROWS rows of x. SPLIT blocks that follow one another are a cluster: each multiplies
// its part of the columns, then they add up out of each other's shared memory, in order.
// Several matrices of as many columns may be multiplied with the same x: their bands follow one another.
struct Matrix {
    const u8* tiles;
    const float* bias;
    float* out;
    u32 n;
    u32 first_band;
};

struct Args {
    Matrix matrices[3]; // those that are not there begin behind all bands
    const u16* x;
    const float* factors;
    u32 k;
    u32 num_rows;
    u32 num_parts; // parts of the rows of x, which are next to each other among the blocks
};

#define THREADS (32 * WARPS)
// Pairs of groups of x that are copied at one time, and how long before they are multiplied: the products of one time may be
// under way while the next one's begin.
#define PAIRS (ROWS == 128 ? 1 : 4)
#define X_BYTES (PAIRS * SLAB_BYTES)
#define AHEAD (X_STAGES - 2)
#define STAGES_PER_CHUNK (GROUPS / 2 / PAIRS)
// What a thread holds.
#define PARTS (ROWS / 2)

#ifdef EMULATED
__device__ __forceinline__ void copy_16_or_zeros(u8* to, const void* from, bool there) {
    *(uint4*)to = there ? *(const uint4*)from : uint4{0, 0, 0, 0};
}
__device__ __forceinline__ void meet_cluster() {}
__device__ __forceinline__ float of_block(const float* at, u32 rank) { return *at; }
#define WIDE_SHARED static __attribute__((aligned(1024))) u8 shared[256 << 10]
#define CLUSTER
#else
__device__ __forceinline__ void copy_16_or_zeros(u8* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from),
                 "r"(there ? 16 : 0) : "memory");
}
__device__ __forceinline__ void meet_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// What lies at this place in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ float of_block(const float* at, u32 rank) {
    float value;
    asm volatile("{\n.reg .u32 there;\nmapa.shared::cluster.u32 there, %1, %2;\nld.shared::cluster.f32 %0, [there];\n}"
                 : "=f"(value) : "r"((u32)__cvta_generic_to_shared(at)), "r"(rank) : "memory");
    return value;
}
#define WIDE_SHARED extern __shared__ __align__(1024) u8 shared[]
#define CLUSTER __cluster_dims__(SPLIT, 1, 1)
#endif

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, PER_SM) matmul_wide(Args args) {
    WIDE_SHARED; // X_STAGES of x, then of each warp W_STAGES chunks and the scales of one
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u32 rank = blockIdx.x % SPLIT, part = blockIdx.x / SPLIT % args.num_parts, band = blockIdx.x / SPLIT / args.num_parts;
    Matrix matrix = args.matrices[0];
    if (band >= args.matrices[1].first_band) matrix = args.matrices[1];
    if (band >= args.matrices[2].first_band) matrix = args.matrices[2];
    u32 tiles = (matrix.n + TILE - 1) / TILE, chunks = (args.k + 255) / 256;
    u32 begin = rank * chunks / SPLIT, end = (rank + 1) * chunks / SPLIT;
    u32 row0 = part * ROWS, num_rows = min(args.num_rows - row0, (u32)ROWS);
    u32 tile = (band - matrix.first_band) * WARPS + warp;
    const u8* weights = matrix.tiles + tile * tile_bytes(args.k);
    u8* ring = shared + X_STAGES * X_BYTES + warp * (W_STAGES * CHUNK_BYTES + SCALE_TABLE_BYTES);
    u8* table = ring + W_STAGES * CHUNK_BYTES;

    auto copy_weights = [&](u32 chunk) {
        if (chunk < end && tile < tiles)
            copy_chunk(ring + (chunk - begin) % W_STAGES * CHUNK_BYTES, weights + (u64)chunk * CHUNK_BYTES,
                       pairs_of(args.k, chunk) * PAIR_BYTES, lane);
    };
    // Pieces of 16 bytes; eight threads copy a row of a slab.
    auto copy_x = [&](u32 stage) {
        u32 chunk = begin + stage / STAGES_PER_CHUNK, column = 256 * chunk + stage % STAGES_PER_CHUNK * (64 * PAIRS);
        u8* to = shared + stage % X_STAGES * X_BYTES;
#pragma unroll
        for (u32 i = 0; i < (X_BYTES / 16 + THREADS - 1) / THREADS; i++) {
            u32 index = i * THREADS + threadIdx.x, slab = index / (8 * ROWS), row = index / 8 % ROWS, piece = index % 8;
            u32 at = column + 64 * slab + 8 * piece;
            bool there = chunk < end && row < num_rows && at < args.k;
            if (X_BYTES / 16 % THREADS == 0 || index < X_BYTES / 16)
                copy_16_or_zeros(to + slab * SLAB_BYTES + SWIZZLE(row, piece),
                                 args.x + (there ? (u64)(row0 + row) * args.k + at : 0), there);
        }
    };

#pragma unroll
    for (u32 i = 0; i < W_STAGES - 1; i++) copy_weights(begin + i);
    wait_for_inputs();
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) {
        copy_x(i);
        commit();
    }

    float sums[ROWS / 8][4] = {};
    keep(sums);
    Halves w;
    Marks mark = marks();
    u32 stage = 0;
    for (u32 chunk = begin; chunk < end; chunk++) {
        const u8* at = ring + (chunk - begin) % W_STAGES * CHUNK_BYTES;
        u32 pairs = pairs_of(args.k, chunk);
#pragma unroll
        for (int pair = 0; pair < GROUPS / 2; pair++) {
            if (pair % PAIRS == 0) {
                arrived<AHEAD - 1>();
                show_copies();
                __syncthreads();
                if (pair == 0) copy_weights(chunk + W_STAGES - 1);
                copy_x(stage + AHEAD);
                commit();
                stage++;
            }
            if (pair == 0) {
                decode_scales(at + pairs * (LOW + HIGH), table, lane, (int)args.k - (int)(256 * chunk));
                __syncwarp();
            }
            // Other warps keep the tensor cores busy while this one makes its weights.
            products_done<0>();
            used(w);
            w = weights_of(at, pairs, pair, table, lane, mark);
            multiply_slab(sums, w, slab_at(shared + (stage - 1) % X_STAGES * X_BYTES + pair % PAIRS * SLAB_BYTES));
        }
        __syncwarp();
    }
    products_done<0>();
    used(w);

    auto store = [&](u32 index, float sum) {
        u32 i = index % 4, j = index / 4, n = tile * TILE + g + 8 * (i / 2), row = 8 * j + 2 * t + i % 2;
        if (n < matrix.n && row < num_rows)
            matrix.out[(u64)(row0 + row) * matrix.n + n] =
                sum * args.factors[row0 + row] + (matrix.bias ? matrix.bias[n] : 0.0f);
    };
    if (SPLIT == 1) {
#pragma unroll
        for (u32 i = 0; i < PARTS; i++) store(i, sums[i / 4][i % 4]);
        return;
    }
    arrived<0>();
    __syncthreads();
    float* sums_of = (float*)shared + threadIdx.x;
#pragma unroll
    for (u32 i = 0; i < PARTS; i++) sums_of[i * THREADS] = sums[i / 4][i % 4];
    meet_cluster();
    for (u32 i = rank * PARTS / SPLIT; i < (rank + 1) * PARTS / SPLIT; i++) {
        float values[SPLIT], sum = 0;
#pragma unroll
        for (u32 block = 0; block < SPLIT; block++) values[block] = of_block(sums_of + i * THREADS, block);
#pragma unroll
        for (u32 block = 0; block < SPLIT; block++) sum += values[block];
        store(i, sum);
    }
    meet_cluster(); // nobody leaves while others read
}
