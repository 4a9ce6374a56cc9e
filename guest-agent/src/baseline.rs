//! The agent's own libc.
//!
//! glibc binds `memcpy`, `strlen` and friends to AVX2 or AVX-512 variants when
//! a program starts, by what CPUID shows then. The agent must run on when
//! these are gone, so it starts itself again with `GLIBC_TUNABLES` that hold
//! glibc at x86-64-v1, unless that is how it was started.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLE: &str = "glibc.cpu.hwcaps=";
/// Set when it has been tried, so that it is tried once.
const TRIED: &str = "ISAHOTPLUG_AGENT_BASELINE";

/// What glibc must not use. It ignores names that it does not know; those of
/// 2.33 and later are given, and `AVX_Fast_Unaligned_Load` is how it prefers
/// AVX for `memcpy`.
const REFUSED: &str = "-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX2,-AVX,\
    -AVX_Fast_Unaligned_Load,-FMA,-FMA4,-F16C,-BMI1,-BMI2,-LZCNT,-MOVBE,-POPCNT,\
    -SSE4_2,-SSE4_1,-SSSE3,-SSE3,-RTM";

/// Replaces the running program by itself, held at the baseline. Returns only
/// if that is done already or cannot be done.
///
/// # Errors
/// If the program cannot be started again: it may then die when its guest
/// loses what glibc chose.
pub fn hold() -> Result<(), std::io::Error> {
    let current = env::var_os(VARIABLE);
    let Some(tunables) = wanted(current.as_ref().and_then(|value| value.to_str())) else {
        return Ok(());
    };
    if env::var_os(TRIED).is_some() {
        return Err(std::io::Error::other(format!(
            "{VARIABLE} does not reach the program"
        )));
    }
    let error = Command::new("/proc/self/exe")
        .args(env::args_os().skip(1))
        .arg0(
            env::args_os()
                .next()
                .unwrap_or_else(|| OsString::from("guest-agent")),
        )
        .env(VARIABLE, tunables)
        .env(TRIED, "1")
        .exec();
    Err(error)
}

/// The tunables with ours in them; `None` if they are.
fn wanted(current: Option<&str>) -> Option<String> {
    let mut others = Vec::new();
    let mut capabilities: Vec<&str> = Vec::new();
    for tunable in current
        .unwrap_or("")
        .split(':')
        .filter(|tunable| !tunable.is_empty())
    {
        match tunable.strip_prefix(TUNABLE) {
            Some(list) => capabilities.extend(list.split(',').filter(|name| !name.is_empty())),
            None => others.push(tunable),
        }
    }
    let missing: Vec<&str> = REFUSED
        .split(',')
        .filter(|name| !capabilities.contains(name))
        .collect();
    if missing.is_empty() {
        return None;
    }
    capabilities.extend(missing);
    let hwcaps = format!("{TUNABLE}{}", capabilities.join(","));
    others.push(&hwcaps);
    Some(others.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunables_of_the_operator_stay() {
        let tunables = wanted(Some("glibc.malloc.check=1:glibc.cpu.hwcaps=-ERMS,-AVX2")).unwrap();
        assert!(
            tunables.starts_with("glibc.malloc.check=1:glibc.cpu.hwcaps=-ERMS,-AVX2,-AVX512F,")
        );
        assert_eq!(tunables.matches("-AVX2").count(), 1);
        assert_eq!(wanted(Some(&tunables)), None, "once is enough");
        assert!(
            wanted(None)
                .unwrap()
                .starts_with("glibc.cpu.hwcaps=-AVX512F,")
        );
    }
}
