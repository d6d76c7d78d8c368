//! The child's half of a creation: it walks its program and becomes the container's program.
//!
//! Everything here runs in a copy-on-write copy of a process that may have had many threads. The heap may be locked for
//! ever, so nothing allocates, formats, logs or panics; every call is a raw system call on memory that existed before
//! the clone. A failure is one message: which operation, which errno, and a detail; the parent has the words.
//!
//! Functions that need room on the stack are `#[inline(never)]`: each page that the child writes to is copied for it,
//! and one function with everything inlined would have a frame of six pages.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod added;
mod aside;
mod bare;
pub(crate) mod birth;
mod copy_up;
mod device;
mod emerge;
mod execute;
mod gate;
mod held;
pub(crate) mod holder;
mod home;
mod hooks;
pub(crate) mod message;
pub(crate) mod mount_point;
mod path_buffer;
mod peers;
pub(crate) mod procfs;
mod rootfs;
mod step;
pub(crate) mod streams;
mod terminal;
mod undo;

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::program::{List, ProgramView, Slot, Text};
use crate::sys::marks::Marks;
use crate::sys::{clone, path, socket};
use message::{Detail, Late, Message, MessageKind};
use path_buffer::PathBuffer;

/// Why an operation failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) errno: i32,
    pub(crate) detail: Detail,
    hook: u16,
    /// A descriptor that goes with the message.
    fd: RawFd,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno: errno as i32, detail: Detail::None, hook: 0, fd: -1 }
    }
}

impl Failure {
    fn with(errno: Errno, detail: Detail) -> Self {
        Self { detail, ..Self::from(errno) }
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// The entry for a directory that has not been made. No inode has this number.
const NONE_MADE: (u64, u64) = (0, 0);

/// What the child gets from its parent besides the program: descriptors, by their numbers in the parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited<'p> {
    /// The socket to the parent.
    pub(crate) sync: RawFd,
    /// The socket on which the child waits for `start`, or -1.
    pub(crate) listener: RawFd,
    /// What becomes standard input, output and error.
    pub(crate) streams: [RawFd; 3],
    /// Namespaces to join.
    pub(crate) namespaces: &'p [RawFd],
    /// Everything that must stay open, sorted.
    pub(crate) keep: &'p [RawFd],
    /// Where it records when its steps begin, if the log needs that.
    pub(crate) marks: Option<&'p Marks>,
    /// Numbers among the preserved ones that were not open; whatever has them now is not preserved.
    pub(crate) absent: &'p [RawFd],
}

/// The state of the child while it walks its program.
pub(crate) struct Child<'p> {
    program: ProgramView<'p>,
    inherited: Inherited<'p>,
    /// The lists of the program as arrays of pointers, made by the parent.
    pointers: &'p mut [*const c_char],
    /// The socket to the parent; -1 once the creation is recorded.
    sync: RawFd,
    /// Where failures are sent: the parent, later `start`.
    peer: RawFd,
    slots: [RawFd; Slot::COUNT],
    /// By slot: whether the source of masks in it is itself the mask of a path by now.
    attached: [bool; Slot::COUNT],
    /// Directories that it made, by device and inode.
    made: &'p [Cell<(u64, u64)>],
    /// Mounts that later steps change; -1 if not there yet.
    held: &'p mut [RawFd],
    /// Mounts that were made in a running container, or will be removed from it; -1 if not there yet.
    remembered: &'p mut [RawFd],
    /// The program to execute.
    chosen: Option<Text>,
    in_working_directory: bool,
    /// "HOME=..." if the environment lacks it.
    home: [u8; 1024],
    /// Where hooks write; a descriptor of a memory file once a hook has run.
    hook_output: RawFd,
}

impl<'p> Child<'p> {
    /// The state at birth.
    pub(crate) fn new(
        program: ProgramView<'p>,
        pointers: &'p mut [*const c_char],
        made: &'p [Cell<(u64, u64)>],
        held: &'p mut [RawFd],
        remembered: &'p mut [RawFd],
        inherited: Inherited<'p>,
    ) -> Self {
        Self {
            program,
            inherited,
            pointers,
            sync: inherited.sync,
            peer: inherited.sync,
            slots: [-1; Slot::COUNT],
            attached: [false; Slot::COUNT],
            made,
            held,
            remembered,
            chosen: None,
            in_working_directory: false,
            home: [0; 1024],
            hook_output: -1,
        }
    }

    /// Walks the program. Does not return.
    pub(crate) fn run(&mut self) -> ! {
        self.run_from(0)
    }

    /// Walks the rest of the program.
    fn run_from(&mut self, first: u32) -> ! {
        let ops = self.program.ops;
        for (index, op) in (first..).zip(ops.get(first as usize..).unwrap_or_default()) {
            if let Some(marks) = self.inherited.marks {
                marks.set(index as usize);
            }
            if let Err(failure) = self.step(index, op) {
                self.undo();
                self.report(MessageKind::Failed, index, failure);
                clone::exit_now(1);
            }
        }
        clone::exit_now(1)
    }

    /// Reports a failure or a warning to the other side; if that fails, no one is left to report it to.
    fn report(&self, kind: MessageKind, index: u32, failure: Failure) {
        // After the gate the other side is `start`.
        let a = if self.sync >= 0 { index } else { Late::of(self.program.ops.get(index as usize)) as u32 };
        let message = Message { kind, a, b: failure.errno, c: failure.detail.encode(failure.hook) };
        let _ = socket::send(self.peer, &message.encode(), failure.fd);
    }

    fn cstr(&self, text: Text) -> &'p CStr {
        self.program.cstr(text)
    }

    fn bytes(&self, text: Text) -> &'p [u8] {
        self.program.bytes(text)
    }

    /// The pointers of a list, up to and including the terminator.
    fn list(&self, list: List) -> *const *const c_char {
        self.pointers.get(list.0 as usize..).unwrap_or_default().as_ptr()
    }

    /// The texts of a list.
    fn texts(&self, list: List) -> impl Iterator<Item = Text> + use<'p> {
        let entries = self.program.entries;
        entries.get(list.0 as usize..).unwrap_or_default().iter().map_while(|entry| *entry)
    }

    /// The descriptor in a slot.
    fn slot(&self, slot: Slot) -> RawFd {
        self.slots.get(slot.0 as usize).copied().unwrap_or(-1)
    }

    /// Closes every slot, everything held and every inherited namespace: a path through /proc/self/fd must lead
    /// nowhere.
    fn let_go(&mut self) {
        for place in &mut self.slots {
            path::close(*place);
            *place = -1;
        }
        self.let_go_of_held();
        for fd in self.inherited.namespaces {
            path::close(*fd);
        }
    }

    /// Whether it has made this directory.
    fn has_made(&self, stat: &libc::stat) -> bool {
        self.made.iter().any(|place| place.get() == (stat.st_dev, stat.st_ino))
    }

    /// Takes the descriptor out of a slot.
    fn take(&mut self, slot: Slot) -> RawFd {
        self.slots.get_mut(slot.0 as usize).map_or(-1, |place| std::mem::replace(place, -1))
    }

    /// Puts a descriptor into a slot, closing what was there.
    fn fill(&mut self, slot: Slot, fd: RawFd) {
        if let Some(place) = self.slots.get_mut(slot.0 as usize) {
            path::close(*place);
            *place = fd;
        }
    }
}

/// Splits an absolute path of the container into the directory and the last name.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (&[], path),
    }
}
