//! Writing JSON.
//!
//! Not serde_json: it depends on memchr, which picks AVX2 code by CPUID once
//! and for all, and this binary must outlive the AVX2 of its guest.

use std::fmt;

/// A JSON value. `Display` writes it on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => quote(text, f),
            Self::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    quote(name, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_rfc_8259_wants_it() {
        let value = Json::Object(vec![
            ("text", Json::Text("a\"b\\c\nd\u{1f}é".into())),
            (
                "list",
                Json::Array(vec![Json::Number(u64::MAX), Json::Null, Json::Bool(true)]),
            ),
            ("empty", Json::Array(Vec::new())),
        ]);
        let expected = r#"{"text": "a\"b\\c\u000ad\u001fé", "list": [18446744073709551615, null, true], "empty": []}"#;
        assert_eq!(value.to_string(), expected);
    }
}
