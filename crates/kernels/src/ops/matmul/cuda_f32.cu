// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) in f32: the exact plan's form, and that of weights that are no codes.
// A warp per row of weights and four rows of activations.
struct Args {
    const u8* weight;
    const float* bias;
    const float* x;
    float* out;
    u64 row_bytes;
    u32 n;
    u32 k;
    u32 num_rows;
};

#define ROWS 4

extern "C" __global__ void __launch_bounds__(128) dot_f32(Args args) {
    u32 n = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * ROWS;
    take_points();
    wait_for_inputs();
    if (n >= args.n) return;
#ifdef TILED
    TileRow weights = tile_row(args.weight, args.k, n);
#else
    const u8* weights = args.weight + n * args.row_bytes;
#endif
    float sums[ROWS] = {};
#if QUANTIZED
    for (u32 index = lane; index < args.k / 32; index += 32) {
        Chunk w = unpack(weights, index);
        float values[32];
#pragma unroll
        for (int i = 0; i < 32; i++) values[i] = chunk_value(w, i);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= args.num_rows) break;
            const float4* x = (const float4*)(args.x + (u64)(first + r) * args.k + 32 * index);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float4 four = x[i];
                sums[r] += four.x * values[4 * i] + four.y * values[4 * i + 1] + four.z * values[4 * i + 2] +
                           four.w * values[4 * i + 3];
            }
        }
    }
#else
    for (u32 i = lane; i < args.k; i += 32) {
        float value = plain_value(weights, i);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= args.num_rows) break;
            sums[r] += args.x[(u64)(first + r) * args.k + i] * value;
        }
    }
#endif
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float sum = warp_sum(sums[r]);
        if (lane == 0 && first + r < args.num_rows)
            args.out[(u64)(first + r) * args.n + n] = sum + (args.bias ? args.bias[n] : 0.0f);
    }
}
