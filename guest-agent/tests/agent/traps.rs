//! #UD as a sensor: what processes report and what the agent makes of it.

use isa::{FeatureSet, features};
use protocol::availability::{Cause, Publication};
use protocol::local::{FromProcess, ToProcess};

use crate::daemon::Guest;
use crate::process::PageView;

#[test]
fn a_false_report_changes_nothing() {
    let guest = Guest::new();
    let (daemon, mut host) = guest.start_with_host();
    let process = guest.process();
    process.register("liar", FeatureSet::EMPTY, false, 1);
    for _ in 0..50 {
        process.send(&FromProcess::Trapped {
            features: features![Ssse3, Hle],
            address: 0x1234,
        });
    }
    // It is told, so that a process which trapped before a move goes back.
    let features = features![Ssse3];
    assert_eq!(process.receive(), ToProcess::Present { features });
    let report = process.status();
    assert_eq!((report.generation, report.available), (1, isa::detect()));
    assert_eq!(report.registrations[0].trapped, 50);
    daemon.wait_for("met #UD at 0x1234, an instruction of ssse3 hle");
    daemon.wait_for("tried ssse3: every CPU executes it, nothing changes");
    host.offer(isa::detect().without(isa::Feature::Ssse3));
    process.wait();
}

/// A page in which more is available than the CPUs execute is what an agent
/// finds whose guest has moved without a word.
#[test]
fn a_true_report_takes_away_what_the_cpus_refuse() {
    let refused = features![Xop, Fma4].difference(isa::detect());
    if refused.is_empty() {
        let test = "a_true_report_takes_away_what_the_cpus_refuse";
        return crate::skip(test, "this CPU has XOP and FMA4");
    }
    let guest = Guest::new();
    guest.start().kill();
    let page = PageView::open_writable(&guest.page_path());
    let before = page.read().unwrap();
    let available = before.available.union(refused);
    page.publish(&Publication {
        generation: 2,
        available,
        ..before
    });

    let daemon = guest.start();
    let process = guest.process();
    assert_eq!(process.register("sensor", FeatureSet::EMPTY, false, 2), 2);
    let one: FeatureSet = refused.iter().take(1).collect();
    process.send(&FromProcess::Trapped {
        features: one,
        address: 0x1234,
    });
    process.wait();
    let published = page.read().unwrap();
    assert_eq!((published.generation, published.cause), (3, Cause::Trap));
    assert_eq!(
        published.available,
        isa::detect(),
        "the others are tried too"
    );
    daemon.wait_for(&format!("tried {one}: the CPUs refuse {refused}"));
}
