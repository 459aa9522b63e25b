// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for few rows of x and weights of 16-bit floats, bound by reading the weights. A
// warp computes two rows of weights, or its share of their columns; its first loads do not wait for x. Up to three matrices
// stand behind one another.
struct Matrix {
    const u8* weight;
    const float* bias;
    float* out;
    u32 n; // zero: there is none
    u32 first_block;
};
struct Args {
    Matrix matrices[3];
    const float* x;
    u64 row_bytes;
    u32 k; // a multiple of 8
    u32 num_rows;
    u32 split;        // warps that share rows of weights, as a power of two
    u32 share_pieces; // of each of them
};

#define WARPS 8
#define ROWS 2
// Pieces of 8 values that a lane asks for of each row at one time.
#define AHEAD 4
#define HALF (32 * AHEAD)

__device__ __forceinline__ float2 floats(u32 pair) {
#if TYPE == BF16_
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000));
#else
    return halves_to_floats(pair);
#endif
}

template <int M> __device__ __forceinline__ void multiply(const Args& args) {
    Matrix matrix = args.matrices[0];
#pragma unroll
    for (int i = 1; i < 3; i++)
        if (blockIdx.x >= args.matrices[i].first_block) matrix = args.matrices[i];
    u32 block = blockIdx.x - matrix.first_block, first = blockIdx.y * M;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, num_shares = 1 << args.split, share = warp % num_shares;
    u32 n = (block * (WARPS >> args.split) + (warp >> args.split)) * ROWS;
    u32 begin = share * args.share_pieces, end = min(begin + args.share_pieces, args.k / 8);
    const uint4* rows[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        rows[i] = (const uint4*)(matrix.weight + (u64)min(n + i, matrix.n - 1) * args.row_bytes);
    uint4 w[2][ROWS][AHEAD]; // one half is on its way while the other is computed with
    auto load = [&](uint4 half[ROWS][AHEAD], u32 from) {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                u32 piece = from + 32 * j + lane;
                half[i][j] = piece < end ? rows[i][piece] : make_uint4(0, 0, 0, 0);
            }
    };
    float sums[ROWS][M] = {};
    auto add = [&](const uint4 half[ROWS][AHEAD], u32 from) {
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            u32 piece = from + 32 * j + lane;
            if (piece >= end) break;
#pragma unroll
            for (int r = 0; r < M; r++) {
                const float4* x = (const float4*)(args.x + (u64)min(first + r, args.num_rows - 1) * args.k) + 2 * piece;
                float4 low = x[0], high = x[1];
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    uint4 eight = half[i][j];
                    float2 a = floats(eight.x), b = floats(eight.y), c = floats(eight.z), d = floats(eight.w);
                    sums[i][r] += low.x * a.x + low.y * a.y + low.z * b.x + low.w * b.y + high.x * c.x + high.y * c.y +
                                  high.z * d.x + high.w * d.y;
                }
            }
        }
    };
    load(w[0], begin);
    load(w[1], begin + HALF);
    wait_for_inputs();
    for (u32 from = begin; from < end; from += 2 * HALF) {
        add(w[0], from);
        load(w[0], from + 2 * HALF);
        add(w[1], from + HALF);
        load(w[1], from + 3 * HALF);
    }
    __shared__ float shares[WARPS][ROWS][M];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int r = 0; r < M; r++) {
            sums[i][r] = warp_sum(sums[i][r]);
            if (lane == 0) shares[warp][i][r] = sums[i][r];
        }
    if (num_shares > 1) __syncthreads();
    if (lane > 0 || share > 0) return;
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int r = 0; r < M; r++) {
            float sum = sums[i][r];
            for (u32 other = 1; other < num_shares; other++) sum += shares[warp + other][i][r];
            if (n + i < matrix.n && first + r < args.num_rows)
                matrix.out[(u64)(first + r) * matrix.n + n + i] = sum + (matrix.bias ? matrix.bias[n + i] : 0.0f);
        }
}

extern "C" __global__ void __launch_bounds__(256) float_1(Args args) { multiply<1>(args); }
extern "C" __global__ void __launch_bounds__(256) float_2(Args args) { multiply<2>(args); }
extern "C" __global__ void __launch_bounds__(256) float_4(Args args) { multiply<4>(args); }
