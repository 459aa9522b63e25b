// out[r, n] = Σ_k x[r, k] w[n, k] (+ bias[n]) for one or two rows of int8 activations, bound by reading the weights. A warp
// streams chunks of one tile through its ring, which is filled before the activations are there; a lane multiplies one
// row and every second group. The warps of a block that share a tile take every `split`th chunk and add up in order.
struct Args {
    const u8* tiles;
    const float* bias;
    const u8* x;
    float* out;
    u64 x_row_bytes;
    u32 n;
    u32 k;
    u32 num_rows;
    u32 split; // warps per tile: 1, 2, 4 or 8
};

#define WARPS 8
// Pieces of x that a thread has on the way at one time.
#define AT_ONCE 5

// sum + four products; codes of types with mins have no sign.
__device__ __forceinline__ int dot(u32 codes, u32 x, int sum) {
#if defined(EMULATED)
    return sum + dot4(codes, x);
#elif HAS_MINS
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(codes), "r"(x));
    return sum;
#else
    return __dp4a((int)codes, (int)x, sum);
#endif
}

// What a lane multiplies: row g + 8 `row` of a tile, group `odd` of each pair.
struct Place {
    u32 g, row, odd;
};

// The codes of a pair that lane 4 g + t would hand to tensor cores: part 0 and 1.
__device__ __forceinline__ uint2 codes_of(const u8* chunk, u32 pairs, int pair, const Place& place, u32 t) {
    u32 lane = 4 * place.g + t;
#if LOW == 1024
    return *(const uint2*)(chunk + pair * LOW + place.odd * 512 + lane * 16 + place.row * 8);
#else
    u32 word = *(const u32*)(chunk + pair * LOW + lane * 16 + place.odd * 8 + place.row * 4);
#if TABLE
    u32 low = word & 0x77777777, select = (word >> 1 & 0x44444444) | 0x32103210;
    u32 first = __byte_perm(__byte_perm(TABLE_LOW, low), __byte_perm(TABLE_HIGH, low), select);
    low >>= 16, select >>= 16;
    return make_uint2(first, __byte_perm(__byte_perm(TABLE_LOW, low), __byte_perm(TABLE_HIGH, low), select));
#elif HIGH == 128
    u32 fifth = ((const u32*)(chunk + pairs * LOW + pair * HIGH))[lane] << (4 * place.odd + 2 * place.row);
    return make_uint2((word << 3 & 0x78787878) | (fifth & 0x80808080), (word >> 1 & 0x78787878) | (fifth << 1 & 0x80808080));
#elif HIGH == 256
    u32 high = ((const u32*)(chunk + pairs * LOW + pair * HIGH))[2 * lane + place.odd] << 4 * place.row;
    return make_uint2((word << 2 & 0x3c3c3c3c) | (high & 0xc0c0c0c0), (word >> 2 & 0x3c3c3c3c) | (high << 2 & 0xc0c0c0c0));
#elif TYPE == Q4_0_
    return make_uint2(word << 4 & 0xf0f0f0f0, word & 0xf0f0f0f0);
#else
    return make_uint2(word & 0x0f0f0f0f, word >> 4 & 0x0f0f0f0f);
#endif
#endif
}

// The lane's scales of a chunk, as far as they are read once.
struct RowScales {
    const u8* at;
#if TYPE == Q4_K_ || TYPE == Q5_K_ || TYPE == Q6_K_
    u32 words[4];
#elif TYPE == IQ4_XS_
    uint2 words;
#endif
    float scale, min;
};

__device__ __forceinline__ RowScales row_scales(const u8* at, const Place& place) {
    RowScales scales;
    scales.at = at;
    scales.scale = scales.min = 0;
#if TYPE == Q4_K_ || TYPE == Q5_K_
    uint4 word = ((const uint4*)at)[place.g + 8 * place.row];
    float2 heads = halves_to_floats(word.x);
    scales.scale = heads.x, scales.min = heads.y;
    scales.words[0] = word.y >> 12 * place.odd, scales.words[1] = word.z >> 12 * place.odd;
    scales.words[2] = word.w >> 12 * place.odd;
    scales.words[3] = last_fields(word.y, word.z, word.w) >> 12 * place.odd;
#elif TYPE == Q6_K_
    uint4 word = ((const uint4*)at)[place.g + 8 * place.row];
    scales.words[0] = word.x ^ 0x80808080, scales.words[1] = word.y ^ 0x80808080;
    scales.words[2] = word.z ^ 0x80808080, scales.words[3] = word.w ^ 0x80808080;
    scales.scale = half_to_float(((const u16*)(at + 256))[2 * place.g + place.row]);
#elif TYPE == IQ4_XS_
    scales.words = ((const uint2*)at)[place.g + 8 * place.row];
    scales.scale = half_to_float((u16)scales.words.x);
#endif
    return scales;
}

// Scale (of half `half`) and min of the lane's group of a pair.
__device__ __forceinline__ float2 scale_of(const RowScales& chunk, int pair, int half, const Place& place) {
#if TYPE == Q4_K_ || TYPE == Q5_K_
    u32 both = chunk.words[pair];
    return make_float2(fmaf(__uint_as_float((both & 63) | TWO_23_BITS), chunk.scale, -TWO_23 * chunk.scale),
                       fmaf(__uint_as_float((both >> 6 & 63) | TWO_23_BITS), chunk.min, -TWO_23 * chunk.min));
#elif TYPE == Q6_K_
    u32 bits = __byte_perm(chunk.words[pair], TWO_23_BITS, 0x7440 + half + 2 * place.odd);
    return make_float2((__uint_as_float(bits) - (TWO_23 + 128)) * chunk.scale, 0);
#elif TYPE == IQ4_XS_
    u64 word = chunk.words.x | (u64)chunk.words.y << 32;
    u32 bits = (u32)(word >> (16 + 12 * pair + 6 * place.odd)) & 63;
    return make_float2((__uint_as_float(bits | TWO_23_BITS) - (TWO_23 + 32)) * chunk.scale, 0);
#elif TYPE == MXFP4_
    u32 e = chunk.at[16 * (2 * pair + place.odd) + 2 * place.g + place.row];
    return make_float2(__uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0);
#elif HAS_MINS
    const u16* at = (const u16*)(chunk.at + 64 * (2 * pair + place.odd)) + 4 * place.g + place.row;
    return make_float2(half_to_float(at[0]), half_to_float(at[2]));
#else
    return make_float2(half_to_float(((const u16*)(chunk.at + 32 * (2 * pair + place.odd)))[2 * place.g + place.row]), 0);
#endif
}

template <int NUM> __device__ __forceinline__ void one(const Args& args, u8* shared) {
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Place place = {lane % 8, lane / 8 % 2, lane / 16};
    u32 tiles = (args.n + TILE - 1) / TILE, chunks = (args.k + 255) / 256;
    u32 split = args.split, tile = blockIdx.x * (WARPS / split) + warp / split, first = warp % split;
    u8* ring = shared + warp * (STAGES * CHUNK_BYTES);
    const u8* weights = args.tiles + tile * tile_bytes(args.k);
    u32 end = tile < tiles ? chunks : 0;
    auto issue = [&](u32 chunk, u32 stage) {
        if (chunk < end)
            copy_chunk(ring + stage * CHUNK_BYTES, weights + (u64)chunk * CHUNK_BYTES, pairs_of(args.k, chunk) * PAIR_BYTES, lane);
        commit();
    };
#pragma unroll
    for (int i = 0; i < STAGES; i++) issue(first + i * split, i);
    wait_for_inputs();

    // The rows of x as they are: codes, scales, sums.
    u8* x = shared + WARPS * STAGES * CHUNK_BYTES;
    u32 x_bytes = (u32)args.x_row_bytes;
#pragma unroll
    for (int r = 0; r < NUM; r++) {
        const uint4* from = (const uint4*)(args.x + min((u32)r, args.num_rows - 1) * args.x_row_bytes);
        uint4* to = (uint4*)(x + r * x_bytes);
        for (u32 i = threadIdx.x; i < x_bytes / 16; i += AT_ONCE * 32 * WARPS) {
            uint4 pieces[AT_ONCE];
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++)
                if (i + j * 32 * WARPS < x_bytes / 16) pieces[j] = from[i + j * 32 * WARPS];
#pragma unroll
            for (int j = 0; j < AT_ONCE; j++)
                if (i + j * 32 * WARPS < x_bytes / 16) to[i + j * 32 * WARPS] = pieces[j];
        }
    }
    __syncthreads();

    float sums[NUM] = {};
    u32 stage = 0;
    for (u32 chunk = first; chunk < end; chunk += split) {
        arrived<STAGES - 1>();
        const u8* at = ring + stage * CHUNK_BYTES;
        u32 pairs = pairs_of(args.k, chunk);
        RowScales scales = row_scales(at + pairs * (LOW + HIGH), place);
#pragma unroll
        for (int pair = 0; pair < GROUPS / 2; pair++) {
            if (pair >= pairs) break;
            u32 group = GROUPS * chunk + 2 * pair + place.odd;
            int dots[NUM][HALVES];
#pragma unroll
            for (int r = 0; r < NUM; r++)
#pragma unroll
                for (int half = 0; half < HALVES; half++) dots[r][half] = MAGIC_BITS;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                u32 t = (i + place.g / 2) % 4; // so that lanes read different banks
                uint2 w = codes_of(at, pairs, pair, place, t);
#pragma unroll
                for (int r = 0; r < NUM; r++) {
                    const u8* codes = x + r * x_bytes + 32 * group;
#if HALVES == 1
                    uint2 a = *(const uint2*)(codes + 8 * t);
#else
                    uint2 a = make_uint2(*(const u32*)(codes + 4 * t), *(const u32*)(codes + 16 + 4 * t));
#endif
                    dots[r][0] = dot(w.x, a.x, dots[r][0]);
                    dots[r][HALVES - 1] = dot(w.y, a.y, dots[r][HALVES - 1]);
                }
            }
            float values[NUM] = {};
#pragma unroll
            for (int half = 0; half < HALVES; half++) {
                float2 scale = scale_of(scales, pair, half, place);
#pragma unroll
                for (int r = 0; r < NUM; r++) {
                    values[r] += fmaf(__int_as_float(dots[r][half]), scale.x, -MAGIC * scale.x);
#if HAS_MINS
                    int both = *(const int*)(x + r * x_bytes + args.k + args.k / 8 + 4 * group);
                    values[r] = fmaf(-scale.y, (float)((i16)both + (both >> 16)) * (1 / STEP), values[r]);
#endif
                }
            }
            bool there = GROUPS * 32 == BLOCK_LEN || group < args.k / 32;
#pragma unroll
            for (int r = 0; r < NUM; r++) {
                float scale = *(const float*)(x + r * x_bytes + args.k + 4 * group);
                sums[r] = fmaf(values[r], there ? scale : 0.0f, sums[r]);
            }
        }
        __syncwarp();
        issue(chunk + STAGES * split, stage);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }

    // Sums of a warp's tile, [warp][row of x][row of the tile], then in the order of the warps.
    arrived<0>();
    __syncthreads();
    float* parts = (float*)shared;
#pragma unroll
    for (int r = 0; r < NUM; r++) {
        float sum = sums[r] + __shfl_xor_sync(FULL, sums[r], 16);
        if (lane < TILE) parts[(warp * NUM + r) * TILE + lane] = sum * STEP;
    }
    __syncthreads();
    u32 rows = TILE * (WARPS / split), n0 = blockIdx.x * rows;
    for (u32 i = threadIdx.x; i < rows * args.num_rows; i += 32 * WARPS) {
        u32 n = i % rows, r = i / rows;
        if (n0 + n >= args.n) continue;
        const float* part = parts + (n / TILE * split * NUM + r) * TILE + n % TILE;
        float sum = 0;
        for (u32 s = 0; s < split; s++) sum += part[s * NUM * TILE];
        args.out[(u64)r * args.n + n0 + n] = sum + (args.bias ? args.bias[n0 + n] : 0.0f);
    }
}

// ROWS of x: 1, 2 or 4.
extern "C" __global__ void __launch_bounds__(256, 2) matmul_one(Args args) {
    SHARED;
    one<ROWS>(args, shared);
}
