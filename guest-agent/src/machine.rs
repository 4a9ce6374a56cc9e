//! What the session needs from this machine.

use std::fs;
use std::io;

use isa::FeatureSet;
use protocol::GuestIdentity;
use protocol::guest::Environment;

use crate::probe;

/// This machine: its randomness and its CPUs.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// What went wrong with the latest probing, until it is logged.
    pub(crate) problem: Option<io::Error>,
}

impl Environment for Machine {
    /// # Panics
    /// If the kernel has no random numbers, on which every protocol of the
    /// machine would fail.
    fn nonce(&mut self) -> u64 {
        getrandom::u64().expect("the kernel gives random numbers")
    }

    /// Where nothing can be tried, nothing that could have been is believed.
    fn executable(&mut self, candidates: FeatureSet) -> FeatureSet {
        match probe::refused(candidates) {
            Ok(refused) => candidates.difference(refused),
            Err(error) => {
                self.problem = Some(error);
                candidates.difference(probe::can_be_tried())
            }
        }
    }
}

/// This boot of this guest: `/proc/sys/kernel/random/boot_id`, or zeroes where
/// there is none.
pub(crate) fn identity() -> GuestIdentity {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    GuestIdentity {
        boot: parse_uuid(&id).unwrap_or_default(),
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then_some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_read_as_the_kernel_writes_it() {
        let bytes = parse_uuid("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(
            bytes,
            std::array::from_fn(|i| u8::try_from(i * 0x11).unwrap())
        );
        assert_eq!(parse_uuid("0011"), None);
        assert_eq!(parse_uuid(""), None);
    }
}
