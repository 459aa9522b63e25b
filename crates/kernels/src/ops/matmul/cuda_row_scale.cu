// Rows of activations as halves: one whose values do not suit halves is scaled by a power of two, which loses nothing.
// Put before `cuda_half.cu` and `tiles/x_halves.cu`.

// Largest sizes that are left alone: products with weights of moderate size neither overflow nor vanish.
#define LEAST 0.0625f
#define MOST 16384.0f

// The power of two that a row is divided by. For all threads of a block of 256, each with the largest size that it saw.
__device__ __forceinline__ int exponent_of_row(float largest) {
    __shared__ float largest_of[8];
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0) largest_of[threadIdx.x / 32] = largest;
    __syncthreads();
    for (int warp = 0; warp < blockDim.x / 32; warp++) largest = fmaxf(largest, largest_of[warp]);
    bool scaled = isfinite(largest) && largest > 0 && !(largest >= LEAST && largest <= MOST);
    return scaled ? ilogbf(largest) : 0;
}
