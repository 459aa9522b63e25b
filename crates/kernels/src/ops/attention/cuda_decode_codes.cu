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

#if FIT
#define NEAR_ROW (2 * WAVES + 16) // bytes of a row of the table in shared memory, so that no two lanes meet in a bank

// Cosines and sines within a span. Every tile wants some, and keys on their way would drive them out of the cache: they are
// in shared memory, but for large heads, which leave no room.
struct NearTable {
#if DIM <= 128
    u32 at;
    __device__ __forceinline__ NearTable(const Fit& fit) {
        SHARED;
        at = shared_address(shared);
        for (int i = threadIdx.x; i < SPAN * (WAVES / 8); i += blockDim.x) {
            int row = i / (WAVES / 8), piece = i % (WAVES / 8);
            copy_16(at + row * NEAR_ROW + piece * 16, fit.halves + row * TABLE_ROW + piece * 8, true);
        }
        copies_sent();
    }
    __device__ __forceinline__ void wait() { copies_done<0>(); }
    // Eight neighbours in the row of a position.
    __device__ __forceinline__ uint4 eight(u32 position, int piece) const {
        return load_16(at + position % SPAN * NEAR_ROW + piece * 16);
    }
#else
    const u16* at;
    __device__ __forceinline__ NearTable(const Fit& fit) : at(fit.halves) {}
    __device__ __forceinline__ void wait() {}
    __device__ __forceinline__ uint4 eight(u32 position, int piece) const {
        return *(const uint4*)(at + position % SPAN * TABLE_ROW + piece * 8);
    }
#endif
};

// Adds the mean's share: the waves of head g, if there is one, turned to the start of the span, times cosines and sines within
// it. They stand in both halves of `a`: above as halves, below what these have lost.
__device__ __forceinline__ void add_means(const NearTable& near, u32 first_key, const float2* waves, const float2* turns,
                                          int g, int t, float score[4][4]) {
    float share[4][4] = {};
    // Large heads leave no registers for more at once.
#pragma unroll DIM > 128 ? 2 : 4
    for (int j = 0; j < WAVES / 32; j++) {
        u32 high[4], low[4];
#pragma unroll
        for (int p = 0; p < 4; p += 2) {
            int at = 16 * j + 4 * t + p;
            float4 two = waves ? *(const float4*)(waves + at) : float4{0, 0, 0, 0}, turn = *(const float4*)(turns + at);
            float2 wave[2] = {turned(float2{two.x, two.y}, float2{turn.x, turn.y}),
                              turned(float2{two.z, two.w}, float2{turn.z, turn.w})};
#pragma unroll
            for (int i = 0; i < 2; i++) {
                high[p + i] = pair(wave[i].x, wave[i].y);
                float2 kept = halves_to_floats(high[p + i]);
                low[p + i] = pair(wave[i].x - kept.x, wave[i].y - kept.y);
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint4 at = near.eight(first_key + 4 * g + i, 4 * j + t);
            mma(share[i], high[0], low[0], high[1], low[1], at.x, at.y);
            mma(share[i], high[2], low[2], high[3], low[3], at.z, at.w);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int c = 0; c < 2; c++) score[i][c] += WAVE_UNIT * (share[i][c] + share[i][2 + c]);
}
#endif

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
