// Weights out of nothing: random codes in blocks whose scales make a spread of about 0.02, as trained ones have.

struct Args {
    u16* out;
    u64 num_halves;
    u64 seed;
    // Halves per block, and where in a block its scale and its offset stand; none: as long as the block.
    u32 block, scale_at, min_at;
    // Their bits.
    u32 scale, min;
    // Whether the nibbles of the scale stand at the top of four halves from there on.
    u32 in_nibbles;
    // For floats: bits that are random, and those that are set in any case.
    u32 keep, set;
};

__device__ __forceinline__ u32 mixed(u64 x) {
    x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
    x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
    return (u32)(x >> 33);
}

extern "C" __global__ void noise(Args args) {
    wait_for_inputs();
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < args.num_halves; i += step) {
        u32 at = (u32)(i % args.block);
        u32 bits = (mixed(i + (args.seed << 40)) & args.keep) | args.set;
        u32 nibble = at - args.scale_at;
        if (args.in_nibbles && nibble < 4) bits = (bits & 0xfff) | (args.scale >> 4 * nibble & 15) << 12;
        if (!args.in_nibbles && nibble == 0) bits = args.scale;
        if (at == args.min_at) bits = args.min;
        args.out[i] = (u16)bits;
    }
}
