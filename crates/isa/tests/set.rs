//! The algebra of sets, with `BTreeSet` as the oracle, and their text form.

use std::collections::BTreeSet;

use isa::{CAPACITY, Feature, FeatureSet, RemovalClass, WORDS, features};
use proptest::collection::btree_set;
use proptest::prelude::*;

/// Ids of the whole capacity, so that unknown ones are among them.
fn ids() -> impl Strategy<Value = BTreeSet<u16>> {
    btree_set(
        (0..CAPACITY).prop_map(|id| u16::try_from(id).unwrap_or(0)),
        0..80,
    )
}

fn set_of(ids: &BTreeSet<u16>) -> FeatureSet {
    let mut words = [0u64; WORDS];
    for &id in ids {
        words[usize::from(id / 64)] |= 1 << (id % 64);
    }
    FeatureSet::from_words(words)
}

fn ids_of(set: FeatureSet) -> BTreeSet<u16> {
    set.iter()
        .map(Feature::id)
        .chain(set.unknown_ids())
        .collect()
}

proptest! {
    #[test]
    fn operations_are_those_of_sets(a in ids(), b in ids()) {
        let (x, y) = (set_of(&a), set_of(&b));
        prop_assert_eq!(ids_of(x), a.clone());
        prop_assert_eq!(ids_of(x | y), &a | &b);
        prop_assert_eq!(ids_of(x & y), &a & &b);
        prop_assert_eq!(ids_of(x - y), &a - &b);
        prop_assert_eq!(ids_of(x ^ y), &a ^ &b);
        prop_assert_eq!(x.len(), a.len());
        prop_assert_eq!(x.is_empty(), a.is_empty());
        prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
        prop_assert_eq!(x.is_superset(&y), a.is_superset(&b));
        prop_assert_eq!(x.is_disjoint(&y), a.is_disjoint(&b));
        prop_assert!((x & y).is_subset(&x) && x.is_subset(&(x | y)));

        let mut assigned = x;
        assigned |= y;
        prop_assert_eq!(assigned, x | y);
        assigned -= x;
        prop_assert_eq!(assigned, y - x);
        assigned ^= x;
        prop_assert_eq!(assigned, x | y);
        assigned &= y;
        prop_assert_eq!(assigned, y);
    }

    #[test]
    fn insert_and_remove_touch_one_feature(a in ids(), at in 0..Feature::ALL.len()) {
        let feature = Feature::ALL[at];
        let before = set_of(&a);
        let mut set = before;
        prop_assert_eq!(set.insert(feature), !before.contains(feature));
        prop_assert!(set.contains(feature) && !set.insert(feature));
        prop_assert_eq!(set, before.with(feature));
        prop_assert!(set.remove(feature) && !set.contains(feature) && !set.remove(feature));
        prop_assert_eq!(set, before.without(feature));
    }

    #[test]
    fn iterates_in_the_order_of_ids(a in ids()) {
        let set = set_of(&a);
        let known: Vec<Feature> = set.iter().collect();
        prop_assert!(known.is_sorted());
        prop_assert_eq!(set.iter().len(), known.len());
        prop_assert_eq!(known.iter().copied().collect::<FeatureSet>(), set.known());
        let unknown: Vec<u16> = set.unknown_ids().collect();
        prop_assert!(unknown.is_sorted());
        prop_assert!(unknown.iter().all(|&id| Feature::from_id(id).is_none()));
        prop_assert_eq!(known.len() + unknown.len(), set.len());
    }

    #[test]
    fn text_form_is_read_back(a in ids()) {
        let set = set_of(&a);
        let text = set.to_string();
        prop_assert_eq!(text.parse(), Ok(set));
        prop_assert_eq!(text.replace(' ', ",").parse(), Ok(set));
        prop_assert_eq!(text.replace(' ', ", \n").parse(), Ok(set));
        prop_assert_eq!(text.split_whitespace().count(), set.len());
    }

    #[test]
    fn reading_any_text_does_not_panic(text in ".{0,80}") {
        if let Err(error) = text.parse::<FeatureSet>() {
            prop_assert!(!error.word().is_empty() && text.contains(error.word()));
        }
    }

    #[test]
    fn closures_are_closures(a in ids(), b in ids()) {
        let (set, other) = (set_of(&a), set_of(&b));
        let needs = |set: FeatureSet| {
            set.iter().fold(FeatureSet::EMPTY, |all, feature| all | feature.dependencies())
        };

        let up = set.with_dependencies();
        prop_assert!(set.is_subset(&up) && needs(up).is_subset(&up));
        prop_assert_eq!(up.with_dependencies(), up);
        prop_assert_eq!(up.closed(), up);

        let down = set.closed();
        prop_assert!(down.is_subset(&set) && needs(down).is_subset(&down));
        prop_assert_eq!(down.closed(), down);
        // The largest such set: whatever consistent set is within, is within the result.
        let consistent = (set & other).closed();
        prop_assert!(consistent.is_subset(&down));
        // An unknown id has no known dependency, and is kept.
        prop_assert!(down.unknown_ids().eq(set.unknown_ids()));
    }

    #[test]
    fn nothing_that_remains_needs_what_was_removed(a in ids(), b in ids()) {
        let (set, removed) = (set_of(&a), set_of(&b));
        let rest = set.without_dependents_of(removed);
        prop_assert!(rest.is_subset(&(set - removed)));
        for feature in set - removed {
            let needs = FeatureSet::from(feature).with_dependencies();
            prop_assert_eq!(rest.contains(feature), needs.is_disjoint(&removed));
        }
        // On a consistent set both ways to drop dependents agree.
        let whole = set.with_dependencies();
        prop_assert_eq!(whole.without_dependents_of(removed), (whole - removed).closed());
    }

    #[test]
    fn classes_part_the_known_features(a in ids()) {
        let set = set_of(&a);
        let mut all = FeatureSet::EMPTY;
        for class in RemovalClass::ALL {
            let part = set.of_class(class);
            prop_assert!(part.is_disjoint(&all));
            all |= part;
        }
        prop_assert_eq!(all, set.known());
    }
}

#[test]
fn a_bit_of_a_word_is_an_id() {
    let mut words = [0; WORDS];
    words[usize::from(Feature::Avx2.id()) / 64] = 1 << (Feature::Avx2.id() % 64);
    assert_eq!(FeatureSet::from_words(words), features![Avx2]);
    assert_eq!(features![Avx2].words(), words);
    assert_eq!(size_of::<FeatureSet>(), 64);
}

#[test]
fn names_are_printed_in_the_order_of_ids() {
    let set = features![Fma, Sse3, Avx2];
    assert_eq!(set.to_string(), "pni fma avx2");
    assert_eq!(format!("{set:?}"), "{pni fma avx2}");
    assert_eq!(FeatureSet::EMPTY.to_string(), "");
    assert_eq!(FeatureSet::default(), FeatureSet::EMPTY);
}

#[test]
fn an_id_of_a_newer_peer_survives() {
    let set: FeatureSet = "avx2 #511".parse().unwrap();
    assert_eq!(set.unknown_ids().collect::<Vec<_>>(), [511]);
    assert_eq!(set.to_string(), "avx2 #511");
    assert_eq!(set.iter().collect::<Vec<_>>(), [Feature::Avx2]);
    assert_eq!(set.known(), features![Avx2]);
    // A known feature may be written by its id too.
    assert_eq!("#0".parse(), Ok(features![Sse3]));
}

#[test]
fn the_unknown_word_is_named() {
    let word = |text: &str| text.parse::<FeatureSet>().unwrap_err().word().to_owned();
    assert_eq!(word("avx2, avx3 fma"), "avx3");
    assert_eq!(word("#512"), "#512");
    assert_eq!(word("#99999"), "#99999");
    assert_eq!(word("#"), "#");
    assert_eq!(word("#+1"), "#+1");
    assert_eq!(word("#-1"), "#-1");
    assert_eq!("".parse(), Ok(FeatureSet::EMPTY));
    assert_eq!(" ,, ".parse(), Ok(FeatureSet::EMPTY));
}

#[test]
fn sets_are_made_in_constants() {
    const NEEDED: FeatureSet = features![Avx2, Fma,];
    const MORE: FeatureSet = NEEDED.union(features![Bmi2]).difference(features![Fma]);
    const YES: bool = MORE.contains(Feature::Bmi2) && !MORE.contains(Feature::Fma);
    const { assert!(YES) };
    assert_eq!(MORE, features![Avx2, Bmi2]);
    assert_eq!(features![], FeatureSet::EMPTY);
}

#[test]
fn what_avx2_needs() {
    let needs = features![Avx2].with_dependencies();
    let expected = "pni ssse3 sse4_1 sse4_2 avx avx2 fpu fxsr sse sse2 xsave";
    assert_eq!(needs.to_string(), expected);
}

/// The host that the first end-to-end test migrates to.
#[test]
fn without_avx2_its_dependents_go() {
    let before =
        features![Avx2, Fma, F16c, Bmi2, Vaes, Aes, Pclmulqdq, Vpclmulqdq].with_dependencies();
    let after = (before - features![Avx2, Fma, F16c, Bmi2]).closed();
    assert_eq!(
        (before - after).to_string(),
        "f16c fma avx2 bmi2 vaes vpclmulqdq"
    );
}

#[test]
fn xcr0_decides_what_is_usable() {
    let set = features![Avx, Avx2, Avx512f, Pku, Bmi2, Gfni, AmxTile];
    assert_eq!(set.usable_with_xcr0(0b11), features![Bmi2, Gfni]);
    assert_eq!(
        set.usable_with_xcr0(0b111),
        features![Avx, Avx2, Bmi2, Gfni]
    );
    assert_eq!(set.usable_with_xcr0(0x2E7), set.without(Feature::AmxTile));
    assert_eq!(set.usable_with_xcr0(u64::MAX), set);
}
