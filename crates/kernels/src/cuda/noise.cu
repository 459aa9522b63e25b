// Weights out of nothing: random codes in blocks whose scales make a spread of about 0.02, as trained ones have.

struct Args {
    unsigned short* out;
    unsigned long long num_halves;
    unsigned long long seed;
    // Halves per block, and where in a block its scale and its offset stand; none: as long as the block.
    unsigned int block, scale_at, min_at;
    // Their bits.
    unsigned int scale, min;
    // For floats: bits that are random, and those that are set in any case.
    unsigned int keep, set;
};

__device__ inline unsigned int mixed(unsigned long long x) {
    x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
    x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
    return (unsigned int)(x >> 33);
}

extern "C" __global__ void noise(Args args) {
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; i < args.num_halves; i += step) {
        unsigned int at = (unsigned int)(i % args.block);
        unsigned int bits = (mixed(i + (args.seed << 40)) & args.keep) | args.set;
        if (at == args.scale_at) bits = args.scale;
        if (at == args.min_at) bits = args.min;
        args.out[i] = (unsigned short)bits;
    }
}
