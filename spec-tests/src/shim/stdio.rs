//! The client's ends of a task's streams: the FIFOs that containerd makes and its clients open.

use crate::outcome::{Outcome, fail};
use crate::runtime::{brief, readable};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The stream addresses of a request.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// `stdin`.
    pub stdin: String,
    /// `stdout`.
    pub stdout: String,
    /// `stderr`.
    pub stderr: String,
    /// `terminal`.
    pub terminal: bool,
}

/// The far ends of three FIFOs.
#[derive(Debug)]
pub struct Streams {
    /// What to put into a request.
    pub addresses: Addresses,
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
    out: Vec<u8>,
    err: Vec<u8>,
    out_ended: bool,
    err_ended: bool,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Streams {
    /// No stream at all.
    pub fn none() -> Self {
        Self {
            addresses: Addresses::default(),
            stdin: None,
            stdout: None,
            stderr: None,
            out: Vec::new(),
            err: Vec::new(),
            out_ended: true,
            err_ended: true,
        }
    }

    /// Addresses that are not FIFOs.
    pub fn at(stdin: &str, stdout: &str, stderr: &str) -> Self {
        let addresses =
            Addresses { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), terminal: false };
        Self { addresses, ..Self::none() }
    }

    /// stdout and stderr.
    pub fn output(dir: &Path) -> Outcome<Self> {
        let mut streams = Self::none();
        streams.add_output(dir, true)?;
        Ok(streams)
    }

    /// All three.
    pub fn all(dir: &Path) -> Outcome<Self> {
        let mut streams = Self::output(dir)?;
        streams.add_stdin(dir)?;
        Ok(streams)
    }

    /// stdin and stdout of a terminal.
    pub fn terminal(dir: &Path) -> Outcome<Self> {
        let mut streams = Self::none();
        streams.addresses.terminal = true;
        streams.add_output(dir, false)?;
        streams.add_stdin(dir)?;
        Ok(streams)
    }

    fn add_output(&mut self, dir: &Path, stderr: bool) -> Outcome {
        let out = make(dir, "stdout")?;
        self.stdout = Some(open_to_read(&out)?);
        self.out_ended = false;
        self.addresses.stdout = out.to_string_lossy().into_owned();
        if stderr {
            let err = make(dir, "stderr")?;
            self.stderr = Some(open_to_read(&err)?);
            self.err_ended = false;
            self.addresses.stderr = err.to_string_lossy().into_owned();
        }
        Ok(())
    }

    fn add_stdin(&mut self, dir: &Path) -> Outcome {
        self.addresses.stdin = make(dir, "stdin")?.to_string_lossy().into_owned();
        Ok(())
    }

    /// Opens the write end of stdin, which only works once the shim has the read end.
    pub fn attach_stdin(&mut self) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            match OpenOptions::new().write(true).custom_flags(flags).open(&self.addresses.stdin) {
                Ok(file) => {
                    rustix::io::ioctl_fionbio(&file, false)?;
                    self.stdin = Some(file);
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(libc_enxio()) && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return fail(format!("nobody reads stdin {}: {error}", self.addresses.stdin)),
            }
        }
    }

    /// Closes the client's end of stdin.
    pub fn detach_stdin(&mut self) {
        self.stdin = None;
    }

    /// Writes to stdin, attaching first if needed.
    pub fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        if self.stdin.is_none() {
            self.attach_stdin()?;
        }
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(bytes)?;
        }
        Ok(())
    }

    /// Closes the client's end of stdout and stderr.
    pub fn detach_output(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }

    /// Opens stdout and stderr again.
    pub fn attach_output(&mut self) -> Outcome<()> {
        self.stdout = Some(open_to_read(Path::new(&self.addresses.stdout))?);
        self.out_ended = false;
        if !self.addresses.stderr.is_empty() {
            self.stderr = Some(open_to_read(Path::new(&self.addresses.stderr))?);
            self.err_ended = false;
        }
        Ok(())
    }

    /// Waits until a word appears in stdout, and returns all of stdout so far.
    pub fn until(&mut self, word: &str) -> Outcome<String> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.stdout_text();
            if text.contains(word) {
                return Ok(text);
            }
            if self.out_ended || Instant::now() >= end {
                return fail(format!(
                    "no {word:?} on stdout: {:?}, stderr {:?}{}",
                    brief(&text),
                    brief(&self.stderr_text()),
                    if self.out_ended { ", and it has ended" } else { "" }
                ));
            }
            self.step(Duration::from_millis(200))?;
        }
    }

    /// Reads both outputs to their ends.
    pub fn to_end(&mut self) -> Outcome<(String, String)> {
        let end = Instant::now() + Duration::from_secs(60);
        while !(self.out_ended && self.err_ended) {
            if Instant::now() >= end {
                return fail(format!(
                    "stdout ended: {}, stderr ended: {}; {} bytes came",
                    self.out_ended,
                    self.err_ended,
                    self.out.len()
                ));
            }
            self.step(Duration::from_millis(200))?;
        }
        Ok((self.stdout_text(), self.stderr_text()))
    }

    /// Whether both outputs have ended.
    pub fn ended(&mut self) -> Outcome<bool> {
        self.step(Duration::ZERO)?;
        Ok(self.out_ended && self.err_ended)
    }

    /// stdout so far.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    /// Bytes of stdout so far.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.out
    }

    /// stderr so far.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    fn step(&mut self, limit: Duration) -> io::Result<()> {
        let mut waited = false;
        for (file, bytes, ended) in [
            (&mut self.stdout, &mut self.out, &mut self.out_ended),
            (&mut self.stderr, &mut self.err, &mut self.err_ended),
        ] {
            let Some(file) = file.as_mut().filter(|_| !*ended) else { continue };
            // One wait per step: with two streams, the other one is only checked.
            let limit = if waited { Duration::ZERO } else { limit };
            waited = true;
            if !readable(&*file, limit)? {
                continue;
            }
            let mut block = [0; 16_384];
            match file.read(&mut block) {
                Ok(0) => *ended = true,
                Ok(n) => bytes.extend_from_slice(&block[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn libc_enxio() -> i32 {
    rustix::io::Errno::NXIO.raw_os_error()
}

fn make(dir: &Path, name: &str) -> Outcome<PathBuf> {
    let path = dir.join(format!("fifo{}-{name}", SERIAL.fetch_add(1, Ordering::Relaxed)));
    mkfifo(&path, Mode::from_bits_truncate(0o700)).map_err(io::Error::from)?;
    Ok(path)
}

/// Opens without waiting for a writer. Until there is one, poll reports nothing; afterwards it reports the writer's
/// end.
fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}
