//! Token ids to rows of the embedding table: `out[i] = scale * table[tokens[i]]`.

mod cuda;
pub mod reference;

use gguf::DType;

use device::Shard;

use crate::cost::Cost;
use crate::launch::{Frame, RowSet, Slot, Weight};
use crate::op::{Op, OpKind};
use crate::packed::Form;
use crate::rows::row_mut;
use crate::variant::{Exactness, Launch, Variant};
use crate::weights::{RowReader, is_readable};

/// The operation.
pub struct Embed;

/// The problem.
#[derive(Clone, Copy, Debug)]
pub struct Desc {
    /// Type of the table.
    pub table: DType,
    /// How it lies in memory.
    pub form: Form,
    /// Values per row.
    pub width: usize,
    /// Bytes per row of the table in the file.
    pub row_bytes: usize,
    /// Factor on every value (Gemma: the root of the width).
    pub scale: f32,
}

/// Places.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Embedding table, `[vocab_size, width]`.
    pub table: Weight,
    /// `[num_rows, width]` f32.
    pub out: Slot,
}

/// Addresses.
pub struct Args {
    /// Token ids, `[num_rows]`.
    pub tokens: *const u32,
    /// See [`Slots::table`].
    pub table: *const u8,
    /// See [`Slots::out`].
    pub out: *mut f32,
    /// Rows of this step.
    pub num_rows: usize,
}

impl Op for Embed {
    const KIND: OpKind = OpKind::Embed;
    const VARIANTS: &'static [&'static Variant<Self>] = &[&cuda::VARIANT, &REFERENCE];
    type Desc = Desc;
    type Slots = Slots;
    type Args = Args;

    fn bind(_: &Desc, slots: &Slots, frame: &Frame) -> Args {
        Args { tokens: frame.tokens, table: slots.table.0, out: frame.at(slots.out), num_rows: frame.num_rows }
    }

    fn cost(desc: &Desc, _: &Slots) -> Cost {
        let row_bytes = (desc.row_bytes + 4 * desc.width) as u64;
        Cost { row_bytes, row_ops: desc.width as u64, ..Cost::over(RowSet::Tokens) }
    }
}

const REFERENCE: Variant<Embed> = Variant {
    id: "embed/any/reference",
    needs: &[],
    exactness: Exactness::Bitwise,
    accepts: |desc| is_readable(desc.table, desc.form),
    launch: Launch::Cpu(|desc: &Desc, args: &Args, shard: &Shard<'_>| {
        // SAFETY: bound to live memory; the engine admits only ids below the vocabulary size.
        unsafe {
            let table = RowReader::new(args.table, desc.table, desc.form, desc.width, desc.row_bytes);
            for i in shard.range(args.num_rows, 1) {
                let out = row_mut(args.out, i, desc.width);
                table.decode(*args.tokens.add(i) as usize, out);
                reference::scale(desc, out);
            }
        }
    }),
};
