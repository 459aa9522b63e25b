// Rows of floats as 16-bit floats: one whose values do not suit them is scaled by a power of two, which loses nothing.
// Within 32 columns they lie in the order of `half_column` (`mod.rs`). Comes after the prelude.

// Largest sizes that are left alone: products with weights of moderate size neither overflow nor vanish.
#define LEAST 0.0625f
#define MOST 16384.0f

// The power of two that a row is divided by. For all threads of a block, each with the largest size that it saw.
__device__ __forceinline__ int exponent_of_row(float largest) {
    __shared__ float largest_of[32];
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) largest_of[threadIdx.x / 32] = largest;
    __syncthreads();
    largest = warp_max(threadIdx.x % 32 < blockDim.x / 32 ? largest_of[threadIdx.x % 32] : 0.0f);
    bool scaled = isfinite(largest) && largest > 0 && !(largest >= LEAST && largest <= MOST);
    return scaled ? ilogbf(largest) : 0;
}

__device__ __forceinline__ float largest_of_four(float4 v) {
    return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
}

// Columns 4 `four` and on of a row; `row` is where its halves begin.
__device__ __forceinline__ void halve_four(float4 v, int exponent, u16* row, u32 four, const FaultPlace& fault) {
    float all[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (!(fabsf(all[i]) <= LARGEST_SOUND)) raise(fault, faults_of(all[i]));
    if (exponent != 0)
#pragma unroll
        for (int i = 0; i < 4; i++) all[i] = ldexpf(all[i], -exponent);
    u32 in_block = four % 8, t = in_block / 2, step = in_block % 2;
    u32* to = (u32*)(row + 32 * (four / 8) + 16 * step + 2 * t);
    to[0] = float_to_half(all[0]) | (u32)float_to_half(all[2]) << 16;
    to[4] = float_to_half(all[1]) | (u32)float_to_half(all[3]) << 16;
}
