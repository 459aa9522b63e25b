// Tiles of a cache of 8- or 4-bit codes for `cuda_decode.cu`: two blocks of 16 tokens. Codes become halves on their way into
// fragments, exactly; scores are multiplied by the scales of keys, weights by those of values. A word has the codes of four
// neighbours: of dimensions of a key, of keys for a value. Lane (g, t) scores keys 4g to 4g + 3 and weighs values 8t to
// 8t + 7, so every load is of 16 bytes.
#define KEYS 32
#define KEY_WORDS (K_CODES / 16)   // of 16 codes of a key, or 32: a word for each of four lanes
#define VALUE_WORDS (V_CODES / 32) // of 32 words of a value: four for each of eight lanes
#define SUMS (DIM / 16)
#define VALUE_SCALES 1

struct Tile {
    uint4 k[KEY_WORDS], v[2][VALUE_WORDS];
    float key_scale, value_scale; // of the key and value with the lane's number
};

__device__ __forceinline__ int key_of(int i, int c, int t) { return 8 * t + 4 * c + i; }
#if V_TYPE == 3
__device__ __forceinline__ int dim_of(int i, int c, int g) { return i / 2 * 32 + 4 * g + i % 2 * 2 + c / 2; }
#else
__device__ __forceinline__ int dim_of(int i, int c, int g) {
    return i / 2 % 2 * (DIM / 2) + i / 4 * 32 + 4 * g + i % 2 * 2 + c / 2;
}
#endif
#if K_TYPE == 3
__device__ __forceinline__ int query_dim(int i, int half, int t) { return 16 * i + 4 * t + 2 * half; }
#else
__device__ __forceinline__ int query_dim(int i, int half, int t) { return i / 2 * 32 + 8 * t + i % 2 * 4 + 2 * half; }
#endif

__device__ __forceinline__ const u8* one_of(const u8* const blocks[KEYS / 16], int second) {
    return second ? blocks[1] : blocks[0];
}

__device__ __forceinline__ void load_keys(Tile& tile, const u8* const blocks[KEYS / 16], int g, int t) {
    const u8* at = one_of(blocks, g / 4) + t * 64 + g % 4 * 16;
#pragma unroll
    for (int j = 0; j < KEY_WORDS; j++) tile.k[j] = *(const uint4*)(at + j * 256);
    int lane = 4 * g + t;
    tile.key_scale = ((const float*)(one_of(blocks, lane / 16) + 16 * K_CODES))[lane % 16];
}

__device__ __forceinline__ void load_values(Tile& tile, const u8* const blocks[KEYS / 16], int keys, int g, int t) {
    const u8* block = one_of(blocks, t / 2) + 16 * K_BYTES;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < VALUE_WORDS; j++)
            tile.v[i][j] = *(const uint4*)(block + (t % 2 * 2 + i) * 4 * V_CODES + (32 * j + 4 * g) * 4);
    int lane = 4 * g + t;
    tile.value_scale = ((const float*)(one_of(blocks, lane / 16) + 16 * (K_BYTES + V_CODES)))[lane % 16];
}

template <typename Q> __device__ __forceinline__ void multiply_keys(const Tile& tile, Q q, int t, float score[4][4]) {
#pragma unroll
    for (int j = 0; j < KEY_WORDS; j++) {
        const u32* words = &tile.k[j].x;
#pragma unroll
        for (int i = 0; i < 4; i++) {
#if K_TYPE == 3
            uint2 a = q(j), b = halves_of<128>(words[i]);
            mma(score[i], a.x, 0, a.y, 0, b.x, b.y);
#else
            uint2 a = q(2 * j), b = halves_of<8>(words[i] & 0x0f0f0f0f);
            mma(score[i], a.x, 0, a.y, 0, b.x, b.y);
            a = q(2 * j + 1), b = halves_of<8>(words[i] >> 4 & 0x0f0f0f0f);
            mma(score[i], a.x, 0, a.y, 0, b.x, b.y);
#endif
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int c = 0; c < 2; c++) score[i][c] *= __shfl_sync(FULL, tile.key_scale, key_of(i, c, t));
}

__device__ __forceinline__ void add_values(const Tile& tile, const float weight[4][2], float sum[SUMS][4]) {
#pragma unroll
    for (int s = 0; s < 2; s++) {
        u32 low = pair(weight[0][s], weight[1][s]), high = pair(weight[2][s], weight[3][s]);
#pragma unroll
        for (int j = 0; j < VALUE_WORDS; j++) {
            const u32* words = &tile.v[s][j].x;
#pragma unroll
            for (int r = 0; r < 2; r++) {
#if V_TYPE == 3
                uint2 a = halves_of<128>(words[2 * r] ^ 0x80808080), b = halves_of<128>(words[2 * r + 1] ^ 0x80808080);
                mma(sum[2 * j + r], a.x, b.x, a.y, b.y, low, high);
#else
                uint2 a = halves_of<8>(words[2 * r] & 0x0f0f0f0f), b = halves_of<8>(words[2 * r + 1] & 0x0f0f0f0f);
                mma(sum[4 * j + r], a.x, b.x, a.y, b.y, low, high);
                a = halves_of<8>(words[2 * r] >> 4 & 0x0f0f0f0f), b = halves_of<8>(words[2 * r + 1] >> 4 & 0x0f0f0f0f);
                mma(sum[4 * j + 2 + r], a.x, b.x, a.y, b.y, low, high);
#endif
            }
        }
    }
}
