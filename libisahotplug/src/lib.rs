//! The C-ABI library that math libraries link to follow the ISA.
