//! Children that cannot outlive this program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a program that the kernel kills when this one ends, however it ends.
///
/// The kernel takes the death of the *thread* that forked for the death of the
/// parent, and a test's thread may end before the machine it booted; so all
/// children are forked by one thread that lives as long as the program.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let parent = nix::unistd::getpid();
    // SAFETY: the closure makes two system calls and no allocation, so it may
    // run between fork and exec.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() == parent {
                Ok(())
            } else {
                Err(nix::errno::Errno::ESRCH.into())
            }
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (sender, answer) = mpsc::sync_channel(1);
    let ended = || io::Error::other("the thread that starts children ended");
    spawner.send((command, sender)).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
}
