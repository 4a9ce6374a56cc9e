//! What the harness and PID 1 of the guest say to each other over the port
//! `org.isahotplug.harness`.
//!
//! Written by hand, without a serialisation crate: the guest's end has to stay
//! alive on a CPU that lost AVX2 an instant ago, so it may not contain code
//! that chose its instructions when the process started.
//!
//! ```text
//!  0        4      5
//! ┌────────┬──────┬──────────────┐
//! │ length │ kind │ fields       │   all numbers little-endian,
//! └────────┴──────┴──────────────┘   byte strings as u32 length + bytes
//! ```
//!
//! `length` counts `kind` and the fields. The guest answers each [`Request`]
//! with exactly one [`Report::Done`] or [`Report::Failed`] that carries the
//! request's number. The stream from the guest goes on across a migration: its
//! first half is read from the source, its second half from the destination.

/// No frame is longer than this; a greater length means a broken stream.
pub const LONGEST_FRAME: usize = 16 << 20;

/// The virtio-serial port that carries these frames.
pub const HARNESS_PORT: &str = "org.isahotplug.harness";

/// Asks something of PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Starts a program; its number becomes the process's name in every
    /// later frame. Answered with the process id.
    Spawn {
        /// Program and arguments; the program is searched in `PATH`.
        argv: Vec<Vec<u8>>,
        /// `NAME=value` words change PID 1's environment, `NAME` words take
        /// the variable away.
        env: Vec<Vec<u8>>,
        /// Whether standard input is a pipe for [`Request::Stdin`], rather
        /// than empty.
        stdin: bool,
    },
    /// Writes to the standard input of a process.
    Stdin {
        /// The number of the `Spawn` request.
        process: u64,
        /// What to write; nothing closes the pipe.
        bytes: Vec<u8>,
    },
    /// Sends a signal to a process.
    Kill {
        /// The number of the `Spawn` request.
        process: u64,
        /// The signal's number on Linux x86-64.
        signal: u32,
    },
    /// Creates or replaces a file.
    WriteFile {
        /// Absolute path in the guest; the folder exists.
        path: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// The file's whole content.
        bytes: Vec<u8>,
    },
    /// Asks for silence: after the answer nothing is sent until `Resume`, so
    /// that a saved state never begins in the middle of a frame.
    Hush,
    /// Ends the silence.
    Resume,
}

/// Tells the harness something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The guest is up and every port it expects is there.
    Ready,
    /// The request was carried out.
    Done {
        /// Number of the request.
        request: u64,
        /// The process id for `Spawn`, else 0.
        value: u32,
    },
    /// The request was not carried out.
    Failed {
        /// Number of the request.
        request: u64,
        /// Why, for a human.
        why: Vec<u8>,
    },
    /// A process wrote something.
    Output {
        /// The number of the `Spawn` request.
        process: u64,
        /// Where it wrote.
        stream: Stream,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// A process ended; everything it wrote before was reported.
    Ended {
        /// The number of the `Spawn` request.
        process: u64,
        /// How it ended.
        status: Status,
    },
}

/// One of the two output streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this exit status (0–255).
    Exited(u32),
    /// By this signal.
    Signaled(u32),
}

/// The stream holds something that is not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a frame of the harness port: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Request {
    /// The frame of this request under the given number.
    #[must_use]
    pub fn encode(&self, number: u64) -> Vec<u8> {
        let (kind, fields) = match self {
            Self::Spawn { argv, env, stdin } => {
                (1, Fields::new().list(argv).list(env).u32(u32::from(*stdin)))
            }
            Self::Stdin { process, bytes } => (2, Fields::new().u64(*process).bytes(bytes)),
            Self::Kill { process, signal } => (3, Fields::new().u64(*process).u32(*signal)),
            Self::WriteFile { path, mode, bytes } => {
                (4, Fields::new().bytes(path).u32(*mode).bytes(bytes))
            }
            Self::Hush => (5, Fields::new()),
            Self::Resume => (6, Fields::new()),
        };
        frame(kind, &Fields::new().u64(number).join(&fields).0)
    }

    /// The request in the body of a frame, with its number.
    ///
    /// # Errors
    /// [`Malformed`] when the body is no request.
    pub fn decode(body: &[u8]) -> Result<(u64, Self), Malformed> {
        let mut cursor = Cursor(body);
        let kind = cursor.u8()?;
        let number = cursor.u64()?;
        let request = match kind {
            1 => Self::Spawn {
                argv: cursor.list()?,
                env: cursor.list()?,
                stdin: cursor.u32()? != 0,
            },
            2 => Self::Stdin {
                process: cursor.u64()?,
                bytes: cursor.bytes()?,
            },
            3 => Self::Kill {
                process: cursor.u64()?,
                signal: cursor.u32()?,
            },
            4 => Self::WriteFile {
                path: cursor.bytes()?,
                mode: cursor.u32()?,
                bytes: cursor.bytes()?,
            },
            5 => Self::Hush,
            6 => Self::Resume,
            other => return Err(Malformed(format!("request kind {other}"))),
        };
        cursor.end()?;
        Ok((number, request))
    }
}

impl Report {
    /// The frame of this report.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, fields) = match self {
            Self::Ready => (1, Fields::new()),
            Self::Done { request, value } => (2, Fields::new().u64(*request).u32(*value)),
            Self::Failed { request, why } => (3, Fields::new().u64(*request).bytes(why)),
            Self::Output {
                process,
                stream,
                bytes,
            } => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                (4, Fields::new().u64(*process).u32(stream).bytes(bytes))
            }
            Self::Ended { process, status } => {
                let (how, number) = match status {
                    Status::Exited(code) => (0, *code),
                    Status::Signaled(signal) => (1, *signal),
                };
                (5, Fields::new().u64(*process).u32(how).u32(number))
            }
        };
        frame(kind, &fields.0)
    }

    /// The report in the body of a frame.
    ///
    /// # Errors
    /// [`Malformed`] when the body is no report.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(body);
        let report = match cursor.u8()? {
            1 => Self::Ready,
            2 => Self::Done {
                request: cursor.u64()?,
                value: cursor.u32()?,
            },
            3 => Self::Failed {
                request: cursor.u64()?,
                why: cursor.bytes()?,
            },
            4 => Self::Output {
                process: cursor.u64()?,
                stream: match cursor.u32()? {
                    1 => Stream::Stdout,
                    2 => Stream::Stderr,
                    other => return Err(Malformed(format!("output stream {other}"))),
                },
                bytes: cursor.bytes()?,
            },
            5 => Self::Ended {
                process: cursor.u64()?,
                status: match (cursor.u32()?, cursor.u32()?) {
                    (0, code) => Status::Exited(code),
                    (1, signal) => Status::Signaled(signal),
                    (other, _) => return Err(Malformed(format!("end of kind {other}"))),
                },
            },
            other => return Err(Malformed(format!("report kind {other}"))),
        };
        cursor.end()?;
        Ok(report)
    }
}

/// Cuts a byte stream into the bodies of its frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    pending: Vec<u8>,
}

impl FrameReader {
    /// Takes bytes as they come, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The body of the next whole frame, if it is there.
    ///
    /// # Errors
    /// [`Malformed`] when the length cannot be one: the stream is lost.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let Some((length, rest)) = self.pending.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > LONGEST_FRAME {
            return Err(Malformed(format!("a frame of {length} bytes")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let body = rest[..length].to_vec();
        self.pending.drain(..4 + length);
        Ok(Some(body))
    }
}

fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut frame = length(1 + fields.len()).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(fields);
    frame
}

fn length(bytes: usize) -> u32 {
    assert!(
        bytes <= LONGEST_FRAME,
        "a frame of {bytes} bytes is too long"
    );
    u32::try_from(bytes).expect("LONGEST_FRAME fits")
}

struct Fields(Vec<u8>);

impl Fields {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&length(bytes.len()).to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    fn list(self, list: &[Vec<u8>]) -> Self {
        list.iter()
            .fold(self.u32(length(list.len())), |fields, item| {
                fields.bytes(item)
            })
    }

    fn join(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| Malformed("it ends in the middle of a field".into()))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.u32()? as usize;
        if length > self.0.len() {
            return Err(Malformed("a byte string is longer than its frame".into()));
        }
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(head.to_vec())
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        let count = self.u32()?;
        (0..count).map(|_| self.bytes()).collect()
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed(format!("{} bytes too many", self.0.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cut_anywhere_come_out_whole() {
        let reports = [
            Report::Ready,
            Report::Done {
                request: 7,
                value: 9,
            },
            Report::Failed {
                request: 8,
                why: b"no such file".to_vec(),
            },
            Report::Output {
                process: 1,
                stream: Stream::Stderr,
                bytes: vec![0; 300],
            },
            Report::Ended {
                process: 1,
                status: Status::Signaled(4),
            },
        ];
        let stream: Vec<u8> = reports.iter().flat_map(Report::encode).collect();
        for cut in 0..stream.len() {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for half in [&stream[..cut], &stream[cut..]] {
                reader.push(half);
                while let Some(body) = reader.next_frame().unwrap() {
                    seen.push(Report::decode(&body).unwrap());
                }
            }
            assert_eq!(seen, reports, "cut at {cut}");
        }
    }

    #[test]
    fn requests_keep_their_number_and_fields() {
        let requests = [
            Request::Spawn {
                argv: vec![b"sh".to_vec()],
                env: vec![b"A=b".to_vec()],
                stdin: true,
            },
            Request::Stdin {
                process: 3,
                bytes: Vec::new(),
            },
            Request::Kill {
                process: 3,
                signal: 9,
            },
            Request::WriteFile {
                path: b"/x".to_vec(),
                mode: 0o644,
                bytes: b"y".to_vec(),
            },
            Request::Hush,
            Request::Resume,
        ];
        for (number, request) in (1..).zip(requests) {
            let mut reader = FrameReader::default();
            reader.push(&request.encode(number));
            let body = reader.next_frame().unwrap().unwrap();
            assert_eq!(Request::decode(&body), Ok((number, request)));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut reader = FrameReader::default();
        reader.push(&[0xff; 8]);
        assert!(reader.next_frame().is_err());
        assert!(Report::decode(&[4, 0]).is_err());
        assert!(Report::decode(&[77]).is_err());
        assert!(Report::decode(&[1, 1]).is_err());
    }
}
