//! Where the tokens of one sequence lie in one cache group.

/// Marks a table entry whose block has gone behind the window and been given back. Never read by a kernel.
pub const FREED: u32 = u32::MAX;

/// Uniform block table: one entry (first physical block of a run) per `block_size` positions.
#[derive(Clone, Default, Debug)]
pub struct BlockTable {
    /// Entry of each logical block; `FREED` before that of `start`.
    pub(super) entries: Vec<u32>,
    /// First position that is held; 0 unless the group has a window.
    pub(super) start: u32,
}

/// What the runner needs of a block table to make its kernel argument:
/// `physical = table[layer·layer_stride + head·head_stride + logical] + layer·layer_step + head·head_step`,
/// with `layer` counted within the group.
#[derive(Clone, Copy, Debug)]
pub struct TableView<'a> {
    /// Entries by logical block; those before `first_logical` are invalid.
    pub table: &'a [u32],
    /// First logical block that is held; everything before lies behind the window.
    pub first_logical: u32,
    /// First position that is held. At most a block before the window of the next token.
    pub start: u32,
    /// Tokens in the cache, those of the running step not included.
    pub num_tokens: u32,
    /// Positions in a block.
    pub block_size: u32,
    /// Table entries from one layer to the next; 0 in a uniform table.
    pub layer_stride: u32,
    /// Table entries from one head to the next; 0 in a uniform table.
    pub head_stride: u32,
    /// Physical blocks from one layer to the next.
    pub layer_step: u32,
    /// Physical blocks from one head to the next.
    pub head_step: u32,
}

impl TableView<'_> {
    /// The physical block that holds a position, for a layer of the group and a KV head of it.
    pub fn physical(&self, layer: u32, head: u32, position: u32) -> u32 {
        let index = layer * self.layer_stride + head * self.head_stride + position / self.block_size;
        self.table[index as usize] + layer * self.layer_step + head * self.head_step
    }

    /// The slot of a position for layer 0, head 0: `physical block × block_size + offset`. That of another
    /// layer and head lies `(layer · layer_step + head · head_step) × block_size` further.
    pub fn slot(&self, position: u32) -> u64 {
        u64::from(self.physical(0, 0, position)) * u64::from(self.block_size) + u64::from(position % self.block_size)
    }
}
