//! How a feature set travels: as the bytes of its bit map, least significant
//! first, without the zero bytes at the end, at most 64 of them.

use core::fmt;

use isa::{FeatureSet, WORDS};
use serde::{Deserializer, Serializer, de};

/// Most bytes that a set can take.
pub(crate) const MAX_BYTES: usize = WORDS * 8;

fn to_bytes(set: FeatureSet) -> ([u8; MAX_BYTES], usize) {
    let mut bytes = [0; MAX_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(set.words()) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let len = bytes
        .iter()
        .rposition(|&b| b != 0)
        .map_or(0, |last| last + 1);
    (bytes, len)
}

/// `#[serde(with = "wire_set")]` for a [`FeatureSet`].
pub(crate) fn serialize<S: Serializer>(set: &FeatureSet, serializer: S) -> Result<S::Ok, S::Error> {
    let (bytes, len) = to_bytes(*set);
    serializer.serialize_bytes(&bytes[..len])
}

/// `#[serde(with = "wire_set")]` for a [`FeatureSet`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<FeatureSet, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = FeatureSet;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the bit map of a feature set, at most {MAX_BYTES} bytes")
        }
        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<FeatureSet, E> {
            if bytes.len() > MAX_BYTES {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            let mut words = [0u64; WORDS];
            for (i, &byte) in bytes.iter().enumerate() {
                words[i / 8] |= u64::from(byte) << (i % 8 * 8);
            }
            Ok(FeatureSet::from_words(words))
        }
    }
    deserializer.deserialize_bytes(Visitor)
}
