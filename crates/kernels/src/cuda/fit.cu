// Keys fitted to their codes (`kv/fit.rs`): what they lose before they are stored, and what scores get back. FIT says whether
// they are, ROTARY how many of a key's leading values RoPE turns, ADJACENT which of them form a pair.
#define SPAN 128
#define HALF (ROTARY / 2)
// Pairs whose share of a score is a product: those that turn, and what does not as one more.
#define PAIRS (HALF + (ROTARY < DIM_K))
#define WAVES ((2 * PAIRS + 31) / 32 * 32)         // values of a query that cosines and sines are multiplied with
#define TABLE_ROW ((2 * HALF + 2 + 31) / 32 * 32) // of `halves`
// Waves are halves, in this unit: means of a key may be beyond what a half can hold.
#define WAVE_UNIT 256.0f

struct Fit {
    const float* heads; // [heads, 3, DIM_K]: means before RoPE, steps, 1 / step
    const float* near;  // [ROTARY, SPAN]: cosines, then sines
    const u16* halves;  // [SPAN, TABLE_ROW]: cosine and sine, pair by pair
    const float* far;   // [spans, ROTARY]: cosines, then sines, at the start of each span
};

__device__ __forceinline__ const float* means_of(const Fit& fit, u32 head) { return fit.heads + head * 3 * DIM_K; }
__device__ __forceinline__ const float* steps_of(const Fit& fit, u32 head) { return means_of(fit, head) + DIM_K; }

__device__ __forceinline__ int first_of_pair(int j) { return ADJACENT ? 2 * j : j; }
__device__ __forceinline__ int second_of_pair(int j) { return ADJACENT ? 2 * j + 1 : j + HALF; }

// Cosine and sine of a pair at a position, as `KeyFit::angle` has them, to the last bit.
__device__ __forceinline__ float2 angle_at(const Fit& fit, int j, u32 position) {
    const float *far = fit.far + (u64)(position / SPAN) * ROTARY, *near = fit.near + position % SPAN;
    float cosine = near[j * SPAN], sine = near[(HALF + j) * SPAN];
    return float2{__fsub_rn(__fmul_rn(far[j], cosine), __fmul_rn(far[HALF + j], sine)),
                  __fadd_rn(__fmul_rn(far[HALF + j], cosine), __fmul_rn(far[j], sine))};
}

// Leaves in `x` what is stored of a key, as `KeyFit::fitted`: all threads of a block together.
__device__ __forceinline__ void fit_key(const Fit& fit, u32 head, u32 position, const float* key, float* x) {
    const float *mean = means_of(fit, head), *inverse = mean + 2 * DIM_K;
    for (int j = threadIdx.x; j < HALF; j += blockDim.x) {
        int a = first_of_pair(j), b = second_of_pair(j);
        float first = mean[a], second = mean[b];
        if (first != 0 || second != 0) {
            float2 at = angle_at(fit, j, position);
            float turned = __fsub_rn(__fmul_rn(first, at.x), __fmul_rn(second, at.y));
            second = __fadd_rn(__fmul_rn(first, at.y), __fmul_rn(second, at.x));
            first = turned;
        }
        x[a] = __fmul_rn(__fsub_rn(key[a], first), inverse[a]);
        x[b] = __fmul_rn(__fsub_rn(key[b], second), inverse[b]);
    }
    for (int i = ROTARY + threadIdx.x; i < DIM_K; i += blockDim.x)
        x[i] = __fmul_rn(__fsub_rn(key[i], mean[i]), inverse[i]);
}

// What the cosine and the sine of pair j are multiplied with in the mean's share of a query's scores; 0 for no pair.
__device__ __forceinline__ float2 wave_of(const Fit& fit, u32 head, const float* q, int j) {
    const float* mean = means_of(fit, head);
    if (j < HALF) {
        int a = first_of_pair(j), b = second_of_pair(j);
        return float2{q[a] * mean[a] + q[b] * mean[b], q[b] * mean[a] - q[a] * mean[b]};
    }
    float rest = 0;
    if (j < PAIRS)
        for (int i = ROTARY; i < DIM_K; i++) rest += q[i] * mean[i];
    return float2{rest, 0};
}

// Cosine and sine of pair j at the start of a span.
__device__ __forceinline__ float2 turn_of(const Fit& fit, u32 span, int j) {
    const float* far = fit.far + (u64)span * ROTARY;
    return j < HALF ? float2{far[j], far[HALF + j]} : float2{1, 0};
}

// A wave turned to the start of a span.
__device__ __forceinline__ float2 turned(float2 wave, float2 turn) {
    return float2{wave.x * turn.x + wave.y * turn.y, wave.y * turn.x - wave.x * turn.y};
}
