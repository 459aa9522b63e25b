//! One way to run an op, with what it needs and how exact it is.

use std::any::Any;

use device::cuda::CudaError;
use device::{Feature, Shard};

use crate::cuda::Launcher;
use crate::op::{Op, OpKind};

/// How far a result may be from the reference's, best first. A plan is as exact as its weakest step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exactness {
    /// The same bits.
    Bitwise,
    /// f32 sums in another order. `ulp` bounds the error in units in the last place of the sum of
    /// the absolute values of the terms.
    Reordered {
        /// Units in the last place.
        ulp: u32,
    },
    /// Values rounded to fewer bits on the way.
    Rounded {
        /// Relative error bound of one rounded value, in parts per thousand million.
        rel_ppb: u32,
    },
    /// Part of the input may be left out; only measurement on a model tells the loss.
    Approximate,
}

impl std::fmt::Display for Exactness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exactness::Bitwise => f.write_str("bitwise"),
            Exactness::Reordered { ulp } => write!(f, "reordered ({ulp} ulp)"),
            Exactness::Rounded { rel_ppb } => write!(f, "rounded ({:.2e} relative)", f64::from(*rel_ppb) * 1e-9),
            Exactness::Approximate => f.write_str("approximate"),
        }
    }
}

/// Puts the kernels of a problem on a device's queue.
pub type Enqueue<O> = unsafe fn(&<O as Op>::Desc, &<O as Op>::Args, &Launcher<'_>) -> Result<(), CudaError>;

/// How a variant is started.
pub enum Launch<O: Op> {
    /// Called by every worker of the pool with its own shard; the workers divide the work among
    /// themselves. Unsafe: the CPU must have what the variant `needs`, the arguments must be bound
    /// to live memory of the described shapes.
    Cpu(unsafe fn(&O::Desc, &O::Args, &Shard<'_>)),
    /// Called once by the thread that owns the device's queue, and puts kernels on it. Unsafe: the arguments must be
    /// bound to live memory of the device, of the described shapes; weights still have their addresses on the host.
    Cuda(Enqueue<O>),
}

/// One way to run `O`.
pub struct Variant<O: Op> {
    /// `op/dtype/tier`, unique among all variants.
    pub id: &'static str,
    /// Features without which it cannot run.
    pub needs: &'static [Feature],
    /// Its distance from the reference.
    pub exactness: Exactness,
    /// Whether it can run this problem.
    pub accepts: fn(&O::Desc) -> bool,
    /// How to start it.
    pub launch: Launch<O>,
}

/// What computes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The workers of the pool.
    Cpu,
    /// The GPU.
    Cuda,
}

impl<O: Op> Variant<O> {
    /// What computes it.
    pub fn place(&self) -> Place {
        match self.launch {
            Launch::Cpu(_) => Place::Cpu,
            Launch::Cuda(_) => Place::Cuda,
        }
    }
}

impl<O: Op> std::fmt::Debug for Variant<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// A variant without its op's types: what lists hold that cross ops.
pub trait AnyVariant: std::fmt::Debug + Send + Sync {
    /// Its id.
    fn id(&self) -> &'static str;
    /// The op that it runs.
    fn kind(&self) -> OpKind;
    /// Features without which it cannot run.
    fn needs(&self) -> &'static [Feature];
    /// Its distance from the reference.
    fn exactness(&self) -> Exactness;
    /// The [`Variant`] itself.
    fn as_any(&self) -> &dyn Any;
}

impl dyn AnyVariant {
    /// The variant with its types, if it runs `O`.
    pub fn typed<O: Op>(&self) -> Option<&Variant<O>> {
        self.as_any().downcast_ref()
    }
}

impl<O: Op> AnyVariant for Variant<O> {
    fn id(&self) -> &'static str {
        self.id
    }

    fn kind(&self) -> OpKind {
        O::KIND
    }

    fn needs(&self) -> &'static [Feature] {
        self.needs
    }

    fn exactness(&self) -> Exactness {
        self.exactness
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `accepts` of a variant without restrictions, as every reference is.
pub fn any<D>(_: &D) -> bool {
    true
}
