//! Trying what the CPUs execute.
//!
//! CPUID does not tell what the host under the guest can do: it may hide what
//! works, and shows what no longer does. So each feature that has a harmless
//! instruction is executed, on every CPU the guest has, under a guard that
//! turns #UD into an answer. This binary is built for x86-64-v1; the probes in
//! [`instructions`] are the only code in it above that.
//!
//! It happens on a thread of its own, so that the daemon's affinity, signal
//! mask and vector registers stay as they are.

mod guard;
mod instructions;

use std::io;
use std::thread;

use isa::{Feature, FeatureSet};

use instructions::PROBES;

/// Most CPUs that are looked for.
const MOST_CPUS: usize = 8192;
type CpuMask = [u64; MOST_CPUS / 64];

/// The features that can be tried.
pub(crate) fn can_be_tried() -> FeatureSet {
    PROBES.iter().map(|(feature, _)| *feature).collect()
}

/// Of `features`, those that some CPU refuses. Features that cannot be tried
/// are never among them.
///
/// # Errors
/// If no thread can be started for it or the CPUs cannot be told apart.
pub(crate) fn refused(features: FeatureSet) -> io::Result<FeatureSet> {
    let features = features.intersection(can_be_tried());
    if features.is_empty() {
        return Ok(features);
    }
    let thread = thread::Builder::new().name("probe".into());
    let thread = thread.spawn(move || refused_here(features))?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probing thread panicked")))
}

/// On the calling thread, which ends after it.
fn refused_here(features: FeatureSet) -> io::Result<FeatureSet> {
    let guard = guard::Guard::new()?;
    let mut refused = FeatureSet::EMPTY;
    for cpu in allowed_cpus()? {
        let mut only: CpuMask = [0; MOST_CPUS / 64];
        only[cpu / 64] = 1 << (cpu % 64);
        match set_affinity(&only) {
            Ok(()) => {}
            // It was taken offline meanwhile: nothing runs on it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            Err(error) => return Err(error),
        }
        let xcr0 = isa::xcr0().unwrap_or(0);
        for (feature, probe) in PROBES {
            if features.contains(*feature) && !executes(*feature, *probe, xcr0, &guard) {
                refused.insert(*feature);
            }
        }
    }
    Ok(refused)
}

/// Whether the CPU that runs the thread executes the probe as it should.
///
/// Without its state in XCR0 a vector instruction is not even tried: hardware
/// would refuse it, and an emulator that does not would lose the registers.
fn executes(feature: Feature, probe: instructions::Probe, xcr0: u64, guard: &guard::Guard) -> bool {
    feature.xcr0() & !xcr0 == 0 && guard.run(probe)
}

/// All CPUs on which this process could run, whatever its affinity is now.
fn allowed_cpus() -> io::Result<Vec<usize>> {
    // The kernel reduces a mask of all CPUs to those of our cpuset.
    set_affinity(&[u64::MAX; MOST_CPUS / 64])?;
    let mut mask: CpuMask = [0; MOST_CPUS / 64];
    // SAFETY: the kernel writes at most the given number of bytes into `mask`.
    let status =
        unsafe { libc::sched_getaffinity(0, size_of::<CpuMask>(), mask.as_mut_ptr().cast()) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((0..MOST_CPUS)
        .filter(|cpu| mask[cpu / 64] >> (cpu % 64) & 1 == 1)
        .collect())
}

fn set_affinity(mask: &CpuMask) -> io::Result<()> {
    // SAFETY: the kernel reads the given number of bytes from `mask`.
    let status = unsafe { libc::sched_setaffinity(0, size_of::<CpuMask>(), mask.as_ptr().cast()) };
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probes and CPUID agree wherever no hypervisor hides a feature that the
    /// CPU has; what CPUID shows must run in any case.
    #[test]
    fn what_cpuid_shows_runs() {
        let shown = isa::detect().intersection(can_be_tried());
        assert!(shown.len() > 5, "the CPU shows next to nothing: {shown}");
        let refused = refused(can_be_tried()).unwrap();
        // For `a_lesser_cpu_refuses_what_it_lacks`, which runs this elsewhere.
        println!("\nshown:{}\nrefused:{refused}", isa::detect());
        // A hypervisor may hide what its CPU executes all the same.
        assert_eq!(refused.intersection(shown), FeatureSet::EMPTY);
    }

    /// No CPU has both: XOP and FMA4 are AMD's of 2011 to 2017.
    #[test]
    fn what_no_cpu_has_any_more_is_refused_and_nobody_dies() {
        let gone = isa::features![Xop, Fma4, Tbm, ThreeDnow].difference(isa::detect());
        if gone.is_empty() {
            return skip(
                "what_no_cpu_has_any_more_is_refused",
                "this CPU has XOP, FMA4, TBM",
            );
        }
        for _ in 0..100 {
            assert_eq!(refused(gone).unwrap(), gone);
        }
    }

    /// A lesser CPU, as QEMU's user mode plays it, refuses just what it lacks,
    /// and gives the silent features away by their results.
    #[test]
    fn a_lesser_cpu_refuses_what_it_lacks() {
        let silent = isa::features![Abm, Bmi1];
        for model in ["Nehalem", "Westmere", "Haswell", "EPYC", "max,-avx2", "max"] {
            let mut command = std::process::Command::new("qemu-x86_64");
            command
                .args(["-cpu", model])
                .arg(std::env::current_exe().unwrap());
            command.args([
                "--exact",
                "probe::tests::what_cpuid_shows_runs",
                "--nocapture",
            ]);
            let Ok(output) = command.output() else {
                return skip(
                    "a_lesser_cpu_refuses_what_it_lacks",
                    "qemu-x86_64 is not installed",
                );
            };
            let text = String::from_utf8_lossy(&output.stdout);
            let line = |title: &str| -> FeatureSet {
                let found = text.lines().find_map(|line| line.strip_prefix(title));
                found
                    .unwrap_or_else(|| panic!("{model}: {title:?} is not in {text}"))
                    .parse()
                    .unwrap()
            };
            let (shown, refused) = (line("shown:"), line("refused:"));
            let lacks = can_be_tried().difference(shown);
            assert_eq!(refused, lacks, "{model}");
            // QEMU 10 confuses them: there LZCNT goes with BMI1 and TZCNT with
            // ABM. These models have both or none.
            assert!(
                refused.is_superset(&silent) || refused.is_disjoint(&silent),
                "{model}"
            );
        }
    }

    #[test]
    fn without_its_state_nothing_is_tried() {
        extern "C" fn executed() -> u64 {
            1
        }
        let guard = guard::Guard::new().unwrap();
        let ymm = isa::xcr0::SSE | isa::xcr0::AVX;
        assert!(!executes(Feature::Avx2, executed, 0, &guard));
        assert!(executes(Feature::Avx2, executed, ymm, &guard));
        assert!(!executes(Feature::Avx512f, executed, ymm, &guard));
        assert!(executes(Feature::Ssse3, executed, 0, &guard));
    }

    #[test]
    fn what_cannot_be_tried_is_never_refused() {
        assert_eq!(
            refused(isa::features![Sse2, Lm, Hle]).unwrap(),
            FeatureSet::EMPTY
        );
    }

    #[test]
    fn the_silent_features_are_tried_by_their_results() {
        assert!(isa::features![Abm, Bmi1].is_subset(&can_be_tried()));
    }

    #[test]
    fn the_affinity_of_the_caller_stays() {
        let before = allowed_now();
        refused(isa::features![Ssse3]).unwrap();
        assert_eq!(allowed_now(), before);
    }

    fn allowed_now() -> Vec<String> {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status
            .lines()
            .filter(|l| l.starts_with("Cpus_allowed"))
            .map(String::from)
            .collect()
    }

    fn skip(test: &str, reason: &str) {
        use std::io::Write;
        if let Some(path) = std::env::var_os("ISAHOTPLUG_SKIPS") {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path);
            writeln!(file.unwrap(), "{test}: {reason}").unwrap();
        }
    }
}
