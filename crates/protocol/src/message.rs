//! What host and guest say to each other.

use alloc::vec::Vec;
use core::fmt;

use isa::FeatureSet;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::text::Text;
use crate::wire_set;

/// Most processes that one [`Busy`] names.
pub const MAX_HOLDERS: usize = 16;

/// The range of protocol versions that a peer speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Oldest version spoken.
    pub min: u16,
    /// Newest version spoken.
    pub max: u16,
}

impl Versions {
    /// What this crate speaks.
    pub const SUPPORTED: Self = Self { min: 1, max: 1 };

    /// The newest version that both sides speak.
    pub fn agree(self, other: Self) -> Option<u16> {
        let best = self.max.min(other.max);
        (best >= self.min.max(other.min)).then_some(best)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.min, self.max)
    }
}

/// Which hypervisor host speaks, and which of its boots.
///
/// Two notifiers with the same identity are taken for one host that restarted
/// its notifier: an offer from it does not commit a removal that it prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostIdentity {
    /// The host's machine id (machine-id(5)), or what its operator configured.
    pub machine: [u8; 16],
    /// The host's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: [u8; 16],
}

impl fmt::Display for HostIdentity {
    /// The machine id in hexadecimal, as machine-id(5) writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machine
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where an offer stands in the life of its host.
///
/// Sequence numbers order the offers of one host only; between hosts it is the
/// nonce that decides who is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Who offers.
    pub host: HostIdentity,
    /// Grows with each offer of this host to this guest, also across a restart
    /// of the notifier.
    pub sequence: u64,
}

/// Host → guest: I am here, who are you?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHello {
    /// Versions that the host speaks.
    pub versions: Versions,
    /// Drawn at random for each hello and echoed in the guest's answer, so that
    /// an answer that was meant for another notifier is recognised.
    pub token: u64,
    /// Who speaks.
    pub host: HostIdentity,
    /// The host's name, for people.
    pub name: Text<64>,
}

/// Host → guest: all that this host can execute for you, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The nonce of the guest's latest hello; any other is dropped.
    pub nonce: u64,
    /// Whose offer, and which.
    pub epoch: Epoch,
    /// The whole set.
    #[serde(with = "wire_set")]
    pub available: FeatureSet,
}

/// Host → guest: these features will go; leave them and say when you have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The nonce of the guest's latest hello.
    pub nonce: u64,
    /// Names this prepare in the answers and in an abort; never 0.
    pub id: u64,
    /// What will go.
    #[serde(with = "wire_set")]
    pub lost: FeatureSet,
    /// How long the guest has, in milliseconds. When it is over, faulting
    /// features come back by themselves; silent ones wait for an abort or an
    /// offer.
    pub deadline_ms: u32,
}

/// Host → guest: the move will not happen, take everything back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    /// The nonce of the guest's latest hello.
    pub nonce: u64,
    /// Which prepare; 0 for whichever is open, for a notifier that restarted
    /// and does not know.
    pub id: u64,
}

/// Host → guest: are you there?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The nonce that the host believes in.
    pub nonce: u64,
    /// Counts the host's beats.
    pub count: u64,
}

/// Everything a host says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// See [`HostHello`]. Its shape is frozen: it carries the negotiation.
    Hello(HostHello),
    /// See [`Offer`].
    Offer(Offer),
    /// See [`Prepare`].
    Prepare(Prepare),
    /// See [`Abort`].
    Abort(Abort),
    /// See [`Beat`].
    Heartbeat(Beat),
}

/// Which guest answers, and which of its boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GuestIdentity {
    /// The guest's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: [u8; 16],
}

/// Guest → host: I am here; put this nonce on what you tell me.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestHello {
    /// Versions that the guest speaks.
    pub versions: Versions,
    /// The token of the hello that is answered; 0 when the guest speaks first
    /// (its agent started, or it lost the thread).
    pub token: u64,
    /// Fresh for each hello. From now on the guest hears only this one.
    pub nonce: u64,
    /// Who speaks.
    pub guest: GuestIdentity,
    /// The generation that the guest has published.
    pub generation: u64,
    /// What the guest's CPUID shows.
    #[serde(with = "wire_set")]
    pub visible: FeatureSet,
}

/// Guest → host: your offer is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The nonce of the offer.
    pub nonce: u64,
    /// The sequence number of the offer.
    pub sequence: u64,
    /// The generation that is now published. Only (nonce, generation) together
    /// are unique: a reverted snapshot repeats generations.
    pub generation: u64,
    /// Silent features that went without an acknowledged prepare: programs may
    /// be computing wrong results.
    #[serde(with = "wire_set")]
    pub unsafe_silent: FeatureSet,
    /// The prepare that withholds something; 0 for none. A host that knows
    /// nothing of it, or took it back, says the abort again.
    pub preparing: u64,
}

/// Guest → host: the prepared removal is done, migrate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The nonce of the prepare.
    pub nonce: u64,
    /// Which prepare.
    pub id: u64,
    /// The generation from which the lost features are absent.
    pub generation: u64,
}

/// A process that has not left a lost path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in the guest's initial pid namespace.
    pub pid: u32,
    /// The name it registered with.
    pub name: Text<64>,
}

/// Guest → host: at the deadline these had not left the lost paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Busy {
    /// The nonce of the prepare.
    pub nonce: u64,
    /// Which prepare.
    pub id: u64,
    /// The first of them, at most [`MAX_HOLDERS`].
    #[serde(deserialize_with = "few_holders")]
    pub holders: Vec<Holder>,
    /// How many more there are.
    pub more: u32,
}

/// Guest → host: the guest will not give these features up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The nonce of the prepare.
    pub nonce: u64,
    /// Which prepare.
    pub id: u64,
    /// Why, and who.
    pub reason: Text<256>,
}

/// Guest → host: I am here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatReply {
    /// The nonce that the guest hears; if it is not the host's, the host says
    /// hello again (the guest was reverted, or its agent restarted).
    pub nonce: u64,
    /// The count of the beat that is answered.
    pub count: u64,
    /// The generation that the guest has published.
    pub generation: u64,
    /// As in [`Acknowledgement`].
    pub preparing: u64,
}

/// Everything a guest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// See [`GuestHello`]. Its shape is frozen: it carries the negotiation.
    Hello(GuestHello),
    /// See [`Acknowledgement`].
    Ack(Acknowledgement),
    /// See [`Ready`].
    Ready(Ready),
    /// See [`Busy`].
    Busy(Busy),
    /// See [`Refused`].
    Refused(Refused),
    /// See [`BeatReply`].
    Heartbeat(BeatReply),
}

/// Reads at most [`MAX_HOLDERS`] holders and does not trust the length prefix
/// with an allocation.
fn few_holders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Holder>, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Vec<Holder>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_HOLDERS} holders")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut holders = Vec::new();
            while let Some(holder) = seq.next_element()? {
                if holders.len() == MAX_HOLDERS {
                    return Err(de::Error::invalid_length(MAX_HOLDERS + 1, &self));
                }
                holders.push(holder);
            }
            Ok(holders)
        }
    }
    deserializer.deserialize_seq(Visitor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_agree_on_the_newest_that_both_speak() {
        let v = |min, max| Versions { min, max };
        assert_eq!(v(1, 3).agree(v(2, 5)), Some(3));
        assert_eq!(v(2, 5).agree(v(1, 3)), Some(3));
        assert_eq!(v(1, 1).agree(v(1, 9)), Some(1));
        assert_eq!(v(1, 1).agree(v(2, 9)), None);
        assert_eq!(v(4, 9).agree(v(1, 3)), None);
    }
}
