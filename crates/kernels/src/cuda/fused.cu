// Steps that follow one another as one kernel: what one leaves the next takes from registers. Values are those of the
// kernels one by one (`norm`, `quantize`, `glu`, `rope`, `kv_store`).

// Four neighbours of a row as int8 codes, with their part of the scale and of the sums; eight lanes have a block of 32.
__device__ __forceinline__ void quantize_four(float4 v, u8* row, u32 width, u32 four, bool there,
                                              const FaultPlace& fault) {
    float all[4] = {v.x, v.y, v.z, v.w}, largest = 0;
    bool finite = true;
#pragma unroll
    for (int i = 0; i < 4; i++) largest = fmaxf(largest, fabsf(all[i])), finite &= (bool)isfinite(all[i]);
    int broken = !finite;
#pragma unroll
    for (int other = 4; other > 0; other /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(FULL, largest, other));
        broken |= __shfl_xor_sync(FULL, broken, other);
    }
    float inverse = __fdiv_rn(127.0f, largest), scale = __fdiv_rn(largest, 127.0f);
    if (broken || !isfinite(inverse)) {
        inverse = 0;
        scale = broken ? NAN_F : 0.0f;
    }
    u32 codes = 0;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int code = inverse == 0 ? 0 : __float2int_rn(__fmul_rn(all[i], inverse));
        code = max(-128, min(127, code));
        codes |= (u32)(u8)code << 8 * i;
        sum += code;
    }
    sum += __shfl_xor_sync(FULL, sum, 1);
    sum += __shfl_xor_sync(FULL, sum, 2);
    if (!there) return;
    ((u32*)row)[four] = codes;
    if (four % 4 == 0) ((i16*)(row + width + width / 8))[four / 4] = (i16)sum;
    if (four % 8 == 0) ((float*)(row + width))[four / 8] = scale;
    if (!broken && largest <= LARGEST_SOUND) return;
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (!(fabsf(all[i]) <= LARGEST_SOUND)) raise(fault, faults_of(all[i]));
}

// --- x += y; out = norm(x); codes of out -------------------------------------------------------------------------

struct NormArgs {
    float* x;
    const float* y; // null: nothing is added
    const float* weight;
    float* out;
    u8* codes; // null: no codes are wanted
    float* factors; // null: codes are int8; else they are halves
    u64 row_bytes;
    FaultPlace norm_fault, code_fault;
    u32 width;
    float eps;
};

// A row as halves, by the threads of a block: thread i has FOURS fours of it, blockDim.x apart.
template <int FOURS> __device__ __forceinline__ void halve_row(const float4 value[FOURS], u8* codes, float* factors, u64 row,
                                                               u32 width, const FaultPlace& fault) {
    float largest = 0;
#pragma unroll
    for (int i = 0; i < FOURS; i++) largest = fmaxf(largest, largest_of_four(value[i]));
    int exponent = exponent_of_row(largest);
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        if (at < width / 4) halve_four(value[i], exponent, (u16*)codes + row * width, at, fault);
    }
    if (threadIdx.x == 0) factors[row] = ldexpf(1.0f, exponent);
}

template <int FOURS> __device__ __forceinline__ void norm_fours(const NormArgs& args) {
    __shared__ double sums[32];
    u32 fours = args.width / 4;
    float4 w[FOURS], value[FOURS];
    let_next_start();
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        w[i] = at < fours ? ((const float4*)args.weight)[at] : float4{0, 0, 0, 0};
    }
    wait();
    float4* x = (float4*)(args.x + (u64)blockIdx.x * args.width);
    const float4* y = (const float4*)(args.y + (u64)blockIdx.x * args.width);
    double sum = 0;
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        float4 v = at < fours ? x[at] : float4{0, 0, 0, 0};
        if (args.y && at < fours) {
            float4 more = y[at];
            v = float4{v.x + more.x, v.y + more.y, v.z + more.z, v.w + more.w};
            x[at] = v;
        }
        value[i] = v;
        double low = (double)v.x * v.x + (double)v.y * v.y;
        sum += low + ((double)v.z * v.z + (double)v.w * v.w);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? sums[threadIdx.x % 32] : 0.0);
    double mean = sum / args.width;
    bool sound = mean <= 3.4028234663852886e38 && mean + args.eps > 0;
    if (threadIdx.x == 0 && !sound) raise(args.norm_fault, faults_of(mean));
    float scale = (float)(1.0 / sqrt(mean + args.eps));
    float4* out = (float4*)(args.out + (u64)blockIdx.x * args.width);
#pragma unroll
    for (int i = 0; i < FOURS; i++) {
        u32 at = threadIdx.x + i * blockDim.x;
        float4 v = value[i];
        v = float4{v.x * scale * w[i].x, v.y * scale * w[i].y, v.z * scale * w[i].z, v.w * scale * w[i].w};
        if (at < fours) out[at] = v;
        if (args.codes && !args.factors)
            quantize_four(v, args.codes + blockIdx.x * args.row_bytes, args.width, at, at < fours, args.code_fault);
        value[i] = v;
    }
    if (args.factors) halve_row<FOURS>(value, args.codes, args.factors, blockIdx.x, args.width, args.code_fault);
}

extern "C" __global__ void __launch_bounds__(1024) norm_1(NormArgs args) { norm_fours<1>(args); }
extern "C" __global__ void __launch_bounds__(1024) norm_2(NormArgs args) { norm_fours<2>(args); }

// --- codes of act(gate) * up -------------------------------------------------------------------------------------

struct GluArgs {
    const float* gate;
    const float* up;
    float* out;
    u8* codes;
    float* factors; // null: codes are int8; else they are halves
    u64 row_bytes;
    FaultPlace code_fault;
    u32 width;
    u32 gelu_tanh;
};

__device__ __forceinline__ float glu_of(float x, float up, bool gelu_tanh) {
    float y = gelu_tanh ? 1.5957691216057308f * (x + 0.044715f * x * x * x) : x;
    return x / (1.0f + expf(-y)) * up;
}

// Four neighbours of row `row`, left in `out`; zeros behind its end.
__device__ __forceinline__ float4 glu_four(const GluArgs& args, u64 row, u32 four) {
    u32 fours = args.width / 4;
    u64 at = row * fours + four;
    if (four >= fours) return float4{0, 0, 0, 0};
    float4 g = ((const float4*)args.gate)[at], u = ((const float4*)args.up)[at];
    bool gelu_tanh = args.gelu_tanh;
    float4 v = float4{glu_of(g.x, u.x, gelu_tanh), glu_of(g.y, u.y, gelu_tanh), glu_of(g.z, u.z, gelu_tanh),
                      glu_of(g.w, u.w, gelu_tanh)};
    ((float4*)args.out)[at] = v;
    return v;
}

// A row per block: what it is divided by depends on all of it.
template <int FOURS> __device__ __forceinline__ void glu_row(const GluArgs& args) {
    float4 value[FOURS];
    wait_for_inputs();
#pragma unroll
    for (int i = 0; i < FOURS; i++) value[i] = glu_four(args, blockIdx.x, threadIdx.x + i * blockDim.x);
    halve_row<FOURS>(value, args.codes, args.factors, blockIdx.x, args.width, args.code_fault);
}

extern "C" __global__ void __launch_bounds__(1024) glu_half_2(GluArgs args) { glu_row<2>(args); }
extern "C" __global__ void __launch_bounds__(1024) glu_half_4(GluArgs args) { glu_row<4>(args); }
extern "C" __global__ void __launch_bounds__(1024) glu_half_8(GluArgs args) { glu_row<8>(args); }

// A row per blockIdx.y.
extern "C" __global__ void __launch_bounds__(256) glu(GluArgs args) {
    wait_for_inputs();
    u32 four = blockIdx.x * blockDim.x + threadIdx.x;
    bool there = four < args.width / 4;
    float4 v = glu_four(args, blockIdx.y, four);
    quantize_four(v, args.codes + blockIdx.y * args.row_bytes, args.width, four, there, args.code_fault);
}
