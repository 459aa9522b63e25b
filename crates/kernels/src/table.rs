//! Every op in one list, for what looks across ops: conformance, documentation, pins.

use device::cuda::Queue;
use device::{Feature, Hardware, Pool, PoolError};

use crate::conformance::{self, Conform, Verdict};
use crate::op::{Op, OpKind};
use crate::ops;
use crate::variant::{AnyVariant, Exactness, Variant};

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

/// The conformance suite of one op over these of its variants, from this seed, on pools of several sizes.
pub type Suite = fn(&Hardware, &mut [Pool], &[&'static dyn AnyVariant], u64) -> Result<Vec<Verdict>, PoolError>;

/// An op without its types.
#[derive(Clone, Copy, Debug)]
pub struct OpRow {
    /// Which op.
    pub kind: OpKind,
    /// Its variants, best first.
    pub variants: fn() -> Vec<VariantRow>,
    /// The conformance suite over the op's variants for CUDA devices.
    pub conform_cuda: fn(&Queue, &mut Pool, u64, usize) -> Vec<Verdict>,
    /// The conformance suite over those of these variants that run the op, held against its reference.
    pub conform: Suite,
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

const fn op_row<O: Conform>() -> OpRow {
    const { check_reference::<O>() };
    OpRow { kind: O::KIND, variants: rows::<O>, conform_cuda: conformance::check_cuda::<O>, conform: conform::<O> }
}

fn conform<O: Conform>(
    hardware: &Hardware,
    pools: &mut [Pool],
    extra: &[&'static dyn AnyVariant],
    seed: u64,
) -> Result<Vec<Verdict>, PoolError> {
    let mut variants: Vec<&'static Variant<O>> = extra.iter().filter_map(|variant| variant.typed()).collect();
    if variants.is_empty() {
        return Ok(Vec::new());
    }
    variants.push(O::VARIANTS[O::VARIANTS.len() - 1]);
    let mut verdicts = conformance::check(hardware, pools, &variants, seed)?;
    verdicts.pop(); // the reference against itself
    Ok(verdicts)
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
