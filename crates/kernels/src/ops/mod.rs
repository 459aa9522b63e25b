//! One folder per operation: what it computes, its reference, its variants.

pub mod add;
pub mod attention;
pub mod embed;
pub mod gather;
pub mod glu;
pub mod kv_store;
pub mod matmul;
pub mod norm;
pub mod quantize;
pub mod rope;
pub mod rope_table;
pub mod softcap;

pub use add::Add;
pub use attention::Attention;
pub use embed::Embed;
pub use gather::Gather;
pub use glu::Glu;
pub use kv_store::KvStore;
pub use matmul::Matmul;
pub use norm::Norm;
pub use quantize::Quantize;
pub use rope::Rope;
pub use rope_table::RopeTable;
pub use softcap::Softcap;
