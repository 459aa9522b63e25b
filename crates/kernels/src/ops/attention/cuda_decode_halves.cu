// Tiles of a cache of halves for `cuda_decode.cu`: a block of 16 tokens, straight into fragments. Lane (g, t) scores keys g
// and g + 8, and weighs values 2t, 2t + 1, 2t + 8 and 2t + 9.
#define KEYS 16
#define CHUNKS (DIM / 32)        // of 32 dimensions of a key: 8 for each of four lanes
#define HALVES ((DIM + 63) / 64) // of 64 dimensions of a value: 8 for each of eight lanes
#define SUMS (4 * HALVES)
#define VALUE_SCALES 0

struct Tile {
    uint4 k[2][CHUNKS], v[4][HALVES];
};

// Which key of a tile `score[i][c]` is, and which dimension `sum[i][c]`.
__device__ __forceinline__ int key_of(int i, int c, int t) { return 8 * i + 2 * t + c; }
__device__ __forceinline__ int dim_of(int i, int c, int g) { return i / 4 * 64 + 8 * g + i % 4 * 2 + c / 2; }
// The dimensions that `a` of product i has in its first and second half.
__device__ __forceinline__ int query_dim(int i, int half, int t) { return i / 2 * 32 + 8 * t + i % 2 * 4 + 2 * half; }

__device__ __forceinline__ void load_keys(Tile& tile, const u8* const blocks[KEYS / 16], int g, int t) {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < CHUNKS; j++)
            tile.k[i][j] = *(const uint4*)(blocks[0] + ((g + 8 * i) * DIM + 32 * j + 8 * t) * 2);
}

// `keys` are not beyond the end: what lies behind was there before, and NaN times 0 must not count.
__device__ __forceinline__ void load_values(Tile& tile, const u8* const blocks[KEYS / 16], int keys, int g, int t) {
    const u8* at = blocks[0] + 16 * DIM * 2;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            int key = 2 * t + i % 2 + i / 2 * 8, d = h * 64 + 8 * g;
            tile.v[i][h] = key < keys && (DIM % 64 == 0 || d < DIM) ? *(const uint4*)(at + (key * DIM + d) * 2)
                                                                    : uint4{0, 0, 0, 0};
        }
}

// Scores of head g. `q` gives product i's `a`.
template <typename Q> __device__ __forceinline__ void multiply_keys(const Tile& tile, Q q, int, float score[2][4]) {
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) {
        uint2 low = q(2 * j), high = q(2 * j + 1);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            mma(score[i], low.x, 0, low.y, 0, tile.k[i][j].x, tile.k[i][j].y);
            mma(score[i], high.x, 0, high.y, 0, tile.k[i][j].z, tile.k[i][j].w);
        }
    }
}

__device__ __forceinline__ u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
__device__ __forceinline__ u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }

__device__ __forceinline__ void add_values(const Tile& tile, const float weight[2][2], float sum[SUMS][4]) {
    u32 low = pair(weight[0][0], weight[0][1]), high = pair(weight[1][0], weight[1][1]);
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        const u32* a = &tile.v[0][h].x;
        const u32* b = &tile.v[1][h].x;
        const u32* c = &tile.v[2][h].x;
        const u32* d = &tile.v[3][h].x;
#pragma unroll
        for (int i = 0; i < 4; i++)
            mma(sum[4 * h + i], low_halves(a[i], b[i]), high_halves(a[i], b[i]), low_halves(c[i], d[i]),
                high_halves(c[i], d[i]), low, high);
    }
}
