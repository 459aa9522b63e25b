// What all kernels share: numbers of fixed size, half precision, sums over a warp, the note of what went wrong.
// Compiled by NVRTC, so there are no headers: what is needed of them stands here.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define FULL 0xffffffffu
#define INFINITY_F __int_as_float(0x7f800000)
#define NAN_F __int_as_float(0x7fc00000)

// A kernel may start while the one before it still runs; it must not touch what kernels of this step write before it
// has waited. No effect unless it was launched so. Every kernel waits, so that what ran before the one before is done.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void wait_for_inputs() {
    let_next_start();
    wait();
}

// What kernels notice (`fault.rs`): bits of NaN, Inf, a scale out of range.
#define FAULT_NAN 1
#define FAULT_INF 2
#define FAULT_SCALE 4
#define LARGEST_SOUND 1.8446743e19f

struct FaultPlace {
    u64* word;
    u64 step;
};

// The least word stays: the first step that found something.
__device__ __forceinline__ void raise(const FaultPlace& place, u32 bits) {
    if (place.word) atomicMin(place.word, place.step << 32 | bits);
}

__device__ __forceinline__ u32 faults_of(double value) {
    return isnan(value) ? FAULT_NAN : isinf(value) ? FAULT_INF : FAULT_SCALE;
}

#ifndef EMULATED
__device__ __forceinline__ float half_to_float(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ u16 nearest_half(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

// Nearest, ties to even; a NaN keeps its sign and the top of its payload, as on the CPU.
__device__ __forceinline__ u16 float_to_half(float value) {
    if (isnan(value)) {
        u32 bits = __float_as_uint(value);
        return (bits >> 16 & 0x8000) | 0x7e00 | (bits >> 13 & 0x3ff);
    }
    return nearest_half(value);
}

// The same for the upper half of a float.
__device__ __forceinline__ u16 float_to_bf16(float value) {
    u32 bits = __float_as_uint(value);
    if (isnan(value)) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

__device__ __forceinline__ float bf16_to_float(u16 bits) { return __uint_as_float((u32)bits << 16); }

// Two halves, the first in the low word.
__device__ __forceinline__ float2 halves_to_floats(u32 pair) {
    return make_float2(half_to_float((u16)pair), half_to_float((u16)(pair >> 16)));
}

__device__ __forceinline__ u32 floats_to_halves(float low, float high) {
    return nearest_half(low) | (u32)nearest_half(high) << 16;
}

// Every lane gets the sum (largest) over the warp.
template <typename T> __device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(FULL, value, lane);
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) value = fmaxf(value, __shfl_xor_sync(FULL, value, lane));
    return value;
}
