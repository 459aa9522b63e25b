//! Every op in one list, for what looks across ops: conformance, documentation, pins.

use device::Feature;

use crate::op::{Op, OpKind};
use crate::ops;
use crate::variant::{Exactness, Variant};

/// What is known of a variant without its op's types.
#[derive(Clone, Copy, Debug)]
pub struct VariantRow {
    /// Its id.
    pub id: &'static str,
    /// Features it needs.
    pub needs: &'static [Feature],
    /// How exact it is.
    pub exactness: Exactness,
}

/// An op without its types.
#[derive(Clone, Copy, Debug)]
pub struct OpRow {
    /// Which op.
    pub kind: OpKind,
    /// Its variants, best first.
    pub variants: fn() -> Vec<VariantRow>,
}

/// All ops.
pub const OPS: &[OpRow] = &[
    op_row::<ops::Embed>(),
    op_row::<ops::Norm>(),
    op_row::<ops::Quantize>(),
    op_row::<ops::Matmul>(),
    op_row::<ops::RopeTable>(),
    op_row::<ops::Rope>(),
    op_row::<ops::KvStore>(),
    op_row::<ops::Attention>(),
    op_row::<ops::Glu>(),
    op_row::<ops::Add>(),
    op_row::<ops::Softcap>(),
    op_row::<ops::Gather>(),
];

const fn op_row<O: Op>() -> OpRow {
    const { check_reference::<O>() };
    OpRow { kind: O::KIND, variants: rows::<O> }
}

fn rows<O: Op>() -> Vec<VariantRow> {
    let row = |variant: &&'static Variant<O>| VariantRow {
        id: variant.id,
        needs: variant.needs,
        exactness: variant.exactness,
    };
    O::VARIANTS.iter().map(row).collect()
}

/// Fails to compile when the last variant of an op is not a reference that runs everywhere.
const fn check_reference<O: Op>() {
    assert!(!O::VARIANTS.is_empty(), "an op without variants");
    let last = O::VARIANTS[O::VARIANTS.len() - 1];
    assert!(last.needs.is_empty(), "the last variant of an op must run on every machine");
    assert!(ends_with(last.id.as_bytes(), b"/reference"), "the last variant of an op must be its reference");
}

const fn ends_with(text: &[u8], end: &[u8]) -> bool {
    if text.len() < end.len() {
        return false;
    }
    let mut i = 0;
    while i < end.len() {
        if text[text.len() - end.len() + i] != end[i] {
            return false;
        }
        i += 1;
    }
    true
}
