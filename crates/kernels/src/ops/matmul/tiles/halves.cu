// Weights and activations as halves, for a product by cuBLASLt.

struct Args {
    const u8* tiles; // of the first row that is wanted
    u16* out;        // [n, k]
    u32 n;
    u32 k;
};

// A warp per chunk; a lane writes 8 columns of a row at one time (twice 4 where groups have 16 values). IN_ORDER: within 32
// columns as activations that are halves (`half_column`).
extern "C" __global__ void __launch_bounds__(256) weights_to_half(Args args) {
    wait_for_inputs();
#if IN_ORDER
    // Rows lie so that lanes write to different banks.
    __shared__ __attribute__((aligned(16))) u8 all_staged[8][TILE][144];
    u8(*staged)[144] = all_staged[threadIdx.x / 32];
#endif
    u32 chunks = (args.k + 255) / 256, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u64 index = (u64)blockIdx.x * 8 + threadIdx.x / 32;
    u32 tile = index / chunks, chunk = index % chunks, pairs = pairs_of(args.k, chunk);
    if (tile >= (args.n + TILE - 1) / TILE) return;
    const u8* at = args.tiles + tile * tile_bytes(args.k) + (u64)chunk * CHUNK_BYTES;
    ChunkScales scales = chunk_scales(at + pairs * (LOW + HIGH), g);
#pragma unroll
    for (int pair = 0; pair < GROUPS / 2; pair++) {
        if (pair >= pairs) break;
        Fragment w[2];
        fragments(at, pairs, pair, lane, w);
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            int group = 2 * pair + odd;
            u32 column = 256 * chunk + 32 * group;
            if (column >= args.k) break;
            u32 words[2][2][2]; // [row][part][pair of halves]
#pragma unroll
            for (int part = 0; part < 2; part++) {
                float scale[2], min[2] = {0, 0};
                group_scales(scales, group, HALVES == 2 ? part : 0, g, scale, min);
#pragma unroll
                for (int row = 0; row < 2; row++) {
                    u32 codes = w[odd].words[2 * part + row];
                    float values[4];
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        float code = HAS_MINS ? (float)(codes >> 8 * i & 255) : (float)(i8)(codes >> 8 * i);
                        values[i] = __fmul_rn(code * STEP, scale[row]);
                        if (HAS_MINS) values[i] = __fsub_rn(values[i], min[row]);
                    }
                    words[row][part][0] = floats_to_halves(values[0], values[1]);
                    words[row][part][1] = floats_to_halves(values[2], values[3]);
                }
            }
#if IN_ORDER
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = i / 2, part = i % 2;
                u32 four = HALVES == 2 ? 4 * part + t : 2 * t + part; // its place among the group's fours
                u32 low = words[row][part][0], high = words[row][part][1];
                u32* to = (u32*)(staged[g + 8 * row] + 64 * odd) + 8 * (four % 2) + four / 2;
                to[0] = __byte_perm(low, high, 0x5410), to[4] = __byte_perm(low, high, 0x7632);
            }
#else
#pragma unroll
            for (int row = 0; row < 2; row++) {
                u32 n = TILE * tile + g + 8 * row;
                if (n >= args.n) continue;
                u16* to = args.out + (u64)n * args.k + column;
#if HALVES == 1
                *(uint4*)(to + 8 * t) = make_uint4(words[row][0][0], words[row][0][1], words[row][1][0], words[row][1][1]);
#else
                *(uint2*)(to + 4 * t) = make_uint2(words[row][0][0], words[row][0][1]);
                *(uint2*)(to + 16 + 4 * t) = make_uint2(words[row][1][0], words[row][1][1]);
#endif
            }
#endif
        }
#if IN_ORDER
        // Eight lanes write a row's 64 columns.
        __syncwarp();
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            u32 row = 4 * i + lane / 8, n = TILE * tile + row, column = 256 * chunk + 64 * pair + lane % 8 * 8;
            if (n < args.n && column < args.k)
                *(uint4*)(args.out + (u64)n * args.k + column) = *(const uint4*)(staged[row] + lane % 8 * 16);
        }
        __syncwarp();
#endif
    }
}
