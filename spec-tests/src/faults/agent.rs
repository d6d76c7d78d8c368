//! An agent that answers the notifications of seccomp filters: it lets every call continue.
#![allow(unsafe_code, reason = "the two ioctls of seccomp_unotify(2) have no other form")]

use crate::console::Receiver;
use crate::outcome::Outcome;
use nix::errno::Errno;
use nix::libc::{seccomp_notif, seccomp_notif_resp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

nix::ioctl_readwrite!(receive, b'!', 0, seccomp_notif);
nix::ioctl_readwrite!(respond, b'!', 1, seccomp_notif_resp);

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const GO_ON: u32 = 1;

/// Serves one listener after another until dropped.
pub(super) struct Agent {
    /// Where it takes listeners.
    pub(super) path: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts serving at `dir/name`.
    pub(super) fn serve(dir: &Path, name: &str) -> Outcome<Self> {
        let receiver = Receiver::listen(dir, name)?;
        let (path, over) = (receiver.path.clone(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut listeners: Vec<OwnedFd> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let mut fds = vec![PollFd::new(receiver.socket(), PollFlags::IN)];
                fds.extend(listeners.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
                let limit = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                if poll(&mut fds, Some(&limit)).is_err() {
                    continue;
                }
                let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
                for (listener, flags) in listeners.iter().zip(&ready[1..]) {
                    if flags.contains(PollFlags::IN) {
                        let_go_on(listener);
                    }
                }
                let mut hung = ready[1..].iter().map(|flags| flags.contains(PollFlags::HUP));
                listeners.retain(|_| hung.next() != Some(true));
                if ready[0].contains(PollFlags::IN) {
                    listeners.extend(receiver.take().unwrap_or_default());
                }
            }
        });
        Ok(Self { path, over, thread: Some(thread) })
    }
}

fn let_go_on(listener: &OwnedFd) {
    // SAFETY: both structures are plain data for which zeroes are valid, and the kernel requires the first one to be
    // zeroed.
    let (mut asked, mut answer): (seccomp_notif, seccomp_notif_resp) = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure of the request.
    if unsafe { receive(listener.as_raw_fd(), &raw mut asked) } == Err(Errno::EINTR) {
        return;
    }
    (answer.id, answer.flags) = (asked.id, GO_ON);
    // SAFETY: the kernel reads the structure of the request.
    let _gone = unsafe { respond(listener.as_raw_fd(), &raw mut answer) };
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
