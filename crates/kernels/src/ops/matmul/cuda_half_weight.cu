// Rows of weights as halves, for a product by cuBLASLt. A block for 8 rows.
struct Args {
    const u8* weight;
    u16* out;
    u64 row_bytes;
    u32 n;
    u32 k;
};

#define ROWS 8u

extern "C" __global__ void __launch_bounds__(256) weight_to_half(Args args) {
    take_points();
    wait_for_inputs();
    u32 first = blockIdx.x * ROWS, rows = min(ROWS, args.n - first);
#if QUANTIZED
    u32 chunks = args.k / 32;
    for (u32 i = threadIdx.x; i < rows * chunks; i += blockDim.x) {
        u32 row = first + i / chunks, index = i % chunks;
        Chunk w = unpack(args.weight + row * args.row_bytes, index);
        uint4* to = (uint4*)(args.out + (u64)row * args.k + 32 * index);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 pairs[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                pairs[j] = floats_to_halves(chunk_value(w, 8 * i + 2 * j), chunk_value(w, 8 * i + 2 * j + 1));
            to[i] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
    }
#else
    for (u32 i = threadIdx.x; i < rows * args.k; i += blockDim.x) {
        u32 row = first + i / args.k;
        args.out[(u64)row * args.k + i % args.k] = float_to_half(plain_value(args.weight + row * args.row_bytes, i % args.k));
    }
#endif
}
