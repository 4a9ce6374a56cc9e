//! host-notifier
fn main() {}
