// Rows of the embedding table as numbers: a block per token, in chunks of 32 values where the table is quantised.
struct Args {
    const u32* tokens;
    const u8* table;
    float* out;
    u64 row_bytes;
    u32 width;
    float scale;
};

extern "C" __global__ void __launch_bounds__(128) embed(Args args) {
    take_points();
    wait_for_inputs();
#ifdef TILED
    TileRow row = tile_row(args.table, args.width, args.tokens[blockIdx.x]);
#else
    const u8* row = args.table + args.tokens[blockIdx.x] * args.row_bytes;
#endif
    float* out = args.out + (u64)blockIdx.x * args.width;
#if QUANTIZED
    for (u32 index = threadIdx.x; index < args.width / 32; index += blockDim.x) {
        Chunk chunk = unpack(row, index);
#pragma unroll
        for (int i = 0; i < 32; i++) out[32 * index + i] = __fmul_rn(chunk_value(chunk, i), args.scale);
    }
#else
    for (u32 i = threadIdx.x; i < args.width; i += blockDim.x) out[i] = __fmul_rn(plain_value(row, i), args.scale);
#endif
}
