//! From CPUID's answers to a set of features.

use crate::feature::Feature;
use crate::place::Place;
use crate::set::FeatureSet;

/// The distinct leaves and subleaves that the table looks at.
const LEAVES: ([(u32, u32); MOST_LEAVES], usize) = {
    let mut leaves = [(0, 0); MOST_LEAVES];
    let mut len = 0;
    let mut at = 0;
    while at < Feature::ALL.len() {
        if let Some(leaf) = Feature::ALL[at].place().leaf() {
            let mut seen = false;
            let mut other = 0;
            while other < len {
                seen |= leaves[other].0 == leaf.0 && leaves[other].1 == leaf.1;
                other += 1;
            }
            if !seen {
                leaves[len] = leaf;
                len += 1;
            }
        }
        at += 1;
    }
    (leaves, len)
};

const MOST_LEAVES: usize = 64;

impl FeatureSet {
    /// The features that these answers of CPUID announce.
    ///
    /// `cpuid(leaf, subleaf)` gives `[eax, ebx, ecx, edx]`, or `None` where nothing is known. It is
    /// asked at most once for each leaf and subleaf, and may well be a snapshot, the feature words
    /// of QEMU's QMP, or the instruction itself.
    ///
    /// Where leaf 0, 0x8000_0000 or 0xC000_0000 is answered, leaves above the maximum that it gives
    /// are not looked at: an Intel CPU answers them with its highest basic leaf. Where it is not
    /// answered, no maximum is assumed.
    ///
    /// With `xcr0` given, features whose state components are not all enabled there are left out, so
    /// that the result is what a program can use. Without it the result is what the CPU shows; so it
    /// is when the answers are those of a CPU whose operating system is not known.
    pub fn from_cpuid<F>(mut cpuid: F, xcr0: Option<u64>) -> Self
    where
        F: FnMut(u32, u32) -> Option<[u32; 4]>,
    {
        let mut maximum_of = |range: u32| match cpuid(range, 0) {
            // A CPU without the range answers with something that is not in it.
            Some([maximum, ..]) if maximum & RANGE == range => maximum,
            Some(_) => range,
            None => range | !RANGE,
        };
        let maxima = [
            maximum_of(0),
            maximum_of(0x8000_0000),
            maximum_of(0xC000_0000),
        ];

        let mut set = Self::EMPTY;
        for &(leaf, subleaf) in &LEAVES.0[..LEAVES.1] {
            let known = maxima
                .iter()
                .any(|&maximum| leaf & RANGE == maximum & RANGE && leaf <= maximum);
            let Some(answer) = known.then(|| cpuid(leaf, subleaf)).flatten() else {
                continue;
            };
            set.extend(Feature::all().filter(|feature| {
                let place: Place = feature.place();
                place.leaf() == Some((leaf, subleaf)) && place.is_set_in(&answer)
            }));
        }
        match xcr0 {
            Some(xcr0) => set.usable_with_xcr0(xcr0),
            None => set,
        }
    }
}

/// The bits of a leaf that tell its range: basic, hypervisor, extended, Centaur.
const RANGE: u32 = 0xFFFF_0000;
