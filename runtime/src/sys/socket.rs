//! SEQPACKET messages with at most one descriptor, and waiting for descriptors, without allocation.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::{Result, check, check_fd, retry};

/// Room for one control message with one descriptor, aligned as `cmsghdr` requires.
#[repr(C, align(8))]
struct Control([u8; 24]);

fn control_length() -> usize {
    // SAFETY: pure arithmetic.
    unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize }
}

/// Sends one packet, with a descriptor unless `fd` is negative. A vanished peer is EPIPE, never a signal.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fd: RawFd) -> Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 24]);
    // SAFETY: msghdr is plain data for which zeroes are valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if fd >= 0 {
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = control_length() as _;
        // SAFETY: the control buffer has room for one header with one descriptor.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), fd);
        }
    }
    let sent = retry(|| {
        // SAFETY: message and what it points to outlive the call.
        check(unsafe { libc::syscall(libc::SYS_sendmsg, socket, &raw const message, libc::MSG_NOSIGNAL) })
    })?;
    if sent as usize == bytes.len() { Ok(()) } else { Err(Errno::EMSGSIZE) }
}

/// Receives one packet and possibly a descriptor (-1 if none), which is close-on-exec. Length 0 means end of file.
pub(crate) fn receive(socket: RawFd, buffer: &mut [u8]) -> Result<(usize, RawFd)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; 24]);
    // SAFETY: msghdr is plain data for which zeroes are valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = control_length() as _;
    let length = retry(|| {
        // SAFETY: message and what it points to outlive the call.
        check(unsafe { libc::syscall(libc::SYS_recvmsg, socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) })
    })?;
    let mut fd = -1;
    // SAFETY: the kernel filled the control buffer and set its length; the macros stay inside it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
        {
            fd = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>());
        }
    }
    Ok((length as usize, fd))
}

/// The same for the parent: the descriptor closes itself.
pub(crate) fn receive_owned(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let (length, fd) = receive(socket.as_fd().as_raw_fd(), buffer)?;
    let owned = (fd >= 0).then(|| {
        // SAFETY: recvmsg has just installed the descriptor; nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    Ok((length, owned))
}

/// Accepts a connection, close-on-exec.
pub(crate) fn accept(listener: RawFd) -> Result<RawFd> {
    retry(|| {
        // SAFETY: the peer's address is not needed.
        check_fd(unsafe {
            libc::syscall(
                libc::SYS_accept4,
                listener,
                ptr::null::<u8>(),
                ptr::null::<u8>(),
                libc::SOCK_CLOEXEC,
            )
        })
    })
}

/// Waits until one of the descriptors is readable or hung up, at most `milliseconds` (-1: for ever). Negative
/// descriptors are skipped. Returns for each whether anything happened; all false after a timeout.
pub(crate) fn wait_readable<const N: usize>(fds: [RawFd; N], milliseconds: i32) -> Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let timeout = libc::timespec {
        tv_sec: (milliseconds / 1000).into(),
        tv_nsec: (milliseconds % 1000 * 1_000_000).into(),
    };
    let timeout = if milliseconds < 0 { ptr::null() } else { &raw const timeout };
    retry(|| {
        // SAFETY: both point to data that outlives the call; no signal mask.
        check(unsafe {
            libc::syscall(libc::SYS_ppoll, polled.as_mut_ptr(), N, timeout, ptr::null::<u8>(), 0)
        })
    })?;
    Ok(polled.map(|one| one.revents != 0))
}
