//! The recordings that there are.

/// Name and contents of each.
pub(crate) const RECORDINGS: &[(&str, &[u8])] = &[("amd-1ah.bin", include_bytes!("amd-1ah.bin"))];
