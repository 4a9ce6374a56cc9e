//! glibc's own choices: the agent's, and those of programs that it starts.
//!
//! glibc binds `memcpy`, `strlen` and friends to AVX2 or AVX-512 variants when
//! a program starts, by what CPUID shows then. The agent must run on when
//! these are gone, so it starts itself again with `GLIBC_TUNABLES` that hold
//! glibc at x86-64-v1, unless that is how it was started.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use isa::{Feature, FeatureSet, features};

/// The variable that glibc reads.
pub(crate) const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLE: &str = "glibc.cpu.hwcaps=";
/// Set when it has been tried, so that it is tried once, to what the tunables were before.
const TRIED: &str = "ISAHOTPLUG_AGENT_BASELINE";

/// What glibc can be told not to use, by its own names, and what each needs. It ignores names that it
/// does not know; those of 2.33 and later are given, and `AVX_Fast_Unaligned_Load` is how it prefers
/// AVX for `memcpy` where there is AVX2.
const NAMES: [(&str, Feature); 21] = [
    ("AVX512F", Feature::Avx512f),
    ("AVX512VL", Feature::Avx512vl),
    ("AVX512BW", Feature::Avx512bw),
    ("AVX512CD", Feature::Avx512cd),
    ("AVX512DQ", Feature::Avx512dq),
    ("AVX2", Feature::Avx2),
    ("AVX", Feature::Avx),
    ("AVX_Fast_Unaligned_Load", Feature::Avx2),
    ("FMA", Feature::Fma),
    ("FMA4", Feature::Fma4),
    ("F16C", Feature::F16c),
    ("BMI1", Feature::Bmi1),
    ("BMI2", Feature::Bmi2),
    ("LZCNT", Feature::Abm),
    ("MOVBE", Feature::Movbe),
    ("POPCNT", Feature::Popcnt),
    ("SSE4_2", Feature::Sse42),
    ("SSE4_1", Feature::Sse41),
    ("SSSE3", Feature::Ssse3),
    ("SSE3", Feature::Sse3),
    ("RTM", Feature::Rtm),
];

/// What is above x86-64-v1 in the second level of the System V ABI (AMD64 supplement, 3.1.1), as far
/// as glibc's choices depend on it.
const LEVEL_2: FeatureSet = features![Popcnt, Sse3, Sse41, Sse42, Ssse3];
/// The third.
const LEVEL_3: FeatureSet = LEVEL_2.union(features![Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Abm, Movbe]);
/// The fourth.
const LEVEL_4: FeatureSet =
    LEVEL_3.union(features![Avx512f, Avx512bw, Avx512cd, Avx512dq, Avx512vl]);

/// What `text` lets glibc use beyond x86-64-v1: a level (`x86-64`, `x86-64-v2` and so on), or names of
/// features with commas between them, and what those depend on.
///
/// # Errors
/// Says what is no feature's name.
pub fn parse(text: &str) -> Result<FeatureSet, String> {
    match text {
        "x86-64" | "x86-64-v1" => Ok(FeatureSet::EMPTY),
        "x86-64-v2" => Ok(LEVEL_2),
        "x86-64-v3" => Ok(LEVEL_3),
        "x86-64-v4" => Ok(LEVEL_4),
        names => names
            .parse::<FeatureSet>()
            .map(FeatureSet::with_dependencies)
            .map_err(|error| {
                format!("{error}; a baseline is x86-64, x86-64-v2, -v3 or -v4, or features")
            }),
    }
}

/// Replaces the running program by itself, held at the baseline. Returns only
/// if that is done already or cannot be done.
///
/// # Errors
/// If the program cannot be started again: it may then die when its guest
/// loses what glibc chose.
pub fn hold() -> Result<(), std::io::Error> {
    let current = env::var_os(VARIABLE);
    let Some(tunables) = tunables(current.as_deref(), FeatureSet::EMPTY) else {
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
        .env(TRIED, current.as_deref().unwrap_or_default())
        .exec();
    Err(error)
}

/// The environment as it was before [`hold`] started the agent again: for programs that the agent
/// starts.
pub(crate) fn original_environment() -> HashMap<OsString, OsString> {
    let mut variables: HashMap<OsString, OsString> = env::vars_os().collect();
    match variables.remove(OsStr::new(TRIED)) {
        None => {}
        Some(before) if before.is_empty() => {
            variables.remove(OsStr::new(VARIABLE));
        }
        Some(before) => {
            variables.insert(VARIABLE.into(), before);
        }
    }
    variables
}

/// The value of [`VARIABLE`] with which glibc uses nothing beyond x86-64-v1 but `allowed`; the tunables
/// of `current` stay. `None` if `current` is that already.
pub(crate) fn tunables(current: Option<&OsStr>, allowed: FeatureSet) -> Option<OsString> {
    let current = current.unwrap_or_default().as_bytes();
    let tunables = current.split(|&byte| byte == b':');
    let mut others: Vec<&[u8]> = Vec::new();
    let mut capabilities: Vec<&[u8]> = Vec::new();
    for tunable in tunables.filter(|tunable| !tunable.is_empty()) {
        match tunable.strip_prefix(TUNABLE.as_bytes()) {
            Some(list) => capabilities.extend(
                list.split(|&byte| byte == b',')
                    .filter(|name| !name.is_empty()),
            ),
            None => others.push(tunable),
        }
    }
    let refused: Vec<String> = NAMES
        .iter()
        .filter(|(_, feature)| !allowed.contains(*feature))
        .map(|(name, _)| format!("-{name}"))
        .filter(|name| !capabilities.contains(&name.as_bytes()))
        .collect();
    if refused.is_empty() {
        return None;
    }
    capabilities.extend(refused.iter().map(String::as_bytes));
    let hwcaps = [TUNABLE.as_bytes(), &capabilities.join(&b',')].concat();
    others.push(&hwcaps);
    Some(OsString::from_vec(others.join(&b':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(current: Option<&str>, allowed: FeatureSet) -> Option<String> {
        let tunables = tunables(current.map(OsStr::new), allowed)?;
        Some(tunables.into_string().unwrap())
    }

    #[test]
    fn the_tunables_of_the_operator_stay() {
        let current = "glibc.malloc.check=1:glibc.cpu.hwcaps=-ERMS,-AVX2";
        let tunables = with(Some(current), FeatureSet::EMPTY).unwrap();
        assert!(
            tunables.starts_with("glibc.malloc.check=1:glibc.cpu.hwcaps=-ERMS,-AVX2,-AVX512F,")
        );
        assert_eq!(tunables.matches("-AVX2").count(), 1);
        assert_eq!(
            with(Some(&tunables), FeatureSet::EMPTY),
            None,
            "once is enough"
        );
        assert!(
            with(None, FeatureSet::EMPTY)
                .unwrap()
                .starts_with("glibc.cpu.hwcaps=-AVX512F,")
        );
    }

    #[test]
    fn each_level_refuses_what_is_above_it() {
        let refused = |level: &str| {
            let tunables = with(None, parse(level).unwrap()).unwrap();
            let names = tunables.strip_prefix(TUNABLE).unwrap().to_owned();
            let mut names: Vec<String> = names.split(',').map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(refused("x86-64").len(), NAMES.len());
        assert_eq!(refused("x86-64"), refused("x86-64-v1"));
        assert_eq!(refused("x86-64-v4"), ["-FMA4", "-RTM"]);
        let v3 = refused("x86-64-v3");
        assert!(v3.contains(&"-AVX512F".to_owned()) && !v3.contains(&"-AVX2".to_owned()));
        let v2 = refused("x86-64-v2");
        assert!(v2.contains(&"-AVX_Fast_Unaligned_Load".to_owned()));
        assert!(v2.contains(&"-LZCNT".to_owned()) && !v2.contains(&"-SSE4_2".to_owned()));
    }

    #[test]
    fn features_bring_what_they_depend_on() {
        let allowed = parse("avx2,bmi2").unwrap();
        assert!(allowed.is_superset(&features![Avx2, Avx, Bmi2]));
        let tunables = with(None, allowed).unwrap();
        assert!(!tunables.contains("-AVX,") && tunables.contains("-BMI1"));
        assert!(parse("avx3").unwrap_err().contains("avx3"));
        assert!(parse("x86-64-v5").is_err());
    }
}
