//! What the guest's QEMU tells, and what follows from it.

use std::time::Duration;

use protocol::Moment;

use super::{Guest, random};
use crate::clock;
use crate::qmp::{Machine, Migration, News};

impl Guest {
    pub(super) fn hear_monitor(&mut self, news: News) {
        let now = clock::now();
        match news {
            News::Machine(machine) => self.hear_machine(machine, now),
            News::Absent(reason) => {
                let path = self.config.qmp.display().to_string();
                if self.machine.take().is_some() {
                    self.info(format_args!("qmp {path} lost: {reason}"));
                } else {
                    self.info(format_args!("waiting for qmp {path}: {reason}"));
                }
                self.left = false;
            }
            News::Migration(Migration::Underway(status)) => {
                self.info(format_args!("migration {status}"));
            }
            News::Migration(Migration::Arrived) => self.info("migration completed: arrived"),
            News::Migration(Migration::Left) => {
                self.info("migration completed: left");
                self.leave();
            }
            News::Migration(Migration::Ended(status)) => {
                // Also one that an earlier daemon announced and we do not know.
                match self.session.open_prepare() {
                    Some((id, ..)) => {
                        self.warn(format_args!("migration {status}: aborting prepare {id}"));
                    }
                    None => self.warn(format_args!("migration {status}")),
                }
                self.abort(&format!("migration {status}"));
            }
            News::Resumed => {
                self.info("resumed");
                if std::mem::take(&mut self.left) {
                    // It left and runs here all the same: nobody else has it.
                    self.info("back: it runs here again");
                    self.abort("it runs here again");
                    self.connect_at = now;
                }
                self.session.resumed(random(), now);
            }
            News::Stopped => self.info("stopped"),
            News::Reset => self.info("reset"),
            News::Shutdown => self.info("shuts down"),
        }
    }

    pub(super) fn hear_machine(&mut self, machine: Machine, now: Moment) {
        if self.machine.as_ref() == Some(&machine) {
            return;
        }
        self.info(format_args!(
            "qemu {}, {}: executes {} features",
            machine.qemu,
            machine.accelerator.name(),
            machine.executable.len()
        ));
        let new = self.machine.is_none();
        let (executable, left) = (machine.executable, machine.left);
        self.machine = Some(machine);
        self.session.set_available(executable, now);
        if left {
            self.leave();
        } else if new {
            // What happened while nobody looked is not known.
            self.session.resumed(random(), now);
            self.connect_at = now;
        }
    }

    /// The guest is elsewhere: what is said here reaches nobody.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            self.info("left for another host");
        }
        self.disconnect(Duration::ZERO);
        self.abort("the guest has left");
    }
}
