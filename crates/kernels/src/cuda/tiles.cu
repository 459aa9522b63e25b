// Weights in tiles, see `tiles/mod.rs`. Comes after `blocks.cu`.

#define TILED 1
#define GROUPS 8
#define TILE 16

#if TYPE == IQ4_NL_ || TYPE == IQ4_XS_ || TYPE == MXFP4_
#define TABLE 1
#else
#define TABLE 0
#endif

// Bytes of a pair of groups: low and high bits.
#if TYPE == Q8_0_
#define LOW 1024
#else
#define LOW 512
#endif
#if TYPE == Q5_0_ || TYPE == Q5_1_ || TYPE == Q5_K_
#define HIGH 128
#elif TYPE == Q6_K_
#define HIGH 256
#else
#define HIGH 0
#endif

// Bytes of scales of a pair of groups.
#if TYPE == Q4_K_ || TYPE == Q5_K_
#define SCALE_BYTES 64
#elif TYPE == Q6_K_
#define SCALE_BYTES 72
#elif TYPE == IQ4_XS_ || TYPE == MXFP4_
#define SCALE_BYTES 32
#elif HAS_MINS
#define SCALE_BYTES 128
#else
#define SCALE_BYTES 64
#endif

// Columns of a block of the file.
#if TYPE == Q4_K_ || TYPE == Q5_K_ || TYPE == Q6_K_ || TYPE == IQ4_XS_
#define BLOCK_LEN 256
#else
#define BLOCK_LEN 32
#endif
// Bytes of a block of the file, for types whose block is a group.
#if TYPE == MXFP4_
#define BLOCK_BYTES 17
#else
#define BLOCK_BYTES ((LOW + HIGH + SCALE_BYTES) / 32)
#endif

#define PAIR_BYTES (LOW + HIGH + SCALE_BYTES)
#define CHUNK_BYTES (GROUPS / 2 * PAIR_BYTES)

// First column within its group of the four that `part` of lane t holds.
__device__ __forceinline__ int column_of(int t, int part) {
    return HALVES == 2 ? 16 * part + 4 * t : 8 * t + 4 * part;
}

__device__ __forceinline__ u64 tile_bytes(u32 k) { return (u64)((k + 63) / 64) * PAIR_BYTES; }

// Pairs of groups in chunk `chunk` of a row of `k` columns.
__device__ __forceinline__ u32 pairs_of(u32 k, u32 chunk) {
    u32 left = (k + 63) / 64 - GROUPS / 2 * chunk;
    return left < GROUPS / 2 ? left : GROUPS / 2;
}

// Row `r` of a tile of rows of `k` columns.
struct TileRow {
    const u8* tile;
    u32 k;
    u32 r;
};

__device__ __forceinline__ TileRow tile_row(const u8* tiles, u32 k, u32 n) {
    return TileRow{tiles + (n / TILE) * tile_bytes(k), k, n % TILE};
}

#if TYPE == Q4_K_ || TYPE == Q5_K_
// The fields of groups 6 and 7: the top bytes of three words.
__device__ __forceinline__ u32 last_fields(u32 a, u32 b, u32 c) {
    return __byte_perm(__byte_perm(a, b, 0x4473), c, 0x3710);
}
#endif

// Group `index` of a row, as `unpack` gives it of a row in the file.
__device__ __forceinline__ Chunk unpack(const TileRow& row, int index) {
    Chunk out;
    u32 chunk = index / GROUPS, pairs = pairs_of(row.k, chunk), in_chunk = index % GROUPS;
    u32 pair = in_chunk / 2, odd = index % 2, g = row.r % 8, high_row = row.r / 8;
    const u8* at = row.tile + (u64)chunk * CHUNK_BYTES;
#pragma unroll
    for (int t = 0; t < 4; t++)
#pragma unroll
        for (int part = 0; part < 2; part++) {
            u32 lane = 4 * g + t;
#if LOW == 1024
            u32 codes = ((const u32*)(at + pair * LOW + 512 * odd + 16 * lane + 8 * high_row))[part];
#else
            u32 codes = *(const u32*)(at + pair * LOW + 16 * lane + 8 * odd + 4 * high_row);
#if TABLE
            codes = codes >> 16 * part & 0xffff;
            codes = (codes | codes << 8) & 0x00ff00ff;
            codes = (codes | codes << 4) & 0x0f0f0f0f;
            codes = TYPE == MXFP4_ ? fp4_value(codes) : iq4_value(codes);
#else
            codes = codes >> 4 * part & 0x0f0f0f0f;
#endif
#if HIGH == 128
            codes |= (((const u32*)(at + pairs * LOW + pair * HIGH))[lane] >> (7 - 4 * odd - 2 * high_row - part) & 0x01010101) << 4;
#elif HIGH == 256
            codes |= (((const u32*)(at + pairs * LOW + pair * HIGH))[2 * lane + odd] >> (6 - 4 * high_row - 2 * part) & 0x03030303) << 4;
#endif
#endif
            out.codes[column_of(t, part) / 4] = codes ^ OFFSET * 0x01010101u;
        }
    const u8* scales = at + pairs * (LOW + HIGH);
#if TYPE == Q4_K_ || TYPE == Q5_K_
    const u32* words = (const u32*)scales + 4 * row.r;
    u32 both = in_chunk < 6 ? words[1 + pair] : last_fields(words[1], words[2], words[3]);
    both >>= 12 * odd;
    float2 d = halves_to_floats(words[0]);
    same_halves(out, __fmul_rn(d.x, both & 63), __fmul_rn(d.y, both >> 6 & 63));
#elif TYPE == Q6_K_
    float d = half_at(scales + 256 + 4 * g + 2 * high_row);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        out.scale[half] = __fmul_rn(d, (i8)scales[16 * row.r + 2 * in_chunk + half]);
        out.min[half] = 0;
    }
#elif TYPE == IQ4_XS_
    u64 word = *(const u64*)(scales + 8 * row.r);
    same_halves(out, __fmul_rn(half_to_float((u16)word), (int)(word >> (16 + 6 * in_chunk) & 63) - 32), 0);
#elif TYPE == MXFP4_
    u32 e = scales[16 * in_chunk + 2 * g + high_row];
    same_halves(out, __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0);
#elif HAS_MINS
    const u8* both = scales + 64 * in_chunk + 8 * g + 2 * high_row;
    same_halves(out, half_at(both), half_at(both + 4));
#else
    same_halves(out, half_at(scales + 32 * in_chunk + 4 * g + 2 * high_row), 0);
#endif
    return out;
}
