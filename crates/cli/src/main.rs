//! The `chaski` program.
fn main() {}
