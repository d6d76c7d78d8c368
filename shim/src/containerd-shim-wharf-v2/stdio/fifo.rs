//! Fifos between clients and processes. The process gets the fifo itself; the shim only holds spare ends, so that a
//! client can go away and come back.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use nix::libc;
use rustix::fs::OFlags;
use tokio::time::{Instant, sleep};

use crate::refusal::Refusal;

/// How long a client may take until it reads.
const PATIENCE: Duration = Duration::from_secs(30);

/// The owner that streams get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A stream out of the process.
#[derive(Debug)]
pub(crate) struct Output {
    /// What the process writes to.
    pub(crate) writer: OwnedFd,
    /// Never read from: with it, a process survives a client that goes away.
    pub(crate) spare: OwnedFd,
}

/// A stream into the process.
#[derive(Debug)]
pub(crate) struct Input {
    /// What the process reads from.
    pub(crate) reader: OwnedFd,
    /// Never written to: until it is closed, a client that goes away does not mean end of file.
    pub(crate) hold: OwnedFd,
}

/// Whether a path is a fifo.
pub(crate) fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Opens a fifo for output once its client is there, which is as soon as the client waits in open(2).
pub(crate) async fn open_output(path: &Path, owner: Owner, blocking: bool) -> Result<Output, Refusal> {
    let failed = |error: std::io::Error| Refusal::io(format_args!("open the fifo {}", path.display()), error);
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    let writer = loop {
        match open(path, File::options().write(true)) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && begin.elapsed() < PATIENCE => {}
            other => break other.map_err(failed)?,
        }
        sleep(pause).await;
        pause = Duration::min(pause * 2, Duration::from_millis(20));
    };
    let spare = open(path, File::options().read(true)).map_err(failed)?;
    own(&writer, owner).map_err(failed)?;
    if blocking {
        set_blocking(&writer).map_err(failed)?;
    }
    Ok(Output { writer, spare })
}

/// Opens a fifo for input; no client needs to be there.
pub(crate) fn open_input(path: &Path, owner: Owner, blocking: bool) -> Result<Input, Refusal> {
    let failed = |error: std::io::Error| Refusal::io(format_args!("open the fifo {}", path.display()), error);
    let reader = open(path, File::options().read(true)).map_err(failed)?;
    let hold = open(path, File::options().write(true)).map_err(failed)?;
    own(&reader, owner).map_err(failed)?;
    if blocking {
        set_blocking(&reader).map_err(failed)?;
    }
    Ok(Input { reader, hold })
}

fn open(path: &Path, options: &mut std::fs::OpenOptions) -> std::io::Result<OwnedFd> {
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map(OwnedFd::from)
}

/// The program in the container must not get a non-blocking stream: few expect one.
fn set_blocking(fd: &OwnedFd) -> std::io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)?)
}

/// Gives a stream to the user of the process, which may want to open `/dev/stdout`.
pub(crate) fn own(fd: &impl AsFd, owner: Owner) -> std::io::Result<()> {
    if owner == Owner::default() {
        return Ok(());
    }
    let file = File::from(fd.as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if (metadata.uid(), metadata.gid()) == (owner.uid, owner.gid) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid), Some(owner.gid))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        (dir, path)
    }

    #[test]
    fn output_waits_for_its_client_and_survives_it() {
        let (_dir, path) = fifo();
        let there = path.clone();
        let client = std::thread::spawn(move || {
            let mut text = [0; 2];
            File::open(there).unwrap().read_exact(&mut text).unwrap();
            text
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let output = runtime.block_on(open_output(&path, Owner::default(), true)).unwrap();
        let mut writer = File::from(output.writer);
        writer.write_all(b"hi").unwrap();
        assert_eq!(client.join().unwrap(), *b"hi");
        // Without the spare end this would be SIGPIPE.
        writer.write_all(b"still").unwrap();
        let mut next = File::options().read(true).open(&path).unwrap();
        drop(writer);
        let mut text = String::new();
        next.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still", "a client that comes back finds it, and the end of the file");
        assert!(is_fifo(&path) && !is_fifo(Path::new("/dev/null")));
    }

    #[test]
    fn input_ends_only_when_the_hold_is_closed() {
        let (_dir, path) = fifo();
        let input = open_input(&path, Owner::default(), false).unwrap();
        let mut client = File::options().write(true).open(&path).unwrap();
        client.write_all(b"x").unwrap();
        drop(client);
        let mut reader = File::from(input.reader);
        let mut byte = [0];
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
        assert_eq!(reader.read(&mut byte).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(input.hold);
        assert_eq!(reader.read(&mut byte).unwrap(), 0);
    }
}
