//! The compiler's names of features, as `#[target_feature]` takes them.

use isa::{Feature, FeatureSet};

/// A name, what it stands for, and what the compiler takes for granted with it (rustc's
/// `target_features.rs`): it may use any of that.
type Row = (&'static str, Feature, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("adx", Feature::Adx, &[]),
    ("aes", Feature::Aes, &[]),
    ("avx", Feature::Avx, &["sse4.2"]),
    ("avx2", Feature::Avx2, &["avx"]),
    ("avx512bf16", Feature::Avx512bf16, &["avx512bw"]),
    ("avx512bitalg", Feature::Avx512bitalg, &["avx512bw"]),
    ("avx512bw", Feature::Avx512bw, &["avx512f"]),
    ("avx512cd", Feature::Avx512cd, &["avx512f"]),
    ("avx512dq", Feature::Avx512dq, &["avx512f"]),
    ("avx512f", Feature::Avx512f, &["avx2", "fma", "f16c"]),
    ("avx512fp16", Feature::Avx512fp16, &["avx512bw"]),
    ("avx512ifma", Feature::Avx512ifma, &["avx512f"]),
    ("avx512vbmi", Feature::Avx512vbmi, &["avx512bw"]),
    ("avx512vbmi2", Feature::Avx512vbmi2, &["avx512bw"]),
    ("avx512vl", Feature::Avx512vl, &["avx512f"]),
    ("avx512vnni", Feature::Avx512vnni, &["avx512f"]),
    (
        "avx512vp2intersect",
        Feature::Avx512vp2intersect,
        &["avx512f"],
    ),
    ("avx512vpopcntdq", Feature::Avx512vpopcntdq, &["avx512f"]),
    ("avxifma", Feature::AvxIfma, &["avx2"]),
    ("avxneconvert", Feature::AvxNeConvert, &["avx2"]),
    ("avxvnni", Feature::AvxVnni, &["avx2"]),
    ("avxvnniint16", Feature::AvxVnniInt16, &["avx2"]),
    ("avxvnniint8", Feature::AvxVnniInt8, &["avx2"]),
    ("bmi1", Feature::Bmi1, &[]),
    ("bmi2", Feature::Bmi2, &[]),
    ("cmpxchg16b", Feature::Cx16, &[]),
    ("f16c", Feature::F16c, &["avx"]),
    ("fma", Feature::Fma, &["avx"]),
    ("gfni", Feature::Gfni, &[]),
    ("lzcnt", Feature::Abm, &[]),
    ("movbe", Feature::Movbe, &[]),
    ("pclmulqdq", Feature::Pclmulqdq, &[]),
    ("popcnt", Feature::Popcnt, &[]),
    ("rdrand", Feature::Rdrand, &[]),
    ("rdseed", Feature::Rdseed, &[]),
    ("sha", Feature::ShaNi, &[]),
    ("sha512", Feature::Sha512, &["avx2"]),
    ("sm3", Feature::Sm3, &["avx"]),
    ("sm4", Feature::Sm4, &["avx2"]),
    ("sse3", Feature::Sse3, &[]),
    ("sse4.1", Feature::Sse41, &["ssse3"]),
    ("sse4.2", Feature::Sse42, &["sse4.1"]),
    ("sse4a", Feature::Sse4a, &["sse3"]),
    ("ssse3", Feature::Ssse3, &["sse3"]),
    ("tbm", Feature::Tbm, &[]),
    ("vaes", Feature::Vaes, &["avx2", "aes"]),
    ("vpclmulqdq", Feature::Vpclmulqdq, &["avx", "pclmulqdq"]),
];

/// What the compiler may use in a function with `#[target_feature(enable = "LIST")]`, beyond what
/// every x86-64 has. For constants.
///
/// # Panics
/// If one of the names, which are separated by commas, is not known here.
#[doc(hidden)]
pub const fn target_features(list: &str) -> FeatureSet {
    let bytes = list.as_bytes();
    let mut all = FeatureSet::EMPTY;
    let (mut from, mut at) = (0, 0);
    while at <= bytes.len() {
        if at == bytes.len() || bytes[at] == b',' {
            let (_, rest) = bytes.split_at(from);
            let (name, _) = rest.split_at(at - from);
            all = all.union(implied(name.trim_ascii()));
            from = at + 1;
        }
        at += 1;
    }
    all
}

const fn implied(name: &[u8]) -> FeatureSet {
    let mut at = 0;
    while at < ROWS.len() {
        let (other, feature, implies) = &ROWS[at];
        if is_same(other.as_bytes(), name) {
            let mut all = FeatureSet::EMPTY.with(*feature);
            let mut next = 0;
            while next < implies.len() {
                all = all.union(implied(implies[next].as_bytes()));
                next += 1;
            }
            return all;
        }
        at += 1;
    }
    panic!("a target feature that isahotplug does not know")
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use isa::features;

    use super::*;

    #[test]
    fn a_list_stands_for_all_that_the_compiler_may_use() {
        let avx = features![Avx, Sse42, Sse41, Ssse3, Sse3];
        assert_eq!(target_features("avx2,fma"), avx | features![Avx2, Fma]);
        assert_eq!(
            target_features("avx512f"),
            avx | features![Avx512f, Avx2, Fma, F16c]
        );
        assert_eq!(target_features("lzcnt, bmi1"), features![Abm, Bmi1]);
        for unknown in ["avx3", "", "avx2,", "avx 2"] {
            assert!(
                std::panic::catch_unwind(|| target_features(unknown)).is_err(),
                "{unknown:?}"
            );
        }
    }

    #[test]
    fn the_compilers_names_are_names_of_the_same_features() {
        for (name, feature, _) in ROWS {
            let by_name = Feature::from_name(name);
            assert!(by_name.is_none_or(|other| other == *feature), "{name}");
        }
    }
}
