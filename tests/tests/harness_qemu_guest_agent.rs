//! The test bed itself: QEMU's own guest agent answers, as the benchmark needs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use isahotplug_tests::{CpuModel, GuestImage, Host, Result};

#[test]
fn qemus_own_guest_agent_answers() -> Result<()> {
    let image = GuestImage::minimal().with_qemu_guest_agent()?;
    let guest = Host::new("A", CpuModel::max())?.boot(&image)?;
    let agent = guest.spawn("qemu-ga", &["-m", "virtio-serial"])?;
    let mut socket = UnixStream::connect(guest.sockets().qga()).expect("connecting");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket");
    socket
        .write_all(b"{\"execute\": \"guest-ping\"}\n")
        .expect("sending");
    let mut answer = String::new();
    let received = BufReader::new(socket).read_line(&mut answer);
    received.unwrap_or_else(|error| panic!("{error}: {:#?}", agent.lines()));
    assert_eq!(answer.trim(), "{\"return\": {}}", "{:?}", agent.lines());
    Ok(())
}
