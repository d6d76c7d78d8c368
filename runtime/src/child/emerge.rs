//! The step into a pid namespace with other processes in it: a second process, which has nothing of the host.
//!
//! A process of the container with `CAP_SYS_PTRACE` can read everything of any process that it sees: the root
//! directory, the working directory, descriptors, memory, environment (`/proc/PID`, ptrace(2)), and being non-dumpable
//! does not protect from it. So the child does everything that takes the host's view or rights while the namespace's
//! processes cannot see it, and the process that they can see is born last. It inherits the container's root, working
//! directory, credentials and capabilities, the few descriptors that are left, and of the memory only the code, a new
//! stack and the rest of the program, without the texts of the steps that are done.

use std::ffi::{c_char, c_int, c_void};
use std::mem::{align_of, size_of};
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;

use super::message::MessageKind;
use super::{Child, Outcome};
use crate::program::ProgramView;
use crate::sys::memory::{self, Code, LARGEST_PAGE};
use crate::sys::{clone, path};

/// Room for the deepest of the later steps: the hooks of a start, with paths on the stack.
const STACK: usize = 256 << 10;

/// What the new process starts with.
struct Carried<'p> {
    child: Child<'p>,
    /// The step that comes next.
    next: u32,
    /// Delivers one byte when the parent knows of the new process.
    told: RawFd,
    /// Its other end, which only the maker may keep: else its death would not be noticed.
    tell: RawFd,
}

/// Hands out consecutive parts of a mapping.
struct Room {
    next: *mut u8,
    end: *mut u8,
}

impl Room {
    /// A copy of a slice.
    fn copy<'r, T: Copy>(&mut self, items: &[T]) -> Outcome<&'r mut [T]> {
        let start = self.take(items.len())?;
        // SAFETY: the room is large enough, aligned, not used by anything else, and never reused; T is plain data.
        unsafe {
            ptr::copy_nonoverlapping(items.as_ptr(), start, items.len());
            Ok(std::slice::from_raw_parts_mut(start, items.len()))
        }
    }

    /// Room for this many items, aligned for them.
    #[allow(clippy::cast_ptr_alignment, reason = "aligned by hand")]
    fn take<T>(&mut self, count: usize) -> Outcome<*mut T> {
        let (skip, length) = (self.next.align_offset(align_of::<T>()), count * size_of::<T>());
        let left = (self.end as usize).saturating_sub(self.next as usize);
        if skip.saturating_add(length) > left {
            return Err(Errno::ENOMEM.into());
        }
        let start = self.next.wrapping_add(skip);
        self.next = start.wrapping_add(length);
        Ok(start.cast())
    }
}

impl Child<'_> {
    /// Continues in a new process, a child of our parent, with this one's credentials and nothing of its memory.
    #[inline(never)]
    pub(super) fn emerge(&mut self, index: u32) -> Outcome {
        // What earlier hooks have printed is for the parent, if one fails.
        path::close(self.hook_output);
        self.hook_output = -1;
        if !memory::SEPARABLE {
            return self.refork(0);
        }
        let code = Code::of_this_program();
        let (below, above) = code.thread_area();
        let program = self.program;
        let data = size_of_val(program.ops)
            + size_of_val(program.hooks)
            + program.arena.len()
            + size_of_val(program.entries)
            + size_of_val(self.pointers)
            + size_of::<Carried<'_>>()
            // For the alignment of each.
            + 6 * 64;
        let length = (LARGEST_PAGE + STACK + below + above + data).next_multiple_of(LARGEST_PAGE);
        let start = memory::map(length)?;
        let stack_end = start.wrapping_add(LARGEST_PAGE + STACK);
        let thread_area = stack_end.wrapping_add(below);
        let mut room = Room { next: thread_area.wrapping_add(above), end: start.wrapping_add(length) };
        let [told, tell] = path::pipe()?;
        let carried = self.pack(&mut room, index + 1, [told, tell])?;
        // SAFETY: the area is part of the mapping just made, and has the requested size.
        unsafe { memory::prepare_thread_area(thread_area) };
        code.keep_only((start as usize, length))?;
        // SAFETY: `emerged` never returns and uses the stack, the packed state and the code, which are all that was kept.
        let (pid, pidfd) =
            unsafe { clone::fork_onto(libc::CLONE_PARENT, stack_end, thread_area, emerged, carried.cast()) }?;
        self.announce(pid, pidfd, tell)
    }

    /// Tells the parent of the new process, lets that process go on, and ends.
    pub(super) fn announce(&self, pid: i32, pidfd: RawFd, tell: RawFd) -> ! {
        if self.hand_over(MessageKind::Refork, pid as u32, pidfd).is_ok() {
            let _ = path::write_once(tell, &[1]);
        }
        clone::exit_now(0)
    }

    /// Copies the state of this child into the room, with all pointers leading there.
    fn pack(&mut self, room: &mut Room, next: u32, [told, tell]: [RawFd; 2]) -> Outcome<*mut u8> {
        let program = self.program;
        let arena = room.copy(program.arena)?;
        // Sources and data of mounts, and hooks with their environment: the steps that took them are done.
        arena.get_mut(..program.passing as usize).unwrap_or_default().fill(0);
        let arena: &[u8] = arena;
        let view = ProgramView {
            ops: room.copy(program.ops)?,
            hooks: room.copy(program.hooks)?,
            arena,
            entries: room.copy(program.entries)?,
            ..program
        };
        let place = room.take::<Carried<'_>>(1)?;
        // SAFETY: only the address of the field is taken.
        let home = unsafe { (&raw const (*place).child.home).cast::<c_char>() };
        let own_home = self.home.as_ptr().cast::<c_char>();
        let pointers: &mut [*const c_char] = room.copy(self.pointers)?;
        for pointer in pointers.iter_mut() {
            *pointer = if pointer.is_null() {
                ptr::null()
            } else if *pointer == own_home {
                home
            } else {
                let distance = (*pointer as usize).wrapping_sub(program.arena.as_ptr() as usize);
                arena.as_ptr().wrapping_add(distance).cast()
            };
        }
        // Namespaces and slots were closed before this step; the new process has none to close either.
        let child = Child {
            program: view,
            inherited: super::Inherited { namespaces: &[], keep: &[], marks: None, ..self.inherited },
            pointers,
            sync: self.sync,
            peer: self.peer,
            slots: self.slots,
            attached: self.attached,
            made: &[],
            held: &mut [],
            remembered: &mut [],
            chosen: self.chosen,
            in_working_directory: self.in_working_directory,
            home: self.home,
            hook_output: self.hook_output,
        };
        // SAFETY: the place is aligned, large enough, and nothing else is there.
        unsafe { place.write(Carried { child, next, told, tell }) };
        Ok(place.cast())
    }
}

/// Where the new process starts.
extern "C" fn emerged(argument: *mut c_void) -> c_int {
    // SAFETY: `emerge` passes what it has packed, and this process has a copy of its own.
    let Carried { child, next, told, tell } = unsafe { &mut *argument.cast::<Carried<'_>>() };
    path::close(*tell);
    let answer = path::read(*told, &mut [0]);
    path::close(*told);
    // Without the byte the parent does not know of this process, and nothing would ever end it.
    if answer != Ok(1) {
        clone::exit_now(1);
    }
    child.run_from(*next)
}
