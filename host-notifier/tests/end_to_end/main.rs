//! The daemon and the operator's command as they are installed, against a real
//! QEMU (whose guest never runs) and guests that this test plays.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod channel;
mod commands;
mod control;
mod daemon;
mod fake_qmp;
mod guest;
mod prepare;
mod qemu;
mod qmp;
mod scene;
