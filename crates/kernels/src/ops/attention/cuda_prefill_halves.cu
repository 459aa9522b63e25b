// Tiles of a cache of halves for `cuda_prefill.cu`: pieces are copied to where they are used, the next tile's while this one's
// are computed with.
#define STAGES 2

// Where a thread finds its pieces of a tile, copy by copy. Where as many rows are copied at a time as half of a block
// has, two copies in turn are from one block.
#define COPIES (KEYS * PIECES / THREADS)
#define IN_BLOCK (THREADS / PIECES == 8 ? 2 : 1)
struct Sources {
    u32 block[COPIES / IN_BLOCK];
};

// Looks the blocks of a tile up. Tiles begin where blocks do; in place of blocks that are no longer held the first that is.
__device__ __forceinline__ void find(Sources& sources, const Kv& kv, const KvView& view, u32 head, u32 tile, u32 held,
                                     u32 end) {
#pragma unroll
    for (int i = 0; i < COPIES / IN_BLOCK; i++) {
        u32 position = max(held, min(tile + (threadIdx.x + i * IN_BLOCK * THREADS) / PIECES, end - 1));
        sources.block[i] = physical_block(kv, view, head, position);
    }
}

// Sends for the keys and the values of a tile.
__device__ __forceinline__ void send_for(u32 keys, u32 values, const Kv& kv, const Sources& sources, u32 tile, u32 end) {
#pragma unroll
    for (int which = 0; which < 2; which++)
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            int number = threadIdx.x + i * THREADS, key = number / PIECES, piece = number % PIECES;
            const u8* block = kv.storage + sources.block[i / IN_BLOCK] * BLOCK_BYTES;
            const u8* from = block + ((which * 16 + key % 16) * DIM + 8 * piece) * 2;
            copy_16((which ? values : keys) + place(key, piece), from, tile + key < end);
        }
    copies_sent();
}
