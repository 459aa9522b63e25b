//! The operations of a model and every way we know to run them.
//!
//! An op is a folder under `ops/`: a description of the problem (`Desc`), a `reference` that is the
//! plain truth, and variants that must agree with it (`conformance`). `select` alone chooses among
//! variants, while a plan is built; `launch` walks the chosen steps.

pub mod conformance;
pub mod cost;
pub mod cuda;
pub mod executor;
pub mod fault;
pub mod kv;
pub mod launch;
pub mod op;
pub mod ops;
pub mod packed;
pub mod record;
mod rows;
pub mod scratch;
pub mod select;
pub mod simd;
pub mod table;
pub mod tiles;
pub mod variant;
mod weights;

pub use cost::{Cost, Reach, Unit, Work};
pub use cuda::{DeviceWeights, HostWeight};
pub use executor::{CacheSlot, DeviceSide, Executor, Graphs, Program, Segment, SequenceView};
pub use executor::{StepError, StepInputs, Transfer, TurnKey, Unfit};
pub use fault::{Faults, Finding};
pub use kv::fit::{Angles, KeyFit, KeyFitting, KeySamples};
pub use kv::{KvLayout, KvType, Redo};
pub use launch::{Frame, KvFrame, KvView, RowSet, Run, Slot, Step, Weight, walk};
pub use op::{Op, OpKind, Rows};
pub use record::Record;
pub use select::{Choice, Extra, Off, Policy, best_way, choose};
pub use variant::{AnyVariant, Exactness, Launch, Place, Variant};
