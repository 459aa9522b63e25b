// From the blocks of the file to tiles: a warp per chunk. Rows and groups that are not there become zeros.
struct Args {
    const u8* rows;
    u8* tiles;
    u64 row_bytes;
    u32 n;
    u32 k;
};

// Codes of a group as they are stored: before the table, and with their offset taken away.
__device__ __forceinline__ void stored_codes(const u8* row, u32 group, u32 codes[8]) {
#if TYPE == IQ4_NL_
    nibbles(row + (u64)group * 18 + 2, codes);
#elif TYPE == IQ4_XS_
    nibbles(row + (u64)(group / 8) * 136 + 8 + 16 * (group % 8), codes);
#elif TYPE == MXFP4_
    nibbles(row + (u64)group * 17 + 1, codes);
#else
    Chunk chunk = unpack(row, group);
#pragma unroll
    for (int i = 0; i < 8; i++) codes[i] = chunk.codes[i] ^ OFFSET * 0x01010101u;
#endif
}

__device__ __forceinline__ u16 half_bits(const u8* at) { return *(const u16*)at; }

__device__ __forceinline__ void pack_scales(const Args& args, u32 tile, u32 chunk, u32 pairs, u8* to, u32 lane) {
#if TYPE == Q4_K_ || TYPE == Q5_K_
    u32 n = TILE * tile + lane;
    if (lane >= TILE) return;
    u32 words[4] = {};
    if (n < args.n) {
        const u8* block = args.rows + n * args.row_bytes + (u64)chunk * (TYPE == Q4_K_ ? 144 : 176);
        words[0] = *(const u32*)block;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            u32 scale, min;
            scale_and_min(block + 4, g, scale, min);
            u32 both = scale | min << 6;
            if (g < 6)
                words[1 + g / 2] |= both << 12 * (g % 2);
            else
                for (int bit = 0; bit < 12; bit++) {
                    int to_bit = bit + 12 * (g - 6);
                    words[1 + to_bit / 8] |= (both >> bit & 1) << (24 + to_bit % 8);
                }
        }
    }
    *(uint4*)(to + 16 * lane) = make_uint4(words[0], words[1], words[2], words[3]);
#elif TYPE == Q6_K_
    u32 n = TILE * tile + lane;
    if (lane >= TILE) return;
    const u8* block = args.rows + n * args.row_bytes + (u64)chunk * 210;
    for (int i = 0; i < 16; i++) to[16 * lane + i] = n < args.n ? block[192 + i] : 0;
    *(u16*)(to + 256 + 4 * (lane % 8) + 2 * (lane / 8)) = n < args.n ? half_bits(block + 208) : 0;
#elif TYPE == IQ4_XS_
    u32 n = TILE * tile + lane;
    if (lane >= TILE) return;
    u64 word = 0;
    if (n < args.n) {
        const u8* block = args.rows + n * args.row_bytes + (u64)chunk * 136;
        u32 high = half_bits(block + 2);
        word = half_bits(block);
        for (int g = 0; g < GROUPS; g++)
            word |= (u64)((block[4 + g / 2] >> 4 * (g % 2) & 15) | (high >> 2 * g & 3) << 4) << (16 + 6 * g);
    }
    *(u64*)(to + 8 * lane) = word;
#else
    // A lane per row and group of a pair.
    u32 r = lane % TILE, n = TILE * tile + r, g = r % 8, row = r / 8;
    for (u32 pair = 0; pair < pairs; pair++) {
        u32 in_chunk = 2 * pair + lane / TILE, group = GROUPS * chunk + in_chunk;
        bool there = n < args.n && group < args.k / 32;
        const u8* block = args.rows + n * args.row_bytes + (u64)group * BLOCK_BYTES;
#if TYPE == MXFP4_
        to[in_chunk * 16 + 2 * g + row] = there ? block[0] : 0;
#else
        u16* at = (u16*)to + in_chunk * (HAS_MINS ? 32 : 16) + g * (HAS_MINS ? 4 : 2) + row;
        at[0] = there ? half_bits(block) : 0;
        if (HAS_MINS) at[2] = there ? half_bits(block + 2) ^ 0x8000 : 0; // the file has what is added
#endif
    }
#endif
}

extern "C" __global__ void __launch_bounds__(128) pack(Args args) {
    wait_for_inputs();
    u32 chunks = (args.k + 255) / 256, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    u64 index = (u64)blockIdx.x * 4 + threadIdx.x / 32;
    u32 tile = index / chunks, chunk = index % chunks;
    if (tile >= (args.n + TILE - 1) / TILE) return;
    u32 pairs = pairs_of(args.k, chunk);
    u8* to = args.tiles + tile * tile_bytes(args.k) + (u64)chunk * CHUNK_BYTES;
    for (u32 pair = 0; pair < pairs; pair++) {
        u32 low[8], fifth = 0, high[2] = {0, 0}; // low: [group][row][part]
#pragma unroll
        for (int which = 0; which < 4; which++) {
            u32 in_pair = which / 2, row = which % 2;
            u32 group = GROUPS * chunk + 2 * pair + in_pair, n = TILE * tile + g + 8 * row;
            u32 codes[8] = {}, parts[2];
            if (n < args.n && group < args.k / 32) stored_codes(args.rows + n * args.row_bytes, group, codes);
#pragma unroll
            for (int part = 0; part < 2; part++) {
                parts[part] = 0;
#pragma unroll
                for (int i = 0; i < 8; i++)
                    if (i == column_of(t, part) / 4) parts[part] = codes[i];
                low[2 * which + part] = parts[part];
                fifth |= (parts[part] >> 4 & 0x01010101) << (7 - (4 * in_pair + 2 * row + part));
                high[in_pair] |= (parts[part] >> 4 & 0x03030303) << (6 - 2 * (2 * row + part));
            }
        }
        uint4* at = (uint4*)(to + pair * LOW) + lane;
#if LOW == 1024
        at[0] = make_uint4(low[0], low[1], low[2], low[3]);
        at[32] = make_uint4(low[4], low[5], low[6], low[7]);
#else
        u32 words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 first = low[2 * i] & 0x0f0f0f0f, second = low[2 * i + 1] & 0x0f0f0f0f;
            words[i] = first | second << 4;
#if TABLE
            // Bytes a b c d become nibbles in this order.
            first = (first | first >> 4) & 0x00ff00ff, second = (second | second >> 4) & 0x00ff00ff;
            words[i] = ((first | first >> 8) & 0xffff) | (second | second >> 8) << 16;
#endif
        }
        at[0] = make_uint4(words[0], words[1], words[2], words[3]);
#endif
#if HIGH == 128
        ((u32*)(to + pairs * LOW + pair * HIGH))[lane] = fifth;
#elif HIGH == 256
        ((uint2*)(to + pairs * LOW + pair * HIGH))[lane] = make_uint2(high[0], high[1]);
#endif
    }
    pack_scales(args, tile, chunk, pairs, to + pairs * (LOW + HIGH), lane);
}
