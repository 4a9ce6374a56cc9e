//! Where a feature is announced.

use core::fmt;

/// One of the four registers that CPUID fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// Index 0 of an answer.
    Eax,
    /// Index 1 of an answer.
    Ebx,
    /// Index 2 of an answer.
    Ecx,
    /// Index 3 of an answer.
    Edx,
}

impl Register {
    /// The register's index in an answer `[eax, ebx, ecx, edx]`.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Eax => 0,
            Self::Ebx => 1,
            Self::Ecx => 2,
            Self::Edx => 3,
        }
    }

    /// `"eax"`, `"ebx"`, `"ecx"` or `"edx"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eax => "eax",
            Self::Ebx => "ebx",
            Self::Ecx => "ecx",
            Self::Edx => "edx",
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a CPU announces a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Place {
    /// One bit of a CPUID answer.
    Cpuid {
        /// The value of EAX when CPUID is executed.
        leaf: u32,
        /// The value of ECX when CPUID is executed; 0 for leaves that do not look at it.
        subleaf: u32,
        /// The register of the answer.
        register: Register,
        /// The bit in the register, 0 to 31.
        bit: u8,
    },
    /// A number in a CPUID answer that must not be smaller than `at_least` (a version).
    Field {
        /// The value of EAX when CPUID is executed.
        leaf: u32,
        /// The value of ECX when CPUID is executed.
        subleaf: u32,
        /// The register of the answer.
        register: Register,
        /// The lowest bit of the number, 0 to 31.
        shift: u8,
        /// The width of the number in bits, 1 to 31.
        width: u8,
        /// The smallest number that means that the feature is there.
        at_least: u32,
    },
    /// One bit of a model-specific register, which only a kernel can read.
    Msr {
        /// The register's number (the value of ECX for RDMSR).
        index: u32,
        /// The bit, 0 to 63.
        bit: u8,
    },
}

impl Place {
    /// The CPUID leaf and subleaf to ask, or `None` for an MSR.
    #[must_use]
    pub const fn leaf(&self) -> Option<(u32, u32)> {
        match *self {
            Self::Cpuid { leaf, subleaf, .. } | Self::Field { leaf, subleaf, .. } => {
                Some((leaf, subleaf))
            }
            Self::Msr { .. } => None,
        }
    }

    /// Whether the answer `[eax, ebx, ecx, edx]` of this place's leaf announces the feature.
    /// `false` for an MSR, which CPUID does not show.
    #[must_use]
    pub const fn is_set_in(&self, answer: &[u32; 4]) -> bool {
        match *self {
            Self::Cpuid { register, bit, .. } => answer[register.index()] >> bit & 1 == 1,
            Self::Field {
                register,
                shift,
                width,
                at_least,
                ..
            } => answer[register.index()] >> shift & ((1 << width) - 1) >= at_least,
            Self::Msr { .. } => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaf_of = |f: &mut fmt::Formatter<'_>, leaf: u32, subleaf: u32, register: Register| {
            write!(f, "CPUID {leaf:#x}")?;
            if subleaf != 0 {
                write!(f, ".{subleaf}")?;
            }
            write!(f, " {register}")
        };
        match *self {
            Self::Cpuid {
                leaf,
                subleaf,
                register,
                bit,
            } => {
                leaf_of(f, leaf, subleaf, register)?;
                write!(f, "[{bit}]")
            }
            Self::Field {
                leaf,
                subleaf,
                register,
                shift,
                width,
                at_least,
            } => {
                leaf_of(f, leaf, subleaf, register)?;
                write!(f, "[{}:{shift}] >= {at_least}", shift + width - 1)
            }
            Self::Msr { index, bit } => write!(f, "MSR {index:#x}[{bit}]"),
        }
    }
}

/// Row shorthand for [`Place::Cpuid`].
pub(crate) const fn leaf(leaf: u32, subleaf: u32, register: Register, bit: u8) -> Place {
    assert!(bit < 32);
    Place::Cpuid {
        leaf,
        subleaf,
        register,
        bit,
    }
}

/// Row shorthand for [`Place::Field`].
pub(crate) const fn field(
    leaf: u32,
    subleaf: u32,
    register: Register,
    shift: u8,
    width: u8,
    at_least: u32,
) -> Place {
    assert!(width > 0 && width < 32 && shift + width <= 32 && at_least > 0);
    Place::Field {
        leaf,
        subleaf,
        register,
        shift,
        width,
        at_least,
    }
}

/// Row shorthand for [`Place::Msr`].
pub(crate) const fn msr(index: u32, bit: u8) -> Place {
    assert!(bit < 64);
    Place::Msr { index, bit }
}
