// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for few rows of int8 activations: a lane multiplies strips of 32 columns of N rows
// of weights with M rows of activations; `1 << split` warps share the columns. What is read of either serves all rows of the
// other, and a lane's first weights do not wait for x.
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
    u32 split;
};

#define WARPS 8

__device__ __forceinline__ float product(const Strip& w, const Activations& x) {
    float sum = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        int dot = -OFFSET * x.sums[part];
#pragma unroll
        for (int i = 0; i < PART_WORDS; i++)
            dot = __dp4a((int)codes_of(w, part, i), x.codes[PART_WORDS * part + i], dot);
        float value = scale_of(w, part) * (float)dot;
        if (HAS_MINS) value -= min_of(w, part) * (float)x.sums[part];
        sum += x.scale[part] * value;
    }
    return sum;
}

template <int M, int N> __device__ __forceinline__ void dot(const Args& args) {
    __shared__ float parts[WARPS][M * N];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, split = 1 << args.split, part = warp % split;
    u32 n = ((blockIdx.x * WARPS + warp) >> args.split) * N, first = blockIdx.y * M, strips = args.k / 32;
    let_next_start();
    take_points();
    Strip w[N];
    auto load = [&](u32 index) {
#pragma unroll
        for (int i = 0; i < N; i++) w[i] = strip(args.weight + min(n + i, args.n - 1) * args.row_bytes, index);
    };
    u32 begin = 32 * part + lane;
    if (begin < strips) load(begin);
    wait();
    float sums[M][N] = {};
    for (u32 index = begin; index < strips; index += 32 * split) {
        if (index != begin) load(index);
#pragma unroll
        for (int r = 0; r < M; r++) {
            if (first + r >= args.num_rows) break;
            Activations x = activations(args.x + (first + r) * args.x_row_bytes, args.k, index);
#pragma unroll
            for (int i = 0; i < N; i++) sums[r][i] += product(w[i], x);
        }
    }
#pragma unroll
    for (int r = 0; r < M; r++)
#pragma unroll
        for (int i = 0; i < N; i++) {
            float sum = warp_sum(sums[r][i]);
            if (lane == 0) parts[warp][r * N + i] = sum;
        }
    __syncthreads();
    u32 r = first + lane / N, i = n + lane % N;
    if (part > 0 || lane >= M * N || r >= args.num_rows || i >= args.n) return;
    float sum = args.bias ? args.bias[i] : 0.0f;
    for (u32 p = 0; p < split; p++) sum += parts[warp + p][lane];
    args.out[(u64)r * args.n + i] = sum;
}

// Rows of activations, rows of weights.
extern "C" __global__ void __launch_bounds__(256) dot_1_1(Args args) { dot<1, 1>(args); }
extern "C" __global__ void __launch_bounds__(256) dot_1_4(Args args) { dot<1, 4>(args); }
extern "C" __global__ void __launch_bounds__(256) dot_2_4(Args args) { dot<2, 4>(args); }
extern "C" __global__ void __launch_bounds__(256) dot_4_2(Args args) { dot<4, 2>(args); }
extern "C" __global__ void __launch_bounds__(256) dot_8_2(Args args) { dot<8, 2>(args); }
