//! Syndarix.
fn main() {}
