// f32 rows to int8 blocks of 32: a warp per block, a lane per value. The same bytes as the reference's.
struct Args {
    const float* x;
    u8* out;
    u64 row_bytes;
    u64 num_blocks; // of all rows
    FaultPlace fault;
    u32 width;
};

extern "C" __global__ void __launch_bounds__(256) quantize(Args args) {
    wait_for_inputs();
    u64 block = (u64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (block >= args.num_blocks) return;
    u32 blocks_per_row = args.width / 32;
    u64 row = block / blocks_per_row;
    u32 index = block % blocks_per_row;
    u8* out = args.out + row * args.row_bytes;
    float value = args.x[row * args.width + 32 * index + lane];
    bool finite = __all_sync(FULL, isfinite(value));
    float largest = warp_max(fabsf(value)); // passes over NaN, as the reference's fold does
    // A factor of 0 stands for codes 0; a value that is not finite leaves a NaN as scale.
    float inverse = __fdiv_rn(127.0f, largest), scale = __fdiv_rn(largest, 127.0f);
    if (!finite || !isfinite(inverse)) {
        inverse = 0;
        scale = finite ? 0.0f : NAN_F;
    }
    int code = inverse == 0 ? 0 : __float2int_rn(__fmul_rn(value, inverse));
    code = max(-128, min(127, code));
    ((i8*)out)[32 * index + lane] = (i8)code;
    int sum = code;
#pragma unroll
    for (int other = 8; other > 0; other /= 2) sum += __shfl_xor_sync(FULL, sum, other);
    if (lane % 16 == 0) ((i16*)(out + args.width + args.width / 8))[2 * index + lane / 16] = (i16)sum;
    if (lane == 0) ((float*)(out + args.width))[index] = scale;
    if (finite && largest <= LARGEST_SOUND) return;
    u32 faults = isnan(value) ? FAULT_NAN : isinf(value) ? FAULT_INF : fabsf(value) > LARGEST_SOUND ? FAULT_SCALE : 0;
    faults = __reduce_or_sync(FULL, faults);
    if (lane == 0) raise(args.fault, faults);
}
