// Rows of weights as halves, for a product by cuBLASLt. A block per row.
struct Args {
    const u8* weight;
    u16* out;
    u64 row_bytes;
    u32 k;
};

extern "C" __global__ void __launch_bounds__(128) weight_to_half(Args args) {
    wait_for_inputs();
    const u8* row = args.weight + blockIdx.x * args.row_bytes;
    u16* out = args.out + (u64)blockIdx.x * args.k;
#if QUANTIZED
    for (u32 index = threadIdx.x; index < args.k / 32; index += blockDim.x) {
        Chunk w = unpack(row, index);
        uint4* to = (uint4*)(out + 32 * index);
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
    for (u32 i = threadIdx.x; i < args.k; i += blockDim.x) out[i] = float_to_half(plain_value(row, i));
#endif
}
