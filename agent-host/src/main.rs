//! The `kennel-agent-host` binary.

fn main() {}
