// How tiles lie in shared memory, for `cuda_prefill.cu` and what fills them. WARPS is a constant of the launch.
#define HEIGHT 1 // twice as many rows a warp are no faster, and leave multiprocessors without work in short prompts
#define ROWS (16 * HEIGHT * WARPS)
#define KEYS (DIM_K > 128 ? 32 : 64)
// Pieces of 16 bytes; those of a row lie in the order of their numbers XOR the row's, so that no two of eight rows
// meet in a bank.
#define PIECES (DIM / 8)
#define TILE_BYTES (KEYS * DIM * 2)
#define THREADS (32 * WARPS)

__device__ __forceinline__ u32 place(u32 row, u32 piece) {
    u32 turn = PIECES % 8 == 0 ? row % 8 : row / 2 % 4;
    return (row * PIECES + (piece ^ turn)) * 16;
}

// The place in `tile` of what lies 2 * j pieces behind `piece`, an even number but for a lane's own. Where rows are whole
// lines that is one operation on the address of `piece`.
__device__ __forceinline__ u32 along(u32 tile, u32 row, u32 piece, int j) {
    return PIECES % 8 == 0 ? (tile + place(row, piece)) ^ 32 * j : tile + place(row, piece + 2 * j);
}
