// Tiles of a cache of 8- or 4-bit codes for `cuda_prefill.cu`: blocks are copied as they are while the tile before is computed
// with, then their codes become halves where products want them. Scores are multiplied by the scales of keys, weights by
// those of values, as parts of the largest so far: so that none becomes too small for a half.
#define STAGES 1
#define TILE_BLOCKS (KEYS / 16)
#define BLOCK_PIECES ((int)(BLOCK_BYTES / 16))

__shared__ float key_scales[KEYS], value_scales[KEYS];

struct Sources {
    u32 block[TILE_BLOCKS];
};

// Looks the blocks of a tile up. Tiles begin where blocks do.
__device__ __forceinline__ void find(Sources& sources, const Kv& kv, const KvView& view, u32 head, u32 tile, u32 held,
                                     u32 end) {
#pragma unroll
    for (int i = 0; i < TILE_BLOCKS; i++)
        sources.block[i] = physical_block(kv, view, head, max(held, min(tile + 16 * i, end - 1)));
}

// Sends for the blocks of a tile.
__device__ __forceinline__ void send_for(u32 raw, const Kv& kv, const Sources& sources) {
#pragma unroll
    for (int i = 0; i < TILE_BLOCKS; i++)
        for (int piece = threadIdx.x; piece < BLOCK_PIECES; piece += THREADS)
            copy_16(raw + (i * BLOCK_PIECES + piece) * 16, kv.storage + sources.block[i] * BLOCK_BYTES + piece * 16, true);
    copies_sent();
}

// Where the value of dimension `d` of a key or value in a tile begins.
__device__ __forceinline__ u32 half_at(u32 tile, u32 row, u32 d) { return tile + place(row, d / 8) + d % 8 * 2; }

// Makes halves of the codes of a tile; those behind the end are zero, whatever their scale.
__device__ __forceinline__ void unpack(u32 keys, u32 values, const u8* raw, u32 tile, u32 end) {
    for (int i = threadIdx.x; i < KEYS; i += THREADS) {
        const u8* block = raw + i / 16 * BLOCK_BYTES;
        bool there = tile + i < end;
        key_scales[i] = there ? ((const float*)(block + 16 * K_CODES))[i % 16] : 0.0f;
        value_scales[i] = there ? ((const float*)(block + 16 * (K_BYTES + V_CODES)))[i % 16] : 0.0f;
    }
    // Four neighbouring keys: a word of each.
#pragma unroll
    for (int n = threadIdx.x; n < TILE_BLOCKS * K_CODES; n += THREADS) {
        int four = n % 4, word = n / 4 % (K_CODES / 4), block = n / K_CODES;
        uint4 codes = *(const uint4*)(raw + block * BLOCK_BYTES + word * 64 + four * 16);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 row = 16 * block + 4 * four + i, some = (&codes.x)[i];
#if K_TYPE == 3
            store_8(half_at(keys, row, 4 * word), halves_of<128>(some));
#else
            uint2 low = halves_of<8>(some & 0x0f0f0f0f), high = halves_of<8>(some >> 4 & 0x0f0f0f0f);
            store_16(half_at(keys, row, 8 * word), low.x, low.y, high.x, high.y);
#endif
        }
    }
    // Four neighbouring dimensions of four neighbouring values: their words are turned.
#pragma unroll
    for (int n = threadIdx.x; n < TILE_BLOCKS * V_CODES; n += THREADS) {
        int word = n % (V_CODES / 4), four = n / (V_CODES / 4) % 4, block = n / V_CODES;
        uint4 codes = *(const uint4*)(raw + block * BLOCK_BYTES + 16 * K_BYTES + four * 4 * V_CODES + word * 16);
        u32 a = __byte_perm(codes.x, codes.y, 0x5140), b = __byte_perm(codes.z, codes.w, 0x5140);
        u32 c = __byte_perm(codes.x, codes.y, 0x7362), d = __byte_perm(codes.z, codes.w, 0x7362);
        u32 turned[4] = {__byte_perm(a, b, 0x5410), __byte_perm(a, b, 0x7632), __byte_perm(c, d, 0x5410),
                         __byte_perm(c, d, 0x7632)};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 row = 16 * block + 4 * four + i;
#if V_TYPE == 3
            store_8(half_at(values, row, 4 * word), halves_of<128>(turned[i] ^ 0x80808080));
#else
            store_8(half_at(values, row, 4 * word), halves_of<8>(turned[i] & 0x0f0f0f0f));
            store_8(half_at(values, row, DIM / 2 + 4 * word), halves_of<8>(turned[i] >> 4 & 0x0f0f0f0f));
#endif
        }
    }
}

#if FIT
// Waves of the 16 rows of a warp, as halves in the order of `a` of products: [WAVES / 32][row / 8][lane].
#define WAVE_BYTES (16 * WAVES * 2)

// Makes the waves of a warp's rows, of which `num_rows` are there, turned to the start of a span. Where a product adds the
// terms is free, so a lane has eight neighbours of a row, and those of a position.
__device__ __forceinline__ void turn_waves(u32 waves, const Fit& fit, u32 head, const float* rows, u32 num_rows, u32 span,
                                           int lane) {
    __syncwarp(); // those of the span before are done with
    for (int i = lane; i < 16 * (WAVES / 8); i += 32) {
        u32 row = i / (WAVES / 8), eight = i % (WAVES / 8), four[4] = {};
        const float* q = rows + (u64)row * NUM_HEADS * DIM;
        if (row < num_rows)
#pragma unroll
            for (int p = 0; p < 4; p++) {
                int j = 4 * eight + p;
                float2 wave = turned(wave_of(fit, head, q, j), turn_of(fit, span, j));
                four[p] = pair(wave.x / WAVE_UNIT, wave.y / WAVE_UNIT);
            }
        u32 at = (eight / 4 * 2 + row / 8) * 32 + row % 8 * 4 + eight % 4;
        store_16(waves + 16 * at, four[0], four[1], four[2], four[3]);
    }
    __syncwarp();
}

// Adds the mean's share to the scores of a warp's rows, tile by tile.
__device__ __forceinline__ void add_means(const Fit& fit, u32 tile, u32 waves, int lane, float score[KEYS / 8][4]) {
    const u16* near = fit.halves + (tile % SPAN + lane / 4) * TABLE_ROW + lane % 4 * 8;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int c = 0; c < 4; c++) score[n][c] /= WAVE_UNIT;
#pragma unroll
    for (int j = 0; j < WAVES / 32; j++) {
        uint4 a = load_16(waves + (j * 64 + lane) * 16), b = load_16(waves + (j * 64 + 32 + lane) * 16);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            uint4 at = *(const uint4*)(near + n * 8 * TABLE_ROW + 32 * j);
            mma(score[n], a.x, b.x, a.y, b.y, at.x, at.y);
            mma(score[n], a.z, b.z, a.w, b.w, at.z, at.w);
        }
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int c = 0; c < 4; c++) score[n][c] *= WAVE_UNIT;
}
#endif
