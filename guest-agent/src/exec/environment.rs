//! What the program finds in its environment.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use isa::FeatureSet;

use crate::baseline;

/// Variables by name.
type Variables = HashMap<OsString, OsString>;

const PRELOAD: &str = "LD_PRELOAD";

/// Puts `object` first among the objects that are preloaded; those that there are stay.
pub(super) fn preload(variables: &mut Variables, object: &Path) {
    let mut value = object.as_os_str().to_owned();
    let before = variables.get(OsStr::new(PRELOAD));
    let before = before.map_or(&[][..], |before| before.as_bytes());
    // Spaces and colons separate them (ld.so(8)).
    let others = before.split(|byte| b" :".contains(byte));
    for other in others.filter(|other| !other.is_empty()) {
        if *other != *object.as_os_str().as_bytes() {
            value.push(":");
            value.push(OsStr::from_bytes(other));
        }
    }
    variables.insert(PRELOAD.into(), value);
}

/// Keeps glibc from using more than `allowed` beyond x86-64-v1.
pub(super) fn hold_glibc(variables: &mut Variables, allowed: FeatureSet) {
    let current = variables.get(OsStr::new(baseline::VARIABLE));
    if let Some(tunables) = baseline::tunables(current.map(OsString::as_os_str), allowed) {
        variables.insert(baseline::VARIABLE.into(), tunables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preloaded(before: Option<&str>) -> OsString {
        let mut variables = Variables::new();
        if let Some(before) = before {
            variables.insert(PRELOAD.into(), before.into());
        }
        preload(&mut variables, Path::new("/lib/ours.so"));
        variables.remove(OsStr::new(PRELOAD)).unwrap()
    }

    #[test]
    fn the_object_comes_first_and_once_and_the_others_stay() {
        assert_eq!(preloaded(None), "/lib/ours.so");
        assert_eq!(preloaded(Some("")), "/lib/ours.so");
        assert_eq!(preloaded(Some("a.so b.so")), "/lib/ours.so:a.so:b.so");
        assert_eq!(preloaded(Some("a.so:/lib/ours.so")), "/lib/ours.so:a.so");
    }
}
