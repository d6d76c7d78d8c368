//! Copies between the caller's standard input and output and the terminal of a container.
//!
//! A direction reads only once everything it read before has been written. So a slow reader slows its writer down
//! instead of filling memory, and nothing waits for a descriptor that has nothing to do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::{read, write};

use super::terminal;
use crate::failure::Failure;

/// A write of this size to a pipe that poll(2) calls writable does not block (pipe(7), `PIPE_BUF`).
const CHUNK: usize = 4096;

/// Both directions.
pub(crate) struct Relay<'a> {
    console: OwnedFd,
    input: Source<'a>,
    output: Sink<'a>,
    /// From the caller to the container.
    typed: Pending,
    /// From the container to the caller.
    printed: Pending,
    console_open: bool,
}

/// The caller's input.
struct Source<'a> {
    fd: Callers<'a>,
    open: bool,
}

/// The caller's output; when its reader is gone, the container's output is read and dropped.
struct Sink<'a> {
    fd: Callers<'a>,
    open: bool,
}

/// A descriptor of the caller, reopened if it is a terminal.
enum Callers<'a> {
    Own(OwnedFd),
    Shared(BorrowedFd<'a>),
}

impl AsFd for Callers<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Shared(fd) => *fd,
        }
    }
}

/// Bytes that were read and are not written yet.
struct Pending {
    bytes: Box<[u8; CHUNK]>,
    start: usize,
    end: usize,
}

impl Pending {
    fn new() -> Self {
        Self { bytes: Box::new([0; CHUNK]), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        self.start = self.end;
    }

    /// Reads once; `false` at the end of the source.
    fn fill(&mut self, from: impl AsFd) -> bool {
        match read(from, self.bytes.as_mut_slice()) {
            Ok(0) => false,
            Ok(length) => {
                (self.start, self.end) = (0, length);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            // EIO: the last process has closed its end of the terminal.
            Err(_) => false,
        }
    }

    /// Writes once; `false` if nothing will ever read it.
    fn drain(&mut self, to: impl AsFd) -> bool {
        match write(to, &self.bytes[self.start..self.end]) {
            Ok(length) => {
                self.start += length;
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }
}

impl<'a> Relay<'a> {
    /// Takes over the master of the container's terminal.
    pub(crate) fn new(
        console: OwnedFd,
        input: BorrowedFd<'a>,
        output: BorrowedFd<'a>,
    ) -> Result<Self, Failure> {
        fcntl(&console, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
            .map_err(|errno| Failure::new(format!("make the console non-blocking: {errno}")))?;
        let callers = |fd: BorrowedFd<'a>, read| {
            terminal::non_blocking(fd, read).map_or(Callers::Shared(fd), Callers::Own)
        };
        Ok(Self {
            console,
            input: Source { fd: callers(input, true), open: true },
            output: Sink { fd: callers(output, false), open: true },
            typed: Pending::new(),
            printed: Pending::new(),
            console_open: true,
        })
    }

    /// The master.
    pub(crate) fn console(&self) -> BorrowedFd<'_> {
        self.console.as_fd()
    }

    /// What to wait for: input, console and output, in this order.
    pub(crate) fn interests(&self) -> [Option<PollFd<'_>>; 3] {
        let when = |condition: bool, flag: PollFlags| if condition { flag } else { PollFlags::empty() };
        let input = when(self.input.open && self.console_open && self.typed.is_empty(), PollFlags::POLLIN);
        let console = when(self.console_open && self.printed.is_empty(), PollFlags::POLLIN)
            | when(self.console_open && !self.typed.is_empty(), PollFlags::POLLOUT);
        let output = when(self.output.open && !self.printed.is_empty(), PollFlags::POLLOUT);
        [(self.input.fd.as_fd(), input), (self.console.as_fd(), console), (self.output.fd.as_fd(), output)]
            .map(|(fd, flags)| (!flags.is_empty()).then(|| PollFd::new(fd, flags)))
    }

    /// Moves what can be moved; `ready` says for each of the three whether poll(2) reported anything.
    pub(crate) fn advance(&mut self, [input, console, output]: [bool; 3]) {
        if input && !self.typed.fill(&self.input.fd) {
            self.input.open = false;
        }
        if console {
            if !self.typed.is_empty() && !self.typed.drain(&self.console) {
                self.typed.clear();
            }
            if self.printed.is_empty() && !self.printed.fill(&self.console) {
                self.console_open = false;
            }
        }
        if output && !self.printed.drain(&self.output.fd) {
            self.output.open = false;
        }
        if !self.output.open {
            self.printed.clear();
        }
    }

    /// After the end of the process: reads what it printed last. Returns whether there is more to write.
    pub(crate) fn finish(&mut self) -> bool {
        self.input.open = false;
        self.typed.clear();
        while self.console_open && self.printed.is_empty() {
            // If the terminal is empty now, no process is left that could write to it.
            self.console_open = self.printed.fill(&self.console) && !self.printed.is_empty();
            if !self.output.open {
                self.printed.clear();
            }
        }
        self.output.open && !self.printed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollTimeout, poll};
    use nix::pty::openpty;
    use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
    use nix::unistd::pipe;
    use std::fs::File;
    use std::io::{Read, Write};

    /// Polls and advances once; `false` if nothing was ready within `wait`.
    fn turn(relay: &mut Relay<'_>, wait: u8) -> bool {
        let interests = relay.interests();
        let mut fds: Vec<_> = interests.iter().flatten().cloned().collect();
        let ready = poll(&mut fds, PollTimeout::from(wait)).unwrap();
        let mut answers = fds.iter().map(|fd| !fd.revents().unwrap().is_empty());
        let flags = interests.each_ref().map(|interest| interest.is_some() && answers.next().unwrap());
        relay.advance(flags);
        ready > 0
    }

    fn raw(slave: &OwnedFd) {
        let mut mode = tcgetattr(slave).unwrap();
        cfmakeraw(&mut mode);
        tcsetattr(slave, SetArg::TCSANOW, &mode).unwrap();
    }

    #[test]
    fn both_directions_arrive_and_the_end_is_seen() {
        let pty = openpty(None, None).unwrap();
        raw(&pty.slave);
        let (input, typist) = pipe().unwrap();
        let (reader, output) = pipe().unwrap();
        let mut relay = Relay::new(pty.master, input.as_fd(), output.as_fd()).unwrap();
        File::from(typist).write_all(b"typed").unwrap();
        let mut slave = File::from(pty.slave);
        slave.write_all(b"printed").unwrap();
        while turn(&mut relay, 50) {}
        let mut text = [0; 16];
        let length = slave.read(&mut text).unwrap();
        assert_eq!(&text[..length], b"typed");
        slave.write_all(b", last words").unwrap();
        drop(slave);
        while relay.finish() {
            turn(&mut relay, 50);
        }
        drop(relay);
        drop(output);
        let mut all = String::new();
        File::from(reader).read_to_string(&mut all).unwrap();
        assert_eq!(all, "printed, last words");
    }

    #[test]
    fn a_reader_that_does_not_read_stops_the_writer_without_a_busy_loop() {
        let pty = openpty(None, None).unwrap();
        raw(&pty.slave);
        let (input, _typist) = pipe().unwrap();
        let (_reader, output) = pipe().unwrap();
        let mut relay = Relay::new(pty.master, input.as_fd(), output.as_fd()).unwrap();
        fcntl(&pty.slave, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).unwrap();
        let mut turns = 0;
        loop {
            let written = matches!(write(&pty.slave, &[b'x'; 1024]), Ok(length) if length > 0);
            let moved = turn(&mut relay, 20);
            turns += 1;
            assert!(turns < 2_000, "the pipe never fills");
            if !written && !moved {
                break;
            }
        }
    }

    #[test]
    fn without_a_reader_the_output_is_dropped_and_the_writer_goes_on() {
        let pty = openpty(None, None).unwrap();
        raw(&pty.slave);
        let (input, _typist) = pipe().unwrap();
        let (reader, output) = pipe().unwrap();
        drop(reader);
        let mut relay = Relay::new(pty.master, input.as_fd(), output.as_fd()).unwrap();
        let mut slave = File::from(pty.slave);
        for _ in 0..64 {
            slave.write_all(&[b'x'; 1024]).unwrap();
            while turn(&mut relay, 20) {}
        }
        assert!(!relay.finish());
    }

    #[test]
    fn the_end_of_the_input_is_not_polled_again() {
        let pty = openpty(None, None).unwrap();
        let (input, typist) = pipe().unwrap();
        let (_reader, output) = pipe().unwrap();
        drop(typist);
        let mut relay = Relay::new(pty.master, input.as_fd(), output.as_fd()).unwrap();
        assert!(turn(&mut relay, 50));
        assert!(relay.interests()[0].is_none());
        assert!(!turn(&mut relay, 20));
    }
}
