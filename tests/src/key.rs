//! Names for cached things: a hash of all that they are made of.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Collects what a cached thing is made of.
///
/// Two runs of the standard library's hasher with different beginnings: 128
/// bits against chance, and no defence against an enemy, who would not need it
/// in a cache that he can write.
#[derive(Debug, Clone)]
pub(crate) struct Key([DefaultHasher; 2]);

impl Key {
    /// `kind` keeps things of different kinds apart.
    pub(crate) fn new(kind: &str) -> Self {
        let mut key = Self([DefaultHasher::new(), DefaultHasher::new()]);
        0_u8.hash(&mut key.0[0]);
        1_u8.hash(&mut key.0[1]);
        key.add(kind);
        key
    }

    pub(crate) fn add<T: Hash + ?Sized>(&mut self, part: &T) {
        for hasher in &mut self.0 {
            part.hash(hasher);
        }
    }

    /// The name: 32 hexadecimal digits.
    pub(crate) fn name(&self) -> String {
        self.0
            .iter()
            .map(|hasher| format!("{:016x}", hasher.finish()))
            .collect()
    }
}
