//! QEMU's control channel (QMP): commands with their answers, and events.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Doing, HarnessError, Result};
use crate::watched::Watched;

/// How long QEMU may take for an answer to a command.
const ANSWER: Duration = Duration::from_secs(60);

/// One QMP connection, with a thread that reads it.
#[derive(Debug)]
pub struct Qmp {
    writer: Mutex<UnixStream>,
    shared: Arc<Shared>,
}

/// Something that QEMU told by itself.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it arrived.
    pub at: Instant,
    /// Its name, such as `MIGRATION`.
    pub name: String,
    /// Its data, `null` where it has none.
    pub data: Value,
}

/// A place in the list of events: only what comes after it is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Mark(usize);

#[derive(Debug)]
struct Shared {
    state: Watched<State>,
    log: Mutex<File>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    answers: HashMap<u64, Value>,
    events: Vec<Event>,
    closed: bool,
}

impl Qmp {
    /// Takes a connection over: reads the greeting and negotiates. Everything
    /// said goes to `log`.
    pub(crate) fn new(stream: UnixStream, log: &Path) -> Result<Self> {
        let log = File::create(log).doing(|| format!("making {}", log.display()))?;
        let shared = Arc::new(Shared {
            state: Watched::default(),
            log: Mutex::new(log),
        });
        let reader = stream.try_clone().doing(|| "sharing a QMP socket".into())?;
        let readers_share = Arc::clone(&shared);
        thread::spawn(move || readers_share.read(reader));
        let qmp = Self {
            writer: Mutex::new(stream),
            shared,
        };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer.
    ///
    /// # Errors
    /// [`HarnessError::Qmp`] when QEMU refuses, [`HarnessError::QemuEnded`] when it is gone.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let id = {
            let mut state = self.shared.state.lock();
            state.next_id += 1;
            state.next_id
        };
        let mut message = json!({"execute": command, "id": id});
        message["arguments"] = arguments;
        let line = message.to_string();
        self.shared.write_log("->", &line);
        {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = writeln!(writer, "{line}");
            sent.map_err(|error| {
                HarnessError::QemuEnded(format!("{command} was not sent: {error}"))
            })?;
        }
        let mut answer = self.shared.wait(
            ANSWER,
            |state| state.answers.remove(&id),
            || format!("QEMU's answer to {command}"),
        )?;
        if let Some(error) = answer.get("error") {
            let why = error["desc"].as_str().unwrap_or_default().to_owned();
            return Err(HarnessError::Qmp {
                command: command.to_owned(),
                why,
            });
        }
        Ok(answer["return"].take())
    }

    /// The present end of the list of events.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.shared.state.lock().events.len())
    }

    /// Waits for an event after `since` that has this name and passes the test.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`], or [`HarnessError::QemuEnded`] when it can no longer come.
    pub fn wait_event(
        &self,
        since: Mark,
        name: &str,
        mut accept: impl FnMut(&Value) -> bool,
        within: Duration,
    ) -> Result<Event> {
        let mut seen = since.0;
        self.shared.wait(
            within,
            |state| {
                let fresh = state.events.get(seen..).unwrap_or_default();
                seen = state.events.len();
                fresh
                    .iter()
                    .find(|event| event.name == name && accept(&event.data))
                    .cloned()
            },
            || format!("the QMP event {name}"),
        )
    }

    /// The events after a mark.
    #[must_use]
    pub fn events_since(&self, since: Mark) -> Vec<Event> {
        self.shared
            .state
            .lock()
            .events
            .get(since.0..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Waits until QEMU closes the connection, which it does when it ends.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`].
    pub fn wait_closed(&self, within: Duration) -> Result<()> {
        let closed = self.shared.wait(
            within,
            |state| state.closed.then_some(()),
            || "the end of QEMU".to_owned(),
        );
        match closed {
            Err(HarnessError::QemuEnded(_)) => Ok(()),
            other => other,
        }
    }
}

impl Drop for Qmp {
    /// Ends the reading thread.
    fn drop(&mut self) {
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = writer.shutdown(std::net::Shutdown::Both);
    }
}

impl Shared {
    fn write_log(&self, direction: &str, line: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(log, "{direction} {line}");
    }

    fn read(&self, stream: UnixStream) {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            self.write_log("<-", line.trim_end());
            let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let at = Instant::now();
            if let Some(name) = message["event"].as_str() {
                let name = name.to_owned();
                let data = message["data"].take();
                let event = Event { at, name, data };
                self.state.change(|state| state.events.push(event));
            } else if let Some(id) = message["id"].as_u64() {
                self.state.change(|state| state.answers.insert(id, message));
            }
        }
        self.state.change(|state| state.closed = true);
    }

    /// Waits until `look` finds something in the state.
    fn wait<T>(
        &self,
        within: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
        what: impl FnOnce() -> String,
    ) -> Result<T> {
        let found = self
            .state
            .wait(within, |state| match (look(state), state.closed) {
                (None, false) => None,
                (found, _) => Some(found),
            });
        match found {
            Some(Some(found)) => Ok(found),
            Some(None) => Err(HarnessError::QemuEnded(format!(
                "while waiting for {}",
                what()
            ))),
            None => Err(HarnessError::Timeout {
                what: what(),
                after: within,
            }),
        }
    }
}
