// out[r, n] = f[r] Σ_k x[r, k] w[n, k] (+ bias[n]) for some rows of activations that are halves. A block computes a band of
// weights, a tile per warp or of fewer, and ROWS rows of x. SPLIT blocks that follow one another are a cluster: each multiplies
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
    u32 height;    // tiles of a band
    u32 num_parts; // parts of the rows of x, which are next to each other among the blocks
};

#define THREADS (32 * WARPS)
// What is copied of x at one time: PAIRS pairs of groups.
#define X_BYTES (PAIRS * SLAB_BYTES)
#define STAGES_PER_CHUNK (GROUPS / 2 / PAIRS)
// Sets of halves that a warp makes in turns while tensor cores have the others. More than one pays for 64 rows alone.
#define SETS (ROWS == 64 ? 2 : 1)
// How long before they are multiplied copies of x begin: those of SETS - 1 stages may still be under way.
#define AHEAD (X_STAGES - SETS)
// What a thread holds.
#define PARTS (ROWS / 2)

#ifdef EMULATED
__device__ __forceinline__ void copy_16_or_zeros(Shared to, const void* from, bool there) {
    *(uint4*)to = there ? *(const uint4*)from : uint4{0, 0, 0, 0};
}
__device__ __forceinline__ void meet_cluster() {}
__device__ __forceinline__ float of_block(const float* at, u32 rank) { return *at; }
#define WIDE_SHARED static __attribute__((aligned(1024))) u8 shared[256 << 10]
#define CLUSTER
#else
__device__ __forceinline__ void copy_16_or_zeros(Shared to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
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
    __shared__ u64 all_gates[WARPS][W_STAGES];
    // The same for all lanes, which the compiler is to know.
    u32 warp = __shfl_sync(FULL, threadIdx.x / 32, 0), lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u32 rank = blockIdx.x % SPLIT, part = blockIdx.x / SPLIT % args.num_parts, band = blockIdx.x / SPLIT / args.num_parts;
    Matrix matrix = args.matrices[0];
    if (band >= args.matrices[1].first_band) matrix = args.matrices[1];
    if (band >= args.matrices[2].first_band) matrix = args.matrices[2];
    u32 tiles = (matrix.n + TILE - 1) / TILE, chunks = (args.k + 255) / 256;
    u32 begin = rank * chunks / SPLIT, end = (rank + 1) * chunks / SPLIT;
    u32 row0 = part * ROWS, num_rows = min(args.num_rows - row0, (u32)ROWS);
    u32 tile = (band - matrix.first_band) * args.height + warp;
    bool mine = warp < args.height && tile < tiles; // the other warps compute what nobody asks for
    u8* ring = shared + X_STAGES * X_BYTES + warp * (W_STAGES * CHUNK_BYTES + SCALE_TABLE_BYTES);
    u8* table = ring + W_STAGES * CHUNK_BYTES;

    Shared ring_at = shared_at(ring), gates = shared_at(all_gates[warp]);
    const u8* weights = matrix.tiles + tile * tile_bytes(args.k) + (u64)begin * CHUNK_BYTES;
    auto copy_weights = [&](u32 chunk, u32 slot) {
        if (!mine || chunk >= end || lane != 0) return;
        copy_through(ring_at + slot * CHUNK_BYTES, weights, pairs_of(args.k, chunk) * PAIR_BYTES, gates + 8 * slot);
        weights += CHUNK_BYTES;
    };
    if (lane == 0)
        for (u32 i = 0; i < W_STAGES; i++) make_gate(gates + 8 * i);
    gates_are_made();
    for (u32 i = 0; i < W_STAGES; i++) copy_weights(begin + i, i);

    // Pieces of 16 bytes; eight threads copy a row of a slab.
    constexpr u32 AT_ONCE = THREADS / 8;
    u32 first_row = threadIdx.x / 8 % ROWS, first_slab = threadIdx.x / 8 / ROWS, piece = threadIdx.x % 8;
    u32 first_column = 256 * begin + 64 * first_slab + 8 * piece, x_to = 0;
    Shared my_place = shared_at(shared + first_slab * SLAB_BYTES + SWIZZLE(first_row, piece));
    const u16* x = args.x + (u64)(row0 + first_row) * args.k + first_column;
    int left = (int)args.k - (int)first_column;
    u32 stage = 0, num_stages = (end - begin) * STAGES_PER_CHUNK;
    auto copy_x = [&](u32 stage) {
        if (stage < num_stages) {
#pragma unroll
            for (u32 i = 0; i < PAIRS * ROWS / AT_ONCE; i++) {
                u32 slab = i * AT_ONCE / ROWS, row = i * AT_ONCE % ROWS;
                bool there = first_row + row < num_rows && (int)(64 * slab) < left;
                copy_16_or_zeros(my_place + x_to + slab * SLAB_BYTES + 128 * row, x + (u64)row * args.k + 64 * slab, there);
            }
        }
        commit();
        x += 64 * PAIRS, left -= 64 * PAIRS;
        x_to = x_to == (X_STAGES - 1) * X_BYTES ? 0 : x_to + X_BYTES;
    };
    wait_for_inputs();
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++) copy_x(i);

    float sums[ROWS / 8][4] = {};
    keep(sums);
    Halves sets[SETS];
    Marks mark = marks();
    Slab slabs = slab_at(shared);
    u32 slot = 0, turn = 0;
    for (u32 chunk = begin; chunk < end; chunk++) {
        u8* at = ring + slot * CHUNK_BYTES;
        u32 pairs = pairs_of(args.k, chunk);
        u8 *scales = at + pairs * (LOW + HIGH), *scales_at = PLAIN ? scales : table;
        if (mine) pass(gates + 8 * slot, turn);
        decode_scales(scales, table, lane, (int)args.k - (int)(256 * chunk));
        __syncwarp();
#pragma unroll
        for (int pair = 0; pair < GROUPS / 2; pair++) {
            Halves& w = sets[pair % SETS];
            products_done<SETS - 1>();
            used(w);
            w = weights_of(at, pairs, pair, scales_at, lane, mark);
            if (pair % PAIRS == 0) {
                arrived<AHEAD - 1>();
                show_copies();
                __syncthreads();
                copy_x(stage + AHEAD);
                if (stage > 0) slabs = stage % X_STAGES == 0 ? slab_at(shared) : slab_after(slabs, X_BYTES);
                stage++;
            }
            multiply_slab(sums, w, slab_after(slabs, pair % PAIRS * SLAB_BYTES));
        }
        __syncwarp();
        copy_weights(chunk + W_STAGES, slot);
        if (++slot == W_STAGES) slot = 0, turn ^= 1;
    }
    products_done<0>();
#pragma unroll
    for (int i = 0; i < SETS; i++) used(sets[i]);

    auto store = [&](u32 index, float sum) {
        u32 i = index % 4, j = index / 4, n = tile * TILE + g + 8 * (i / 2), row = 8 * j + 2 * t + i % 2;
        if (mine && n < matrix.n && row < num_rows)
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
