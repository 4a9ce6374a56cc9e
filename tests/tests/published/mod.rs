//! The page that a program reads, without an agent.

use std::fs;
use std::path::Path;

use isa::features;
use protocol::availability::{Cause, Publication};
use protocol::page::{Page, SIZE};

/// Writes into the new folder `run_dir` what an agent would publish on a machine like this one, but
/// without AVX2.
pub(crate) fn without_avx2(run_dir: &Path) {
    let page = Page::new();
    page.format([7, 7]);
    page.publish(&Publication {
        generation: 3,
        available: isa::detect() - features![Avx2],
        visible: isa::detect(),
        cause: Cause::Offer,
        ..Publication::default()
    });
    // SAFETY: a Page is SIZE bytes of plain integers that nobody writes now.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const page).cast::<u8>(), SIZE) };
    fs::create_dir(run_dir).expect("the agent's folder");
    fs::write(run_dir.join("page"), bytes).expect("the page");
}
