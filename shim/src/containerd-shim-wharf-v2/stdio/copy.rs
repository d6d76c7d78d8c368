//! Copies between the shim's ends of streams: a terminal and its client, output and a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::{SpliceFFlags, splice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How much is moved at once.
const PORTION: usize = 64 << 10;

/// An end of a stream in the event loop.
pub(crate) type Watched = Rc<AsyncFd<OwnedFd>>;

/// Where copies go.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    /// To a fifo, a pipe or a terminal, as fast as it takes data.
    Stream(Watched),
    /// To the end of a file, which always takes data.
    File(Rc<File>),
    /// Nowhere.
    Nowhere,
}

/// The result of one step.
enum Step {
    Moved,
    End,
    /// The source is empty.
    Dry,
    /// The sink is full.
    Full,
}

/// Registers a descriptor with the event loop.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> std::io::Result<Watched> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    crate::watch::watch(fd, interest).map(Rc::new)
}

/// Copies until the source ends or the sink breaks.
pub(crate) async fn copy(source: Watched, sink: Sink) {
    loop {
        let Ok(mut readable) = source.readable().await else { return };
        match step(&source, &sink) {
            Step::Moved => {
                // Lets other tasks run.
                drop(readable);
                tokio::task::yield_now().await;
            }
            Step::End => return,
            Step::Dry => readable.clear_ready(),
            Step::Full => {
                let Sink::Stream(sink) = &sink else { return };
                // It looked writable, but has filled up since.
                let Ok(mut writable) = sink.writable().await else { return };
                if !is_ready(sink.get_ref(), PollFlags::OUT) {
                    writable.clear_ready();
                    drop(writable);
                    if sink.writable().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Moves what is there right now, at most a mebibyte: the last output of a process that has ended.
pub(crate) fn flush(source: &Watched, sink: &Sink) {
    for _ in 0..16 {
        if !matches!(step(source, sink), Step::Moved) {
            return;
        }
    }
}

fn step(source: &AsyncFd<OwnedFd>, sink: &Sink) -> Step {
    match sink {
        Sink::Stream(to) => move_to_stream(source.get_ref(), to.get_ref()),
        Sink::File(file) => move_to_file(source.get_ref(), Some(file)),
        Sink::Nowhere => move_to_file(source.get_ref(), None),
    }
}

fn move_to_stream(from: &OwnedFd, to: &OwnedFd) -> Step {
    use nix::errno::Errno;
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    match splice(from, None, to, None, PORTION, flags) {
        Ok(0) => Step::End,
        Ok(_) | Err(Errno::EINTR) => Step::Moved,
        Err(Errno::EAGAIN) if is_ready(from, PollFlags::IN) => Step::Full,
        Err(Errno::EAGAIN) => Step::Dry,
        // EIO: the last process has closed its end of the terminal.
        Err(_) => Step::End,
    }
}

fn move_to_file(from: &OwnedFd, to: Option<&Rc<File>>) -> Step {
    let mut portion = vec![0; 8192];
    let Ok(source) = from.as_fd().try_clone_to_owned() else { return Step::End };
    match File::from(source).read(&mut portion) {
        Ok(0) => Step::End,
        Ok(count) => {
            if let Some(file) = to
                && let Err(error) = (&**file).write_all(&portion[..count])
            {
                // A full disk must not stop the process: what does not fit is lost.
                log::warn!("write the output of a process to its file: {error}");
            }
            Step::Moved
        }
        Err(error) => match error.kind() {
            std::io::ErrorKind::WouldBlock => Step::Dry,
            std::io::ErrorKind::Interrupted => Step::Moved,
            _ => Step::End,
        },
    }
}

fn is_ready(fd: &OwnedFd, events: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    loop {
        match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|count| count > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async {
            tokio::time::timeout(Duration::from_secs(60), test).await.expect("in time");
        }));
    }

    #[test]
    fn more_than_both_pipes_hold_arrives() {
        run(async {
            let ((from_reader, from_writer), (to_reader, to_writer)) = (pipe(), pipe());
            let source = watch(from_reader, Interest::READABLE).unwrap();
            let sink = watch(to_writer, Interest::WRITABLE).unwrap();
            tokio::task::spawn_local(copy(source, Sink::Stream(sink.clone())));
            let text: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
            let sent = text.clone();
            let writer = std::thread::spawn(move || File::from(from_writer).write_all(&sent));
            while is_ready(sink.get_ref(), PollFlags::OUT) {
                tokio::task::yield_now().await;
            }
            drop(sink);
            let (told, done) = tokio::sync::oneshot::channel();
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                let read = File::from(to_reader).read_to_end(&mut all).map(|_| all);
                told.send(()).unwrap();
                read
            });
            done.await.unwrap();
            writer.join().unwrap().unwrap();
            assert!(reader.join().unwrap().unwrap() == text);
        });
    }

    #[test]
    fn a_terminal_is_read_to_its_end() {
        run(async {
            let terminal = nix::pty::openpty(None, None).unwrap();
            let (to_reader, to_writer) = pipe();
            let source = watch(terminal.master, Interest::READABLE).unwrap();
            let copied = copy(source, Sink::Stream(watch(to_writer, Interest::WRITABLE).unwrap()));
            let mut slave = File::from(terminal.slave);
            slave.write_all(b"last words\n").unwrap();
            drop(slave);
            copied.await;
            let text = std::io::read_to_string(File::from(to_reader)).unwrap();
            assert_eq!(text, "last words\r\n");
        });
    }

    #[test]
    fn files_get_everything_and_flush_takes_what_is_there() {
        run(async {
            let file = Rc::new(tempfile::tempfile().unwrap());
            let (reader, writer) = pipe();
            let source = watch(reader, Interest::READABLE).unwrap();
            let mut writer = File::from(writer);
            writer.write_all(b"one").unwrap();
            flush(&source, &Sink::File(file.clone()));
            assert_eq!(file.metadata().unwrap().len(), 3);
            writer.write_all(b"two").unwrap();
            drop(writer);
            copy(source, Sink::File(file.clone())).await;
            assert_eq!(file.metadata().unwrap().len(), 6);
        });
    }
}
