//! The names of the features as C strings that live for ever.

use core::ffi::CStr;

use isa::Feature;

/// Bytes of all names, each with the zero that ends it.
const LENGTH: usize = {
    let (mut length, mut at) = (0, 0);
    while at < Feature::ALL.len() {
        length += Feature::ALL[at].name().len() + 1;
        at += 1;
    }
    length
};

/// Ids are below this.
const IDS: usize = 512;

struct Names {
    bytes: [u8; LENGTH],
    /// By id: where the name begins and how long it is with its zero; 0 for no feature.
    places: [(u16, u16); IDS],
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked by the assertion; const code has no try_from"
)]
static NAMES: Names = {
    assert!(LENGTH <= u16::MAX as usize);
    let mut names = Names {
        bytes: [0; LENGTH],
        places: [(0, 0); IDS],
    };
    let (mut end, mut at) = (0, 0);
    while at < Feature::ALL.len() {
        let name = Feature::ALL[at].name().as_bytes();
        let start = end;
        while end - start < name.len() {
            names.bytes[end] = name[end - start];
            end += 1;
        }
        end += 1;
        names.places[Feature::ALL[at].id() as usize] = (start as u16, (end - start) as u16);
        at += 1;
    }
    names
};

/// The name of the feature with this id. Async-signal-safe.
pub(crate) fn of(id: u32) -> Option<&'static CStr> {
    let (start, length) = *NAMES.places.get(usize::try_from(id).ok()?)?;
    let (start, length) = (usize::from(start), usize::from(length));
    CStr::from_bytes_with_nul(NAMES.bytes.get(start..start + length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_its_name() {
        for feature in Feature::all() {
            let name = of(feature.id().into()).unwrap();
            assert_eq!(name.to_str(), Ok(feature.name()));
        }
        let ids: Vec<u32> = Feature::all().map(|feature| feature.id().into()).collect();
        for id in (0..1000).filter(|id| !ids.contains(id)).chain([u32::MAX]) {
            assert_eq!(of(id), None, "{id}");
        }
    }
}
