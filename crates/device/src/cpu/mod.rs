//! The CPU as a device: workers that walk one list of steps together.

mod barrier;
mod ceiling;
mod pool;

pub use barrier::{Barrier, Poisoned};
pub use ceiling::Ceilings;
pub use pool::{Pool, PoolError, Shard};
