//! Short strings that come from a peer.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A UTF-8 string of at most `MAX` bytes without control characters.
///
/// Names and reasons travel in it. The limit and the ban on control characters
/// hold on both ends, so that what a peer sends can be put in a log line as it
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<const MAX: usize>(String);

/// Why a string cannot be a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The string is longer than the field allows.
    #[error("text of {len} bytes where at most {max} are allowed")]
    TooLong {
        /// Length found, in bytes.
        len: usize,
        /// Length allowed, in bytes.
        max: usize,
    },
    /// The string holds a control character.
    #[error("control character U+{0:04X} in a text")]
    Control(u32),
}

impl<const MAX: usize> Text<MAX> {
    /// Takes `text` as it is.
    ///
    /// # Errors
    /// [`TextError`] if it is longer than `MAX` bytes or holds a control
    /// character.
    pub fn new(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX {
            return Err(TextError::TooLong {
                len: text.len(),
                max: MAX,
            });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(TextError::Control(u32::from(c))),
            None => Ok(Self(text.into())),
        }
    }

    /// Makes `text` fit: control characters become `?`, the end is cut off at
    /// a character boundary.
    pub fn lossy(text: &str) -> Self {
        let mut out = String::new();
        for c in text.chars() {
            let c = if c.is_control() { '?' } else { c };
            if out.len() + c.len_utf8() > MAX {
                break;
            }
            out.push(c);
        }
        Self(out)
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MAX: usize>;
        impl<const MAX: usize> de::Visitor<'_> for Visitor<MAX> {
            type Value = Text<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a string of at most {MAX} bytes without control characters"
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Text::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor::<MAX>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_limit_and_has_no_control_characters() {
        assert_eq!(Text::<4>::new("abcd").unwrap().as_str(), "abcd");
        assert_eq!(
            Text::<4>::new("abcde"),
            Err(TextError::TooLong { len: 5, max: 4 })
        );
        assert_eq!(Text::<4>::new("a\nb"), Err(TextError::Control(10)));
        assert_eq!(
            Text::<4>::lossy("a\nbçd").as_str(),
            "a?b",
            "ç needs two bytes and does not fit"
        );
    }
}
