//! Finishes instructions that the CPU no longer has.
