//! Heavy work in a separate process: a copy of the server, which may block, change its directory or die without harm,
//! and whose memory is given back.
//!
//! Its answer comes over a socket: a status code, the bytes of the answer or of the error, and at most one descriptor.
//! The end of the socket is the end of the answer.

pub(crate) mod creation;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use wharf::pod::Home;

use crate::refusal::Refusal;
use crate::watch::watch;

/// The workers of the server.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    /// Those that have not been reaped, by pid.
    running: RefCell<BTreeSet<i32>>,
    /// Where they work, if the server itself is in the namespaces of a pod.
    home: RefCell<Option<Rc<Home>>>,
}

/// The answer of a worker.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// A message, which only its caller interprets.
    pub(crate) bytes: Vec<u8>,
    /// A descriptor.
    pub(crate) descriptor: Option<OwnedFd>,
}

impl Workers {
    /// Runs `work` in a worker, which has the descriptors in `keep` besides the standard streams, and waits for its
    /// answer.
    pub(crate) async fn run(
        &self,
        keep: &[RawFd],
        work: impl FnOnce() -> Result<Answer, Refusal>,
    ) -> Result<Answer, Refusal> {
        let failed = |errno: Errno| Refusal::io("make a socket to a worker", errno);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(failed)?;
        let ours = watch(ours, Interest::READABLE)
            .map_err(|error| Refusal::io("watch the socket to a worker", error))?;
        let number = theirs.as_raw_fd();
        let home = self.home();
        let of_home = home.iter().flat_map(|home| home.descriptors());
        let keep: Vec<RawFd> = keep.iter().copied().chain([number]).chain(of_home).collect();
        let pid = wharf::worker::fork(&keep, move || {
            let back = home.map_or(Ok(()), |home| home.go_back());
            let sent = send(theirs, back.map_err(Refusal::from).and_then(|()| work()));
            i32::from(sent.is_err())
        })?;
        self.running.borrow_mut().insert(pid);
        receive(&ours).await
    }

    /// Where workers and loggers run, if the server is elsewhere: what they do belongs to the host.
    pub(crate) fn home(&self) -> Option<Rc<Home>> {
        self.home.borrow().clone()
    }

    /// The server goes into the namespaces of a pod, or comes back.
    pub(crate) fn set_home(&self, home: Option<Rc<Home>>) {
        *self.home.borrow_mut() = home;
    }

    /// Notes the end of a child, if it was a worker.
    pub(crate) fn ended(&self, pid: i32) -> bool {
        self.running.borrow_mut().remove(&pid)
    }
}

fn send(socket: OwnedFd, answer: Result<Answer, Refusal>) -> std::io::Result<()> {
    let (code, bytes, descriptor) = match answer {
        Ok(answer) => (0, answer.bytes, answer.descriptor),
        Err(refusal) => (refusal.code, refusal.message.into_bytes(), None),
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_ref().map(|fd| [fd.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // The descriptor goes with the first byte.
    sendmsg(&socket, &[IoSlice::new(&i32::to_le_bytes(code))], &mut control, SendFlags::NOSIGNAL)?;
    File::from(socket).write_all(&bytes)
}

async fn receive(socket: &AsyncFd<OwnedFd>) -> Result<Answer, Refusal> {
    let mut answer = Answer::default();
    loop {
        let mut ready =
            socket.readable().await.map_err(|error| Refusal::io("read a worker's answer", error))?;
        match receive_some(socket.get_ref(), &mut answer) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(errno) => return Err(Refusal::io("read a worker's answer", errno)),
        }
    }
    let Some((code, bytes)) = answer.bytes.split_first_chunk() else {
        return Err(Refusal::cut_short());
    };
    match i32::from_le_bytes(*code) {
        0 => Ok(Answer { bytes: bytes.to_vec(), descriptor: answer.descriptor }),
        code => Err(Refusal { code, message: String::from_utf8_lossy(bytes).into_owned(), cut_short: false }),
    }
}

fn receive_some(socket: &OwnedFd, answer: &mut Answer) -> Result<usize, Errno> {
    let mut part = [0; 2048];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut part)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            answer.descriptor = descriptors.last().or(answer.descriptor.take());
        }
    }
    answer.bytes.extend_from_slice(&part[..received.bytes]);
    Ok(received.bytes)
}
