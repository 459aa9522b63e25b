// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for few rows of x and weights of 16-bit floats, bound by reading the weights. A
// warp computes two rows of weights; its first loads do not wait for x.
struct Args {
    const u8* weight;
    const float* bias;
    const float* x;
    float* out;
    u64 row_bytes;
    u32 n;
    u32 k; // a multiple of 8
    u32 num_rows;
};

#define ROWS 2
// Pieces of 8 values that a lane has on the way of each row.
#define AHEAD 4

__device__ __forceinline__ float2 floats(u32 pair) {
#if TYPE == BF16_
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000));
#else
    return halves_to_floats(pair);
#endif
}

template <int M> __device__ __forceinline__ void multiply(const Args& args) {
    u32 lane = threadIdx.x % 32, n = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * ROWS, first = blockIdx.y * M;
    u32 pieces = args.k / 8;
    const uint4* rows[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++) rows[i] = (const uint4*)(args.weight + (u64)min(n + i, args.n - 1) * args.row_bytes);
    uint4 w[ROWS][AHEAD];
    auto load = [&](u32 from) {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                u32 piece = from + 32 * j + lane;
                w[i][j] = piece < pieces ? rows[i][piece] : make_uint4(0, 0, 0, 0);
            }
    };
    load(0);
    wait_for_inputs();
    float sums[ROWS][M] = {};
    for (u32 from = 0; from < pieces; from += 32 * AHEAD) {
        if (from > 0) load(from);
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            u32 piece = from + 32 * j + lane;
            if (piece >= pieces) break;
#pragma unroll
            for (int r = 0; r < M; r++) {
                const float4* x = (const float4*)(args.x + (u64)min(first + r, args.num_rows - 1) * args.k) + 2 * piece;
                float4 low = x[0], high = x[1];
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    float2 a = floats(w[i][j].x), b = floats(w[i][j].y), c = floats(w[i][j].z), d = floats(w[i][j].w);
                    sums[i][r] += low.x * a.x + low.y * a.y + low.z * b.x + low.w * b.y + high.x * c.x + high.y * c.y +
                                  high.z * d.x + high.w * d.y;
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int r = 0; r < M; r++) {
            float sum = warp_sum(sums[i][r]);
            if (lane == 0 && n + i < args.n && first + r < args.num_rows)
                args.out[(u64)(first + r) * args.n + n + i] = sum + (args.bias ? args.bias[n + i] : 0.0f);
        }
}

extern "C" __global__ void __launch_bounds__(256) float_1(Args args) { multiply<1>(args); }
extern "C" __global__ void __launch_bounds__(256) float_2(Args args) { multiply<2>(args); }
extern "C" __global__ void __launch_bounds__(256) float_4(Args args) { multiply<4>(args); }
