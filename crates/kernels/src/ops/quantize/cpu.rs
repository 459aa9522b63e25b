//! How `quantize` is shared out on the CPU; the instruction sets differ in how they do one block.

use device::Shard;

use super::{Args, BLOCK, Desc, row_bytes};
use crate::fault::{self, Faults};
use crate::rows::row;

/// Blocks per share: their scales and sums fill a cache line, so that workers write no line together.
const SHARE: usize = 16;

/// One block in some instruction set.
pub trait Block {
    /// Quantises [`BLOCK`] values to as many codes, one scale and two sums, as the reference does. Returns
    /// whether the values are sound.
    ///
    /// # Safety
    /// The addresses must be valid for that; the CPU must have the features of the type.
    unsafe fn quantize(x: *const f32, codes: *mut i8, scale: *mut f32, sums: *mut i16) -> bool;
}

/// Workers take shares of blocks, within rows if there are few.
///
/// # Safety
/// See [`crate::Launch::Cpu`]; the CPU must have the features of `B`.
#[inline(always)]
pub unsafe fn quantize<B: Block>(desc: &Desc, args: &Args, shard: &Shard<'_>) {
    let width = desc.width;
    let per_row = width / BLOCK;
    let share = shard.range(args.num_rows * per_row, SHARE);
    let mut i = share.start;
    while i < share.end {
        let (index, first) = (i / per_row, i % per_row);
        let end = per_row.min(first + share.end - i);
        let mut block = first;
        // SAFETY: the caller's promise; shares do not overlap. The parts of a row are in `row_bytes`'s order.
        unsafe {
            let (x, out) = (args.x.add(index * width), args.out.add(index * row_bytes(width)));
            let scales: *mut f32 = out.add(width).cast();
            let sums: *mut i16 = out.add(width + width / 8).cast();
            let mut well = true;
            while block < end {
                let at = block * BLOCK;
                well &= B::quantize(x.add(at), out.add(at).cast(), scales.add(block), sums.add(2 * block));
                block += 1;
            }
            fault::unless(well, shard, || Faults::among(row(x, 0, width)));
        }
        i += end - first;
    }
}
