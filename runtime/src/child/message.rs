//! The protocol between the two halves of a creation, and between `start` and a created container.
//!
//! Every message is one SEQPACKET packet of 16 bytes, with at most one descriptor.
//!
//! | message | from | meaning of `a`, `b`, `c` | descriptor |
//! |---|---|---|---|
//! | `Ask` | child | step number | what the parent is to look at, or none |
//! | `Answer` | parent | step number; 0, or else the step was not done | what the step opened, or none |
//! | `Refork` | child | none | pidfd of the process that goes on |
//! | `Console` | child | number of the pty | pty master |
//! | `Listener` | child | none | seccomp listener |
//! | `Gone` | child | number of a mount on record that is not there any more | none |
//! | `Found` | child | number of the mount on record that is going to be removed | none |
//! | `Undone` | child | none: of what the program has attached nothing is left | none |
//! | `Warning` | child | operation, errno, detail | none |
//! | `Failed` | child | operation (to `start`: a `Late`), errno, detail | captured output of the hook that failed, or none |
//! | `Created` | child | none | none |
//! | `Go` | parent | none: the creation is recorded, go on | none |
//! | `Start` | `start` | none: become the program | none |
//!
//! End of file after `Go` or `Start` comes with `execve`, as every descriptor of the child is close-on-exec, and also
//! with the end of the child: neither side relies on end of file alone. The parent also watches the pidfd, and asks the
//! kernel.

use crate::program::Op;

/// An enumeration whose values go over the wire as numbers, with the list of them in that order.
macro_rules! numbered {
    ($(#[$about:meta])* pub(crate) enum $name:ident {
        $($(#[$meaning:meta])* $value:ident $(= $number:literal)?,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum $name {
            $($(#[$meaning])* $value $(= $number)?,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$value,)*];
        }
    };
}

numbered! {
    /// The kinds of messages.
    pub(crate) enum MessageKind {
        Ask = 1,
        Answer,
        Refork,
        Console,
        Listener,
        Warning,
        Failed,
        Created,
        Go,
        Start,
        Gone,
        Found,
        Undone,
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: MessageKind,
    pub(crate) a: u32,
    pub(crate) b: i32,
    pub(crate) c: u32,
}

/// The size of every packet.
pub(crate) const MESSAGE_SIZE: usize = 16;

impl Message {
    /// A message without operands.
    pub(crate) const fn new(kind: MessageKind) -> Self {
        Self { kind, a: 0, b: 0, c: 0 }
    }

    /// A message about a step.
    pub(crate) const fn about(kind: MessageKind, a: u32) -> Self {
        Self { kind, a, b: 0, c: 0 }
    }

    /// The packet.
    pub(crate) fn encode(self) -> [u8; MESSAGE_SIZE] {
        let [k, a, b, c] = [self.kind as u32, self.a, self.b as u32, self.c].map(u32::to_ne_bytes);
        [k[0], k[1], k[2], k[3], a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]
    }

    /// The message in a packet, if it is one.
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes: [u8; 4] = packet.get(index * 4..index * 4 + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(bytes))
        };
        if packet.len() != MESSAGE_SIZE {
            return None;
        }
        let kind = MessageKind::ALL.get((word(0)? as usize).wrapping_sub(1)).copied()?;
        Some(Self { kind, a: word(1)?, b: word(2)? as i32, c: word(3)? })
    }
}

numbered! {
    /// What a process was doing when it failed after its start. `start` has no plan in which to look up the number of the
    /// operation: the container may be from another version of the program, or from a caller with other rights.
    pub(crate) enum Late {
        Other,
        Hooks,
        Filter,
        Capabilities,
        Exec,
        NoProcess,
    }
}

impl Late {
    /// The value for an operation.
    pub(crate) fn of(op: Option<&Op>) -> Self {
        match op {
            Some(Op::Hooks { .. }) => Self::Hooks,
            Some(Op::Seccomp { .. }) => Self::Filter,
            Some(Op::Capabilities { .. }) => Self::Capabilities,
            Some(Op::Exec) => Self::Exec,
            Some(Op::NoProcess) => Self::NoProcess,
            _ => Self::Other,
        }
    }

    /// The `a` of a message.
    pub(crate) fn decode(a: u32) -> Self {
        Self::ALL.get(a as usize).copied().unwrap_or(Self::Other)
    }
}

numbered! {
    /// Why an operation failed, beyond the errno: the `c` of a `Failed` message.
    pub(crate) enum Detail {
        None = 0,
        /// A mount point or file exists but is of another kind.
        WrongKind,
        /// A device node exists with another type or number.
        OtherDevice,
        /// The file is not on the required file system.
        WrongFilesystem,
        /// The working directory is outside the container.
        Unreachable,
        /// No candidate exists in PATH.
        NotInPath,
        /// The program is a directory.
        IsDirectory,
        /// The program's `#!` interpreter is missing.
        NoScriptInterpreter,
        /// The ELF interpreter (dynamic loader) of the program is missing.
        NoElfInterpreter,
        /// The program has an unknown format.
        UnknownFormat,
        /// The program's file system is mounted noexec.
        NoExecMount,
        /// A hook ended with an exit code (in `b`).
        HookExit,
        /// A hook was killed by a signal (in `b`).
        HookSignal,
        /// A hook took too long.
        HookTimeout,
        /// The parent or `start` went away.
        PeerGone,
        /// The configuration has no process.
        NoProcess,
        /// Too deep or too many for the fixed space of the child.
        TooLarge,
        /// Nothing is mounted there, or the mount is locked.
        NotRemovable,
        /// A mount that was to be removed is a peer of one outside.
        SharedOutside,
        /// A path that may have no symbolic links has one.
        LinkOnTheWay,
        /// What is mounted there is not on record.
        NotAdded,
        /// A recorded mount is gone.
        Unmounted,
        /// A recorded mount cannot be found, or another covers it.
        OutOfReach,
    }
}

impl Detail {
    /// The detail of that number; hook failures carry the hook's number in the upper half.
    pub(crate) fn decode(c: u32) -> (Self, u16) {
        (Self::ALL.get((c & 0xffff) as usize).copied().unwrap_or(Self::None), (c >> 16) as u16)
    }

    /// The number, with the hook's in the upper half.
    pub(crate) fn encode(self, hook: u16) -> u32 {
        self as u32 | u32::from(hook) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for &kind in MessageKind::ALL {
            let message = Message { kind, a: 7, b: -3, c: Detail::HookTimeout.encode(5) };
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[0; 16]), None);
        assert_eq!(Message::decode(&[1; 15]), None);
        for &late in Late::ALL {
            assert_eq!(Late::decode(late as u32), late);
        }
        for &detail in Detail::ALL {
            assert_eq!(Detail::decode(detail.encode(9)), (detail, 9));
        }
    }
}
