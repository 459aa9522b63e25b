// out[r, n] = f[r] Σ_k x[r, k] w[n, k] (+ bias[n]) of up to three matrices for hundreds of rows of activations that are
// halves, bound by tensor cores. A task is 128 rows of weights, a tile for each of eight warps, and ROWS rows of x. One thread
// more asks for both, weights by chunks and x by boxes of 64 columns, tasks ahead, so that nobody waits but for what it reads,
// and results leave while the next task is computed. There is one block for each multiprocessor; PEERS of them, a cluster, have
// the same rows of x and read them once. They compute whole tasks, and share those that are left evenly by columns (stream-K:
// Osama et al. 2023): who has the first columns of a task adds up what the others have of it, in order.
struct alignas(64) Map {
    u64 words[16];
};

struct Matrix {
    const u8* tiles;
    const float* bias;
    float* out;
    u32 n;
    u32 first_band;
};

struct Args {
    Map x_map;       // of x as the copy engine knows it (`TensorMap`), in boxes of BOX_ROWS rows
    Map out_maps[3]; // of the results, in boxes of STAGE_ROWS rows and the columns of a tile
    Matrix matrices[3];
    const u16* x;
    const float* factors;
    float4* parts; // a task's sums for each block
    u32* flags;    // for each block and warp, whether those are there
    u32 k;
    u32 num_rows;
    u32 num_bands;    // of tiles, next to each other among the tasks, of all matrices
    u32 num_tasks;
    u32 shared_tasks; // the first of them, which blocks share
};

#define WARPS 8
#define THREADS (32 * WARPS)
#define BOX_ROWS (ROWS / PEERS)
// Rows of results that leave a warp at one time; it has room for OUT_STAGES such boxes.
#define STAGE_ROWS 32
#if X_STAGES < 4
#error "two boxes of x are waited for while two are in use"
#endif
#define STAGE_BYTES (64 * STAGE_ROWS)

// A ring in shared memory: places, and their gates; one opens when what was asked for is there, one when all warps have left
// the place.
struct Ring {
    Shared there, left;
    u32 slot, turn;
};
template <u32 PLACES> __device__ __forceinline__ void advance(Ring& ring) {
    if (++ring.slot == PLACES) ring.slot = 0, ring.turn ^= 1;
}

#ifdef EMULATED
#define GRID_CONSTANT
#define CLUSTER
__device__ __forceinline__ void meet_peers() { __syncthreads(); }
#define MANY_SHARED static __attribute__((aligned(1024))) u8 shared[256 << 10]
__device__ __forceinline__ void make_gates(const Ring&, u32, u32) {}
__device__ __forceinline__ void more_registers() {}
__device__ __forceinline__ void fewer_registers() {}
__device__ __forceinline__ void await_place(const Ring&) {}
__device__ __forceinline__ void expect(const Ring&, u32) {}
__device__ __forceinline__ void copy_weights(Shared to, const u8* from, u32 bytes, const Ring&) { memcpy(to, from, bytes); }
__device__ __forceinline__ void copy_box(Shared to, const Args& args, u32 column, u32 row, const Ring&) {
    for (u32 i = 0; i < ROWS * 8; i++) {
        u32 r = i / 8, piece = i % 8, first = column + 8 * piece;
        bool there = row + r < args.num_rows && first < args.k;
        *(uint4*)(to + SWIZZLE(r, piece)) = there ? *(const uint4*)(args.x + (u64)(row + r) * args.k + first) : uint4{0, 0, 0, 0};
    }
}
// In turns: what is asked for is there when all have met, and they meet again before it is overwritten.
__device__ __forceinline__ void begin_turn() { __syncthreads(); }
__device__ __forceinline__ void end_turn() { __syncthreads(); }
__device__ __forceinline__ void await(const Ring&) {}
__device__ __forceinline__ void leave(Shared, bool) {}
__device__ __forceinline__ void leave(Shared, u32, bool) {}
__device__ __forceinline__ void await_stage() { __syncwarp(); }
__device__ __forceinline__ void send_box(const Args& args, u32 matrix, u32 n, u32 row, const u8* from) {
    __syncwarp();
    const Matrix& to = args.matrices[matrix];
    for (u32 r = 0; threadIdx.x % 32 == 0 && r < STAGE_ROWS && row + r < args.num_rows; r++)
        for (u32 i = 0; i < TILE && n + i < to.n; i++)
            to.out[(u64)(row + r) * to.n + n + i] = *(const float*)(from + 64 * r + ((i / 4) ^ (r / 2 % 4)) * 16 + i % 4 * 4);
}
__device__ __forceinline__ void all_sent() {}
__device__ __forceinline__ void raise(u32* flag) { *flag = 1; }
__device__ __forceinline__ void await_flag(const u32*) {}
__device__ __forceinline__ float4 of_others(const float4* at) { return *at; }
#else
#define GRID_CONSTANT const __grid_constant__
#define CLUSTER __cluster_dims__(PEERS, 1, 1)
__device__ __forceinline__ void meet_peers() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
#define MANY_SHARED extern __shared__ __align__(1024) u8 shared[]
__device__ __forceinline__ void make_gates(const Ring& ring, u32 places, u32 warps) {
    for (u32 i = 0; i < places; i++) {
        make_gate(ring.there + 8 * i);
        asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(ring.left + 8 * i), "r"(warps) : "memory");
    }
}
// Groups of four warps that multiply need most of the registers.
__device__ __forceinline__ void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 232;"); }
__device__ __forceinline__ void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 40;"); }
// Until all warps have left the place that is next.
__device__ __forceinline__ void await_place(const Ring& ring) { pass(ring.left + 8 * ring.slot, ring.turn ^ 1); }
// So many bytes will come to it.
__device__ __forceinline__ void expect(const Ring& ring, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(ring.there + 8 * ring.slot), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_weights(Shared to, const u8* from, u32 bytes, const Ring& ring) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(ring.there + 8 * ring.slot) : "memory");
}
__device__ __forceinline__ void copy_box(Shared to, const Args& args, u32 column, u32 row, const Ring& ring) {
#if PEERS > 1
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to), "l"(&args.x_map), "r"(column), "r"(row),
                 "r"(ring.there + 8 * ring.slot), "h"((u16)((1 << PEERS) - 1)) : "memory");
#else
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                 ::"r"(to), "l"(&args.x_map), "r"(column), "r"(row), "r"(ring.there + 8 * ring.slot) : "memory");
#endif
}
__device__ __forceinline__ void begin_turn() {}
__device__ __forceinline__ void end_turn() {}
// Until what was asked for is there.
__device__ __forceinline__ void await(const Ring& ring) { pass(ring.there + 8 * ring.slot, ring.turn); }
// The warp will not read a place of block `peer` any more; without a branch, if this thread is to say so.
__device__ __forceinline__ void leave(Shared gate, u32 peer, bool say) {
    asm volatile("{\n.reg .pred say;\n.reg .u32 there;\nsetp.ne.u32 say, %2, 0;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "@say mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(gate), "r"(peer), "r"((u32)say) : "memory");
}
__device__ __forceinline__ void leave(Shared gate, bool say) {
    asm volatile("{\n.reg .pred say;\nsetp.ne.u32 say, %1, 0;\n@say mbarrier.arrive.shared.b64 _, [%0];\n}"
                 ::"r"(gate), "r"((u32)say) : "memory");
}
// Until the box that is next to be filled has left.
__device__ __forceinline__ void await_stage() {
    if (threadIdx.x % 32 == 0) asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(OUT_STAGES - 1) : "memory");
    __syncwarp();
}
// What the warp has written leaves for rows `row` and columns `n` on; what is beyond the matrix does not.
__device__ __forceinline__ void send_box(const Args& args, u32 matrix, u32 n, u32 row, const u8* from) {
    show_copies();
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];\n"
                     "cp.async.bulk.commit_group;" ::"l"(&args.out_maps[matrix]), "r"(n), "r"(row), "r"(shared_at((void*)from))
                     : "memory");
}
__device__ __forceinline__ void all_sent() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
__device__ __forceinline__ void raise(u32* flag) {
    asm volatile("fence.acq_rel.gpu;\nst.release.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
}
__device__ __forceinline__ void await_flag(const u32* flag) {
    u32 there;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(flag) : "memory");
    while (!there);
}
__device__ __forceinline__ float4 of_others(const float4* at) {
    float4 out;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(out.x), "=f"(out.y), "=f"(out.z), "=f"(out.w) : "l"(at)
                 : "memory");
    return out;
}
#endif

// What a block computes, piece by piece: chunks of a task. First of shared ones: it passes on what it has of the end of a task,
// so that nobody waits for it, and as those pieces differ in length, results of different blocks leave at different times.
// Then whole ones, and last the beginning of a shared one, to which it adds what others have passed on.
struct Work {
    u32 block, blocks, chunks, at, to, whole; // chunks of all shared tasks; the next task that is not shared
    u32 task, begin, end;
};
// Where among the chunks of all shared tasks a block begins.
__device__ __forceinline__ u32 first_chunk(const Args& args, u32 chunks, u32 block) {
    return (u32)((u64)block * args.shared_tasks * chunks / (gridDim.x / PEERS));
}
__device__ __forceinline__ Work work_of(const Args& args) {
    // Blocks that start earlier have later columns: nobody waits for one that has not started.
    u32 blocks = gridDim.x / PEERS, block = blocks - 1 - blockIdx.x / PEERS, chunks = (args.k + 255) / 256;
    u32 at = first_chunk(args, chunks, block), to = first_chunk(args, chunks, block + 1);
    return Work{block, blocks, chunks, at, to, args.shared_tasks + block, 0, 0, 0};
}
__device__ __forceinline__ bool next_piece(const Args& args, Work& work) {
    u32 task = work.at / work.chunks, begin = work.at - task * work.chunks, rest = work.to - work.at;
    bool waits = begin == 0 && rest < work.chunks;
    if ((rest == 0 || waits) && work.whole < args.num_tasks) {
        work.task = work.whole, work.begin = 0, work.end = work.chunks;
        work.whole += work.blocks;
        return true;
    }
    work.task = task, work.begin = begin, work.end = min(work.chunks, begin + rest);
    work.at += work.end - work.begin;
    return work.begin < work.end;
}
struct Place {
    u32 matrix, tile, num_tiles, row; // the first tile of the matrix and the first row of x
};
__device__ __forceinline__ Place place_of(const Args& args, u32 task) {
    u32 part = task / args.num_bands, band = task % args.num_bands, matrix = 0;
    while (matrix + 1 < 3 && band >= args.matrices[matrix + 1].first_band) matrix++;
    u32 tile = ((band - args.matrices[matrix].first_band) * PEERS + blockIdx.x % PEERS) * WARPS;
    u32 tiles = (args.matrices[matrix].n + TILE - 1) / TILE;
    return Place{matrix, tile, tile < tiles ? min(tiles - tile, (u32)WARPS) : 0, part * ROWS};
}

// One warp of four that need few registers asks for everything.
__device__ __forceinline__ void bring(const Args& args, Ring w, Ring x, Shared x_at, Shared w_at) {
    Work work = work_of(args);
    u32 part = blockIdx.x % PEERS;
    bool waited = false;
    while (next_piece(args, work)) {
        Place place = place_of(args, work.task);
        const u8* weights = args.matrices[place.matrix].tiles + place.tile * tile_bytes(args.k) + (u64)work.begin * CHUNK_BYTES;
        for (u32 chunk = work.begin; chunk < work.end; chunk++) {
            u32 pairs = pairs_of(args.k, chunk), bytes = pairs * PAIR_BYTES;
            begin_turn();
            if (threadIdx.x == THREADS) {
                await_place(w);
                expect(w, place.num_tiles * bytes);
                for (u32 i = 0; i < place.num_tiles; i++)
                    copy_weights(w_at + (w.slot * WARPS + i) * CHUNK_BYTES, weights + i * tile_bytes(args.k), bytes, w);
            }
            weights += CHUNK_BYTES;
            advance<W_STAGES>(w);
            // Weights are there before what other kernels write.
            if (!waited) wait_for_inputs(), waited = true;
            for (u32 pair = 0; pair < GROUPS / 2; pair++) {
                if (threadIdx.x == THREADS) {
                    await_place(x);
                    expect(x, SLAB_BYTES);
                    Shared to = x_at + x.slot * SLAB_BYTES + part * (BOX_ROWS * 128);
                    copy_box(to, args, 256 * chunk + 64 * pair, place.row + part * BOX_ROWS, x);
                }
                advance<X_STAGES>(x);
            }
            end_turn();
        }
    }
}

// Results of the warp's tile leave for memory.
__device__ __forceinline__ void send(const Args& args, const Place& place, u32 tile, const float sums[ROWS / 8][4], u8* stages,
                                     u32& stage, u32 lane) {
    const Matrix& matrix = args.matrices[place.matrix];
    u32 g = lane / 4, t = lane % 4, n = tile * TILE;
    if (n >= matrix.n) return;
    float factors[ROWS / STAGE_ROWS], bias[2];
#pragma unroll
    for (u32 i = 0; i < ROWS / STAGE_ROWS; i++) {
        u32 row = place.row + STAGE_ROWS * i + lane;
        factors[i] = row < args.num_rows ? args.factors[row] : 0.0f;
    }
#pragma unroll
    for (u32 half = 0; half < 2; half++)
        bias[half] = matrix.bias && n + g + 8 * half < matrix.n ? matrix.bias[n + g + 8 * half] : 0.0f;
    // Pieces of 16 bytes change places within 64 by the pair of rows (SWIZZLE_64B), so that lanes meet different banks.
    u32 at = 128 * t + ((g / 4) ^ t) * 16 + g % 4 * 4;
#pragma unroll
    for (u32 i = 0; i < ROWS / STAGE_ROWS; i++) {
        if (place.row + STAGE_ROWS * i >= args.num_rows) break;
        u8* to = stages + stage * STAGE_BYTES;
        if (++stage == OUT_STAGES) stage = 0;
        await_stage();
#pragma unroll
        for (u32 j = 0; j < STAGE_ROWS / 8; j++)
#pragma unroll
            for (u32 odd = 0; odd < 2; odd++) {
                float factor = __shfl_sync(FULL, factors[i], 8 * j + 2 * t + odd);
#pragma unroll
                for (u32 half = 0; half < 2; half++)
                    *(float*)(to + 512 * j + 64 * odd + (at ^ 32 * half)) =
                        sums[STAGE_ROWS / 8 * i + j][2 * half + odd] * factor + bias[half];
            }
        send_box(args, place.matrix, n, place.row + STAGE_ROWS * i, to);
    }
}

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS + 128, 1) matmul_many(GRID_CONSTANT Args args) {
    MANY_SHARED; // X_STAGES boxes of x, for each warp OUT_STAGES boxes of results, W_STAGES chunks of all tiles, scales of a chunk
    __shared__ u64 x_gates[2][X_STAGES], w_gates[2][W_STAGES];
    // The same for all lanes, which the compiler is to know.
    u32 warp = __shfl_sync(FULL, threadIdx.x / 32, 0), lane = threadIdx.x % 32, peer = blockIdx.x % PEERS;
    u8 *stages = shared + X_STAGES * SLAB_BYTES, *ring = stages + OUT_STAGES * WARPS * STAGE_BYTES;
    Ring x = {shared_at(x_gates[0]), shared_at(x_gates[1]), 0, 0}, w = {shared_at(w_gates[0]), shared_at(w_gates[1]), 0, 0};
    if (threadIdx.x == 0) make_gates(x, X_STAGES, PEERS * WARPS), make_gates(w, W_STAGES, WARPS);
    gates_are_made();
    meet_peers();

    if (warp >= WARPS) {
        fewer_registers();
        bring(args, w, x, shared_at(shared), shared_at(ring));
        if (PEERS > 1) meet_peers();
        return;
    }
    more_registers();
    stages += warp * OUT_STAGES * STAGE_BYTES;
    u32 stage = 0;
    wait_for_inputs();
    u8* table = ring + W_STAGES * WARPS * CHUNK_BYTES + warp * SCALE_TABLE_BYTES;
    ring += warp * CHUNK_BYTES;
    Marks mark = marks();
    Slab slabs = slab_at(shared);
    Work work = work_of(args);
    while (next_piece(args, work)) {
        float sums[ROWS / 8][4] = {};
        keep(sums);
        Halves sets[2];
        for (u32 chunk = work.begin; chunk < work.end; chunk++) {
            u8* at = ring + w.slot * (WARPS * CHUNK_BYTES);
            u32 pairs = pairs_of(args.k, chunk);
            u8 *scales = at + pairs * (LOW + HIGH), *scales_at = PLAIN ? scales : table;
            begin_turn();
            end_turn();
            await(w);
            decode_scales(scales, table, lane, (int)args.k - (int)(256 * chunk));
            __syncwarp();
#pragma unroll
            for (int pair = 0; pair < GROUPS / 2; pair++) {
                Halves& halves = sets[pair % 2];
                // Two boxes at one time: the compiler lets products of two sets overlap only where nothing branches between.
                if (pair % 2 == 0) {
                    await(x);
                    Ring second = x;
                    advance<X_STAGES>(second);
                    await(second);
                }
                products_done<1>();
                used(halves);
                u32 before_last = x.slot < 2 ? x.slot + X_STAGES - 2 : x.slot - 2;
                leave(x.left + 8 * before_last, lane, lane < PEERS && (chunk > work.begin || pair > 1));
                halves = weights_of(at, pairs, pair, scales_at, lane, mark);
                used(halves);
                multiply_slab(sums, halves, slab_after(slabs, x.slot * SLAB_BYTES));
                advance<X_STAGES>(x);
            }
            __syncwarp();
            leave(w.left + 8 * w.slot, lane == 0);
            advance<W_STAGES>(w);
        }
        products_done<0>();
        used(sets[0]), used(sets[1]);
        keep(sums);
#pragma unroll
        for (u32 i = 1; i <= 2; i++) leave(x.left + 8 * (x.slot < i ? x.slot + X_STAGES - i : x.slot - i), lane, lane < PEERS);

        if (work.begin > 0) {
            float4* part = args.parts + (work.block * PEERS + peer) * (ROWS / 8 * THREADS) + threadIdx.x;
#pragma unroll
            for (u32 j = 0; j < ROWS / 8; j++) part[j * THREADS] = float4{sums[j][0], sums[j][1], sums[j][2], sums[j][3]};
            __syncwarp();
            if (lane == 0) raise(args.flags + (work.block * PEERS + peer) * WARPS + warp);
            continue;
        }
        if (work.end < work.chunks)
            for (u32 other = work.block + 1; first_chunk(args, work.chunks, other) < (work.task + 1) * work.chunks; other++) {
                u32* flag = args.flags + (other * PEERS + peer) * WARPS + warp;
                const float4* part = args.parts + (other * PEERS + peer) * (ROWS / 8 * THREADS) + threadIdx.x;
                await_flag(flag);
                __syncwarp();
#pragma unroll
                for (u32 j = 0; j < ROWS / 8; j++) {
                    float4 more = of_others(part + j * THREADS);
                    sums[j][0] += more.x, sums[j][1] += more.y, sums[j][2] += more.z, sums[j][3] += more.w;
                }
                __syncwarp();
                if (lane == 0) *flag = 0;
            }
        Place place = place_of(args, work.task);
        send(args, place, place.tile + warp, sums, stages, stage, lane);
    }
    if (lane == 0) all_sent();
    if (PEERS > 1) __syncwarp(), meet_peers(); // nobody leaves while others open its gates
}
