//! `examples/c/demo.c` in the guest, and what it says of itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cache::cached;
use crate::error::{Doing, HarnessError, Result};
use crate::guest::{Guest, GuestProcess};
use crate::image::GuestImage;
use crate::key::Key;
use crate::places;
use crate::port::Line;
use crate::program::compiled_c;

/// How long the demo may take for what takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// A line of counters: `tick path=avx2 rounds=… wide=… wrong=0 emulated=0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The path in force, `avx2` or `sse2`.
    pub path: String,
    /// Rounds computed.
    pub rounds: u64,
    /// Those on the AVX2 path.
    pub wide: u64,
    /// Those with a wrong result.
    pub wrong: u64,
    /// Instructions emulated, each after one #UD.
    pub emulated: u64,
}

/// A callback: `event cause=offer generation=3 path=avx2 latency_us=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Why the set changed.
    pub cause: String,
    /// The generation published.
    pub generation: u64,
    /// The path in force since.
    pub path: String,
    /// From the news in the guest (or the first #UD) to the callback.
    pub latency: Duration,
    /// Instructions emulated so far.
    pub emulated: u64,
}

/// The demo, running.
#[derive(Debug)]
pub struct Demo {
    process: GuestProcess,
}

impl GuestImage {
    /// The spine's guest with the C demo, `/bin/demo`.
    ///
    /// # Errors
    /// When something was not built.
    pub fn with_demo() -> Result<Self> {
        let source = project().join("examples/c/demo.c");
        Self::spine()?.linked_c("/bin/demo", &source)
    }

    /// The spine's guest with the C example that only watches, `/bin/watch`.
    ///
    /// # Errors
    /// When something was not built.
    pub fn with_watch() -> Result<Self> {
        Self::spine()?.linked_c("/bin/watch", &project().join("examples/c/watch.c"))
    }

    /// Adds a C program that is linked with libisahotplug.
    ///
    /// # Errors
    /// [`HarnessError::Tool`] with the compiler's words.
    pub fn linked_c(self, path: &str, source: &Path) -> Result<Self> {
        let (program, sdk) = linked_c(source)?;
        Ok(self.library_dir(&sdk).program(path, &program))
    }
}

/// Compiles a C program that is linked with libisahotplug. Returns it and the
/// folder with the library.
///
/// # Errors
/// [`HarnessError::Tool`] with the compiler's words.
pub fn linked_c(source: &Path) -> Result<(PathBuf, PathBuf)> {
    let sdk = sdk()?;
    let folder = sdk.to_string_lossy();
    let arguments = [
        "-O2",
        "-std=gnu11",
        "-Wextra",
        "-Werror",
        "-pthread",
        &format!("-I{folder}"),
        &format!("-L{folder}"),
        "-lisahotplug",
    ];
    let program = compiled_c(source, &arguments)?;
    Ok((program, sdk))
}

/// The project's root.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder with the header and the library as a package would install them,
/// named by their content.
fn sdk() -> Result<PathBuf> {
    let library = places::product("libisahotplug.so")?;
    let header = project().join("libisahotplug/include/isahotplug.h");
    let read = |path: &Path| std::fs::read(path).doing(|| format!("reading {}", path.display()));
    let (library, header) = (read(&library)?, read(&header)?);
    let mut key = Key::new("sdk");
    key.add(&library);
    key.add(&header);
    cached("sdk", &key.name(), |folder| {
        let doing = || format!("filling {}", folder.display());
        std::fs::create_dir(folder).doing(doing)?;
        std::fs::write(folder.join("isahotplug.h"), &header).doing(doing)?;
        std::fs::write(folder.join("libisahotplug.so.1"), &library).doing(doing)?;
        std::os::unix::fs::symlink("libisahotplug.so.1", folder.join("libisahotplug.so"))
            .doing(doing)
    })
}

impl Demo {
    /// Starts the demo and waits until it computes.
    ///
    /// # Errors
    /// When the guest's image lacks it or it ends.
    pub fn start(guest: &Guest) -> Result<Self> {
        Self::start_program(guest, "demo")
    }

    /// Starts another program that prints the same lines.
    ///
    /// # Errors
    /// As [`Demo::start`].
    pub fn start_program(guest: &Guest, program: &str) -> Result<Self> {
        let mut demo = Self {
            process: guest.spawn(program, &[])?,
        };
        demo.next_tick()?;
        Ok(demo)
    }

    /// The next line of counters that was not seen yet.
    ///
    /// # Errors
    /// [`HarnessError::Timeout`], or the demo ended.
    pub fn next_tick(&mut self) -> Result<Tick> {
        self.tick(|_| true)
    }

    /// The next line of counters that passes the test.
    ///
    /// # Errors
    /// As [`Demo::next_tick`].
    pub fn tick(&mut self, mut accept: impl FnMut(&Tick) -> bool) -> Result<Tick> {
        let is_tick = |line: &str| parse_tick(line).is_some_and(|tick| accept(&tick));
        let line = self.process.wait_for_line(is_tick, SOON)?;
        parse_tick(&line.text).ok_or_else(|| unreadable(&line.text))
    }

    /// A line of counters that tells of what happens now: the second that
    /// arrives from now on, for the first may have been written before.
    ///
    /// # Errors
    /// As [`Demo::next_tick`].
    pub fn fresh_tick(&mut self) -> Result<Tick> {
        let now = Instant::now();
        let mut arrived = 0;
        loop {
            let line = self
                .process
                .wait_for_line(|line| parse_tick(line).is_some(), SOON)?;
            arrived += u32::from(line.at > now);
            if arrived == 2 {
                return parse_tick(&line.text).ok_or_else(|| unreadable(&line.text));
            }
        }
    }

    /// The next callback.
    ///
    /// # Errors
    /// As [`Demo::next_tick`].
    pub fn next_call(&mut self) -> Result<(Called, Line)> {
        let line = self
            .process
            .wait_for_line(|line| parse_call(line).is_some(), SOON)?;
        let call = parse_call(&line.text).ok_or_else(|| unreadable(&line.text))?;
        Ok((call, line))
    }

    /// All callbacks so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Called> {
        self.process
            .lines()
            .iter()
            .filter_map(|line| parse_call(&line.text))
            .collect()
    }

    /// Its process in the guest.
    #[must_use]
    pub fn process(&mut self) -> &mut GuestProcess {
        &mut self.process
    }
}

fn unreadable(line: &str) -> HarnessError {
    HarnessError::Guest(format!("the demo says {line:?}"))
}

/// The value of `key=value` in a line.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(line: &str, key: &str) -> Option<u64> {
    field(line, key)?.parse().ok()
}

fn parse_tick(line: &str) -> Option<Tick> {
    let line = line.strip_prefix("tick ")?;
    Some(Tick {
        path: field(line, "path")?.to_owned(),
        rounds: number(line, "rounds")?,
        wide: number(line, "wide")?,
        wrong: number(line, "wrong")?,
        emulated: number(line, "emulated")?,
    })
}

fn parse_call(line: &str) -> Option<Called> {
    let line = line.strip_prefix("event ")?;
    Some(Called {
        cause: field(line, "cause")?.to_owned(),
        generation: number(line, "generation")?,
        path: field(line, "path")?.to_owned(),
        latency: Duration::from_micros(number(line, "latency_us")?),
        emulated: number(line, "emulated")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_demo_are_read() {
        let call =
            parse_call("event cause=trap generation=4 path=sse2 latency_us=1500 emulated=17");
        assert_eq!(
            call,
            Some(Called {
                cause: "trap".into(),
                generation: 4,
                path: "sse2".into(),
                latency: Duration::from_micros(1500),
                emulated: 17,
            })
        );
        let tick = parse_tick("tick path=avx2 rounds=5 wide=4 wrong=0 emulated=3").unwrap();
        assert_eq!((tick.rounds, tick.wide, tick.emulated), (5, 4, 3));
        assert_eq!(parse_tick("log no agent"), None);
    }
}
