//! The `counterpart` binary.
fn main() {}
