// CUDA C++ as plain C++ for x86-64: a block's threads are coroutines on one CPU thread that change where threads of a
// GPU would wait for each other. Slow, but the index arithmetic, the exchange between lanes and the barriers are those
// of the kernel; lanes that part where they must be together are an error. Prepended to a source by `emulator.rs`.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>

#define EMULATED 1
#define __device__
#define __forceinline__ inline
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct int4 { int x, y, z, w; };
struct uint4 { unsigned x, y, z, w; };
struct short2 { short x, y; };
struct uint2 { unsigned x, y; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static dim3 threadIdx, blockIdx, blockDim, gridDim;

// --- coroutines -------------------------------------------------------------------------------------------------

enum Waits { NOT, FOR_WARP, FOR_BLOCK, FOR_EVER };
struct Thread {
    void* stack_pointer;
    Waits waits;
    unsigned num_exchanges;
};
static const unsigned MOST_THREADS = 1024, STACK_BYTES = 64 << 10;
static Thread threads[MOST_THREADS];
static char* stacks;
static void* scheduler_pointer;
static unsigned current;
static uint64_t exchanged[MOST_THREADS / 32][2][32];
static void (*body)();

extern "C" void switch_stacks(void** save, void* load);
asm(R"(
    .text
    .type switch_stacks, @function
switch_stacks:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
)");

static void wait(Waits what) {
    threads[current].waits = what;
    switch_stacks(&threads[current].stack_pointer, scheduler_pointer);
}
static void run_thread() {
    body();
    wait(FOR_EVER);
    abort();
}

static inline void __syncthreads() { wait(FOR_BLOCK); }
static uint64_t* exchange(uint64_t value);
static inline void __syncwarp() { exchange(0); }

// Everybody in the warp puts a word down and sees those of the others. Two places in turn: nobody can put down the
// word after next before all have read this one.
static inline uint64_t* exchange(uint64_t word) {
    unsigned me = current, turn = threads[me].num_exchanges++ % 2;
    exchanged[me / 32][turn][me % 32] = word;
    wait(FOR_WARP);
    return exchanged[me / 32][turn];
}
template <typename T> static inline T from_word(uint64_t word) {
    T value;
    memcpy(&value, &word, sizeof value);
    return value;
}
template <typename T> static inline uint64_t to_word(T value) {
    uint64_t word = 0;
    memcpy(&word, &value, sizeof value);
    return word;
}
template <typename T> static inline T __shfl_sync(unsigned, T value, int lane) {
    return from_word<T>(exchange(to_word(value))[lane & 31]);
}
template <typename T> static inline T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned lane = current % 32 ^ mask;
    return from_word<T>(exchange(to_word(value))[lane]);
}
static inline bool __all_sync(unsigned, bool value) {
    uint64_t* all = exchange(value);
    bool every = true;
    for (int i = 0; i < 32; i++) every &= all[i] != 0;
    return every;
}
static inline unsigned __reduce_or_sync(unsigned, unsigned value) {
    uint64_t* all = exchange(value);
    unsigned bits = 0;
    for (int i = 0; i < 32; i++) bits |= (unsigned)all[i];
    return bits;
}

// Runs one block. Returns what is wrong, or null.
static const char* run_block() {
    unsigned count = blockDim.x;
    if (count > MOST_THREADS || count % 32) return "threads of a block are not whole warps";
    if (!stacks) stacks = (char*)malloc((size_t)MOST_THREADS * STACK_BYTES);
    for (unsigned i = 0; i < count; i++) {
        void** top = (void**)(stacks + (size_t)(i + 1) * STACK_BYTES) - 1; // aligned as at the start of a function
        *--top = (void*)run_thread;
        for (int saved = 0; saved < 6; saved++) *--top = nullptr;
        threads[i] = {top, NOT, 0};
    }
    for (;;) {
        unsigned done = 0;
        for (unsigned warp = 0; warp < count; warp += 32) {
            for (;;) {
                for (unsigned i = warp; i < warp + 32; i++) {
                    if (threads[i].waits == FOR_EVER) continue;
                    current = i, threadIdx = {i, 0, 0};
                    switch_stacks(&scheduler_pointer, threads[i].stack_pointer);
                }
                Waits all = threads[warp].waits;
                for (unsigned i = warp; i < warp + 32; i++) {
                    bool apart = (threads[i].waits == FOR_WARP) != (all == FOR_WARP);
                    if (apart) return "lanes parted before an exchange in their warp";
                }
                if (all != FOR_WARP) break;
            }
            for (unsigned i = warp; i < warp + 32; i++) done += threads[i].waits == FOR_EVER;
        }
        if (done == count) return nullptr;
        if (done) return "some threads ended before a barrier of their block";
    }
}

template <typename A> struct Call {
    static void (*kernel)(A);
    static A args;
    static void run() { kernel(args); }
};
template <typename A> void (*Call<A>::kernel)(A);
template <typename A> A Call<A>::args;

template <typename A>
static const char* emulate(void (*kernel)(A), const void* args, unsigned x, unsigned y, unsigned z, unsigned count) {
    Call<A>::kernel = kernel;
    memcpy(&Call<A>::args, args, sizeof(A));
    body = Call<A>::run;
    gridDim = {x, y, z}, blockDim = {count, 1, 1};
    for (blockIdx.z = 0; blockIdx.z < z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < x; blockIdx.x++)
                if (const char* wrong = run_block()) return wrong;
    return nullptr;
}

// --- functions --------------------------------------------------------------------------------------------------

using std::isfinite;
using std::isinf;
using std::isnan;
template <typename T> static inline T min(T a, T b) { return a < b ? a : b; }
template <typename T> static inline T max(T a, T b) { return a > b ? a : b; }
static inline float __int_as_float(int bits) { return from_word<float>((unsigned)bits); }
static inline float __uint_as_float(unsigned bits) { return from_word<float>(bits); }
static inline unsigned __float_as_uint(float value) { return (unsigned)to_word(value); }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline int __float2int_rn(float value) { return (int)nearbyintf(value); }
static inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += (signed char)(a >> 8 * i) * (signed char)(b >> 8 * i);
    return sum;
}
static inline unsigned __byte_perm(unsigned low, unsigned high, unsigned select) {
    uint64_t bytes = low | (uint64_t)high << 32;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) out |= (unsigned)(bytes >> 8 * (select >> 4 * i & 7) & 0xff) << 8 * i;
    return out;
}
static inline int __popc(unsigned value) { return __builtin_popcount(value); }
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return (unsigned)((low | (uint64_t)high << 32) >> (shift & 31));
}
template <typename T> static inline T atomicAdd(T* at, T value) {
    T before = *at;
    *at += value;
    return before;
}
template <typename T> static inline T __ldcg(const T* at) { return *at; }
static inline void __threadfence() {}
template <typename T> static inline T atomicMin(T* at, T value) {
    T before = *at;
    if (value < before) *at = value;
    return before;
}
static inline float half_to_float(unsigned short bits) { return _cvtsh_ss(bits); }
static inline unsigned short nearest_half(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
