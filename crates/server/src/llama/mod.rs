//! llama-server's own API. Rooms to come: slots on disk and the web page.

pub mod completion;
pub mod infill;
pub mod props;
pub mod status;
pub mod tokens;
