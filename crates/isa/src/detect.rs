//! The CPU that runs this code.

use crate::feature::Feature;
use crate::place::Place;
use crate::set::FeatureSet;

/// The features of the CPU that runs the calling thread, less those whose state the operating system
/// has not enabled.
///
/// This is what CPUID shows *now*: in a guest, what its hypervisor lets it see; under CPUID faulting,
/// what the tracer answers. `osxsave` and `ospke` tell what the operating system has done and no
/// property of the CPU. AMX is counted as there if the kernel has enabled its state in XCR0, although
/// a Linux process must still ask for it by `arch_prctl`. On a hybrid machine the answer may differ
/// from core to core.
///
/// Bits in MSRs are never in the result. In a virtual machine each CPUID instruction costs an exit, some
/// thirty in all: keep the result.
#[must_use]
pub fn detect() -> FeatureSet {
    FeatureSet::from_cpuid(
        |leaf, subleaf| Some(cpuid(leaf, subleaf)),
        Some(xcr0().unwrap_or(0)),
    )
}

/// CPUID's answer `[eax, ebx, ecx, edx]` to one leaf and subleaf.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// XCR0: the state components that the operating system has enabled. `None` where it has not enabled
/// XSAVE at all (or the CPU has none).
#[must_use]
pub fn xcr0() -> Option<u64> {
    let os_has_enabled_xsave = match Feature::OsXsave.place() {
        place @ Place::Cpuid { leaf, subleaf, .. } => place.is_set_in(&cpuid(leaf, subleaf)),
        _ => false,
    };
    os_has_enabled_xsave.then(xgetbv::xcr0)
}

#[expect(unsafe_code, reason = "XGETBV has no safe form")]
mod xgetbv {
    /// Reads XCR0. The caller has seen OSXSAVE set, or this raises #UD.
    pub(super) fn xcr0() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: XGETBV with ECX = 0 reads a register into EAX and EDX and has no other effect. It is
        // reached only after CPUID has shown OSXSAVE, so it does not fault.
        unsafe {
            core::arch::asm!(
                "xgetbv",
                in("ecx") 0,
                out("eax") low,
                out("edx") high,
                options(nomem, nostack, preserves_flags),
            );
        }
        u64::from(high) << 32 | u64::from(low)
    }
}
