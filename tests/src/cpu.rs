//! The CPU that a hypervisor host gives to its guests.

use std::fmt;

/// What stands behind QEMU's `-cpu`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CpuModel {
    name: String,
    /// Features added (`+`) or taken away (`-`), in QEMU's spelling.
    changes: Vec<String>,
}

impl CpuModel {
    /// Everything that QEMU's TCG can execute: AVX2 is there, AVX-512 is not.
    #[must_use]
    pub fn max() -> Self {
        Self::named("max")
    }

    /// One of QEMU's models, such as `Nehalem-v1`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            changes: Vec::new(),
        }
    }

    /// This model without some features, in QEMU's spelling (`avx2`, `abm`,
    /// `sse4.2`).
    #[must_use]
    pub fn without(mut self, features: &[&str]) -> Self {
        self.changes
            .extend(features.iter().map(|feature| format!("-{feature}")));
        self
    }

    /// This model with some more features, in QEMU's spelling.
    #[must_use]
    pub fn with(mut self, features: &[&str]) -> Self {
        self.changes
            .extend(features.iter().map(|feature| format!("+{feature}")));
        self
    }

    /// This model with a property of QEMU's, such as `vendor=AuthenticAMD`.
    #[must_use]
    pub fn set(mut self, property: &str) -> Self {
        self.changes.push(property.to_owned());
        self
    }
}

impl fmt::Display for CpuModel {
    /// The argument of QEMU's `-cpu`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.changes
            .iter()
            .try_for_each(|change| write!(f, ",{change}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_rendered_as_qemu_reads_it() {
        let lesser = CpuModel::max()
            .without(&["avx2", "fma"])
            .set("vendor=AuthenticAMD");
        assert_eq!(lesser.to_string(), "max,-avx2,-fma,vendor=AuthenticAMD");
    }
}
