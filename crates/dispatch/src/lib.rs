//! The dispatch slot and the variant table.
