// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for few rows of int8 activations: a warp per row of weights, a lane per
// chunk of 32 columns. Weights are read once for up to 8 rows of activations.
struct Args {
    const u8* weight;
    const float* bias;
    const u8* x;
    float* out;
    u64 row_bytes;
    u64 x_row_bytes;
    u32 n;
    u32 k;
    u32 num_rows;
};

template <int ROWS> __device__ __forceinline__ void dot(const Args& args) {
    u32 n = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * ROWS;
    wait_for_inputs();
    if (n >= args.n) return;
    const u8* weights = args.weight + n * args.row_bytes;
    float sums[ROWS] = {};
    for (u32 index = lane; index < args.k / 32; index += 32) {
        Chunk w = unpack(weights, index);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= args.num_rows) break;
            const u8* x = args.x + (first + r) * args.x_row_bytes;
            const int4* codes = (const int4*)(x + 32 * index);
            int4 left = codes[0], right = codes[1];
            float scale = ((const float*)(x + args.k))[index];
            short2 code_sums = ((const short2*)(x + args.k + args.k / 8))[index];
            int dots[2] = {0, 0}, totals[2] = {code_sums.x, code_sums.y};
            int a[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
            for (int i = 0; i < 8; i++) dots[i / 4] = __dp4a((int)w.codes[i], a[i], dots[i / 4]);
            if (HALVES == 1) {
                dots[0] += dots[1];
                totals[0] += totals[1];
            }
            float value = 0;
#pragma unroll
            for (int half = 0; half < HALVES; half++) {
                value += w.scale[half] * (float)(dots[half] - OFFSET * totals[half]);
                if (HAS_MINS) value -= w.min[half] * (float)totals[half];
            }
            sums[r] += scale * value;
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float sum = warp_sum(sums[r]);
        if (lane == 0 && first + r < args.num_rows)
            args.out[(u64)(first + r) * args.n + n] = sum + (args.bias ? args.bias[n] : 0.0f);
    }
}

extern "C" __global__ void __launch_bounds__(128) dot_1(Args args) { dot<1>(args); }
extern "C" __global__ void __launch_bounds__(128) dot_2(Args args) { dot<2>(args); }
extern "C" __global__ void __launch_bounds__(128) dot_4(Args args) { dot<4>(args); }
extern "C" __global__ void __launch_bounds__(128) dot_8(Args args) { dot<8>(args); }
