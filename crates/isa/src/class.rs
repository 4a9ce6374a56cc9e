//! What the loss of a feature means, and to whom a feature belongs.

use core::fmt;

/// What it means when a feature goes away under a running guest.
///
/// The class in the table is the *default*: what happens on hardware to a guest that runs Linux and
/// saw the feature when it booted. The whole truth depends on the guest's kernel, its loaded modules,
/// its XCR0 and the target hypervisor as well, and is the planner's to find out. A feature that the
/// guest's kernel never saw (a bonus) cannot be [`Kernel`](Self::Kernel): if it has instructions for
/// user space they fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemovalClass {
    /// The lesser CPU raises #UD. May be notified lazily, may be emulated.
    Faulting,
    /// The lesser CPU runs something else without a fault: LZCNT runs as BSR, TZCNT as BSF. Only an
    /// acknowledged removal is safe.
    Silent,
    /// The feature brings an XSAVE component with it. XCR0 and the layout of the XSAVE area are fixed
    /// when the guest boots, so every host must have the component.
    State,
    /// The running kernel uses it: patched in at boot, or set in a control register. It cannot go away
    /// while the guest runs.
    Kernel,
    /// It tells of speed only, or its instructions are NOPs elsewhere. Nothing computes differently.
    Hint,
    /// A mitigation of a speculation attack, or the promise that none is needed. Hosts are merged by
    /// rules of their own.
    Security,
}

impl RemovalClass {
    /// Every class, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Faulting,
        Self::Silent,
        Self::State,
        Self::Kernel,
        Self::Hint,
        Self::Security,
    ];

    /// The class in one lower-case word, as it is printed and configured.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faulting => "faulting",
            Self::Silent => "silent",
            Self::State => "state",
            Self::Kernel => "kernel",
            Self::Hint => "hint",
            Self::Security => "security",
        }
    }
}

impl fmt::Display for RemovalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whose CPUs have the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// Intel and AMD, or announced by both.
    Both,
    /// Intel only.
    Intel,
    /// AMD (and Hygon, which took the design over) only.
    Amd,
    /// Centaur (VIA) and Zhaoxin only.
    Centaur,
}

/// Whether a feature brings instructions, and who may run them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instructions {
    /// Instructions that run in user mode. Only these can be worth announcing to a program.
    User,
    /// Instructions for the kernel alone.
    Kernel,
    /// No instruction of its own: a property, a control bit, an MSR, or existing instructions that
    /// have become faster.
    None,
}

/// Where the name of a feature is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// Linux prints it in `/proc/cpuinfo`.
    Cpuinfo,
    /// Linux does not print it, but has a macro `X86_FEATURE_…` for it: that, in lower case.
    LinuxMacro,
    /// QEMU's property, with underscores for hyphens.
    Qemu,
    /// Xen's `XEN_CPUFEATURE(…)`, in lower case.
    Xen,
    /// None of these names it: after the vendor's manual.
    Manual,
}
