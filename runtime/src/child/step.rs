//! What each operation does: the short ones here, the longer ones in the files that this one calls.

use nix::errno::Errno;

use super::message::{Detail, MessageKind};
use super::streams::{give, streams};
use super::{Child, Failure, Outcome};
use crate::program::{Op, Slot};
use crate::sys::mount::{self, MountAttr};
use crate::sys::{clone, path, process, tty};

impl Child<'_> {
    /// Performs one operation.
    pub(super) fn step(&mut self, index: u32, op: &Op) -> Outcome {
        match *op {
            Op::NotDumpable => Ok(process::set_not_dumpable()?),
            Op::Dumpable => Ok(process::set_dumpable()?),
            Op::CloseOthers => close_others(self.inherited.keep),
            Op::Streams => streams(self.inherited.streams),
            Op::Preserve { count } => preserve(count, self.inherited.absent),
            Op::DefaultSignals => {
                clone::default_signals()?;
                process::set_umask(0);
                clone::set_signal_mask(0)?;
                Ok(())
            }
            Op::NewSession => Ok(process::new_session()?),
            Op::Ask { step, into } => self.ask(step, -1, into),
            Op::Show { step } => self.ask(step, self.slot(Slot::MOUNT), Slot::NONE),
            Op::WriteHost { path, text } => Ok(path::write_file(self.cstr(path), self.bytes(text))?),
            Op::Affinity(mask) => Ok(process::set_affinity(self.bytes(mask))?),
            Op::AllCpus(mask) => {
                if let Err(errno) = process::set_affinity(self.bytes(mask)) {
                    self.report(MessageKind::Warning, index, errno.into());
                }
                Ok(())
            }
            Op::Enter { namespace, kinds } => {
                let fd = self.inherited.namespaces.get(usize::from(namespace)).copied().unwrap_or(-1);
                Ok(clone::setns(fd, kinds)?)
            }
            Op::HoldView => {
                let fd = path::openat(libc::AT_FDCWD, c"/proc/self/ns/mnt", libc::O_RDONLY, 0)?;
                self.fill(Slot::VIEW, fd);
                Ok(())
            }
            Op::EnterView => Ok(clone::setns(self.slot(Slot::VIEW), libc::CLONE_NEWNS)?),
            Op::Unshare { kinds } => Ok(clone::unshare(kinds)?),
            Op::Refork { kinds } => self.refork(kinds),
            Op::Emerge => self.emerge(index),
            Op::ControllingTerminal => Ok(tty::make_controlling(0)?),
            Op::RootIds { uid, gid, keep_groups } => root_ids(uid, gid, keep_groups),
            Op::LoopbackUp => Ok(process::loopback_up()?),
            Op::SpareKeyring => Ok(process::join_new_session_keyring()?),
            Op::SessionKeyring { name, spare } => match process::join_session_keyring(self.cstr(name)) {
                Err(errno @ Errno::EDQUOT) if spare => {
                    self.report(MessageKind::Warning, index, errno.into());
                    Ok(())
                }
                other => Ok(other?),
            },
            Op::Hostname(name) => Ok(process::set_hostname(self.bytes(name))?),
            Op::Domainname(name) => Ok(process::set_domainname(self.bytes(name))?),
            Op::PropagationAt { path, kind } => {
                let attr = MountAttr { propagation: u64::from(kind), ..MountAttr::default() };
                Ok(mount::set_attributes_at(libc::AT_FDCWD, self.cstr(path), &attr, true)?)
            }
            Op::EnterDirectory => {
                path::change_directory_to(self.slot(Slot::TARGET))?;
                self.fill(Slot::TARGET, -1);
                Ok(())
            }
            Op::OpenRoot { path, tree, root } => self.open_root(path, tree, root),
            Op::HoldCurrentRoot => {
                let fd = path::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
                self.fill(Slot::ROOT, fd);
                Ok(())
            }
            Op::HoldInherited { namespace } => {
                let fd = self.inherited.namespaces.get(usize::from(namespace)).copied().unwrap_or(-1);
                let fd = path::duplicate_above(fd, 3)?;
                self.fill(Slot::ROOT, fd);
                Ok(())
            }
            Op::OpenProc => self.open_proc(),
            Op::NullDevice => self.null_device(),
            Op::NewFs(name) => {
                let fd = mount::fsopen(self.cstr(name))?;
                self.fill(Slot::FS, fd);
                Ok(())
            }
            Op::FsOption { key, value } => {
                let fs = self.slot(Slot::FS);
                Ok(match value {
                    Some(value) => mount::fsconfig_string(fs, self.cstr(key), self.cstr(value)),
                    None => mount::fsconfig_flag(fs, self.cstr(key)),
                }?)
            }
            Op::FsDirectory { key, path } => {
                let fd = path::openat(libc::AT_FDCWD, self.cstr(path), libc::O_PATH | libc::O_DIRECTORY, 0)?;
                let result = mount::fsconfig_fd(self.slot(Slot::FS), self.cstr(key), fd);
                path::close(fd);
                Ok(result?)
            }
            Op::MakeMount { attributes } => {
                let fs = self.slot(Slot::FS);
                mount::fsconfig_create(fs)?;
                let fd = mount::fsmount(fs, attributes)?;
                self.fill(Slot::MOUNT, fd);
                self.fill(Slot::FS, -1);
                Ok(())
            }
            Op::MakeOrClone { fs, source, attributes, host } => {
                self.make_or_clone(fs, source, attributes, host)
            }
            Op::CloneHost { path, recursive, follow } => {
                let fd = mount::clone_source(self.cstr(path), recursive, follow)?;
                self.fill(Slot::MOUNT, fd);
                Ok(())
            }
            Op::IdMap { recursive } => {
                let attr = MountAttr {
                    set: libc::MOUNT_ATTR_IDMAP,
                    userns_fd: self.slot(Slot::ID_MAP) as u64,
                    ..MountAttr::default()
                };
                mount::set_attributes(self.slot(Slot::MOUNT), &attr, recursive)?;
                self.fill(Slot::ID_MAP, -1);
                Ok(())
            }
            Op::Attributes { on, set, clear, propagation, recursive } => {
                let attr = MountAttr {
                    set: u64::from(set),
                    clear: u64::from(clear),
                    propagation: u64::from(propagation),
                    userns_fd: 0,
                };
                Ok(mount::set_attributes(self.slot(on), &attr, recursive)?)
            }
            Op::Reconfigure { on, options } => self.reconfigure(on, options),
            Op::Adopt { from, to } => {
                let fd = self.take(from);
                self.fill(to, fd);
                Ok(())
            }
            Op::MountAside { source, fs, flags, data } => self.mount_aside(source, fs, flags, data),
            Op::Target { path, like, links } => self.target(path, like, links),
            Op::Foreign { path } => self.foreign(path),
            Op::CopiedLink { target, path } => self.copied_link(target, path),
            Op::Hold { mount, place } => self.hold(mount, place),
            Op::Held { place, into } => self.use_held(place, into),
            Op::Inside { place, name } => self.inside(place, name),
            Op::LinkInside { place, target, name } => self.link_inside(place, target, name),
            Op::KeepMode => {
                let stat = path::fstat(self.slot(Slot::TARGET))?;
                if self.has_made(&stat) {
                    return Ok(());
                }
                Ok(path::chmod_at(self.slot(Slot::MOUNT), c".", stat.st_mode & 0o7777)?)
            }
            Op::CopyUp { mode, uid, gid } => self.copy_up(mode, uid, gid),
            Op::Attach => {
                self.remember(Slot::MOUNT)?;
                mount::attach(self.slot(Slot::MOUNT), self.slot(Slot::TARGET))?;
                self.fill(Slot::TARGET, -1);
                Ok(())
            }
            Op::OwnDescriptors => self.own_descriptors(),
            Op::TellGone { known } => self.tell_gone(known),
            Op::FindAdded { path, known, own } => self.find_added(path, known, own),
            Op::Condemn => self.condemn(),
            Op::DetachCondemned => self.detach_condemned(),
            Op::EnsureDirectory(path) => self.ensure_directory(self.bytes(path)).map(path::close),
            Op::Device { path, mode, device, uid, gid } => self.device(path, mode, device, uid, gid),
            Op::DevicePlace { path, mode, device } => self.device_place(path, mode, device),
            Op::HostDevice { path, mode, device } => self.host_device(path, mode, device),
            Op::Link { target, path, source, replace } => self.link(target, path, source, replace),
            Op::Terminal { rows, columns, uid, console } => self.terminal(rows, columns, uid, console),
            Op::OwnStreams { uid } => Ok((0..3).try_for_each(|stream| give(stream, uid))?),
            Op::NullStreams => self.null_streams(),
            Op::Pivot => self.pivot(),
            Op::MoveRoot => self.move_root(),
            Op::ChangeRoot => {
                path::change_directory_to(self.slot(Slot::ROOT))?;
                path::change_root(c".")?;
                Ok(())
            }
            Op::RootPropagation { kind, recursive } => {
                let attr = MountAttr { propagation: u64::from(kind), ..MountAttr::default() };
                Ok(mount::set_attributes(self.slot(Slot::ROOT), &attr, recursive)?)
            }
            Op::ReadOnlyPath(path) => self.read_only_path(path),
            Op::MaskPath { path, label } => self.mask_path(path, label),
            Op::ReadOnlyRoot => {
                let attr = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
                Ok(mount::set_attributes(self.slot(Slot::ROOT), &attr, false)?)
            }
            Op::WriteProc { path, text } => self.write_proc(self.bytes(path), self.bytes(text)),
            Op::WriteOwnProc { name, text, needed } => {
                match self.write_own_proc(self.bytes(name), self.bytes(text)) {
                    Err(failed) if !needed && matches!(failed.errno, libc::ENOENT | libc::EINVAL) => Ok(()),
                    done => done,
                }
            }
            Op::Hooks { first, count, state } => self.run_hooks(first, count, state),
            Op::Rlimit { resource, soft, hard } => Ok(process::set_rlimit(0, resource, soft, hard)?),
            Op::Scheduler(attr) => self.scheduler(attr),
            Op::IoPriority(value) => Ok(process::set_io_priority(0, value)?),
            Op::MemoryPolicy { mode, nodes } => Ok(process::set_memory_policy(mode, self.bytes(nodes))?),
            Op::Personality(persona) => Ok(process::set_personality(persona)?),
            Op::NoNewPrivileges => Ok(process::set_no_new_privileges()?),
            Op::Seccomp { filter, flags, listener } => self.seccomp(filter, flags, listener),
            Op::Groups { gids, optional } => match process::set_groups(self.bytes(gids)) {
                Err(Errno::EPERM) if optional => Ok(()),
                other => Ok(other?),
            },
            Op::BoundingSet(keep) => bounding_set(keep),
            Op::Ids { uid, gid } => set_ids(uid, gid),
            Op::Capabilities { effective, permitted, inheritable } => {
                process::set_capabilities(process::CapabilitySets { effective, permitted, inheritable })?;
                Ok(process::keep_capabilities(false)?)
            }
            Op::KeepCapabilities { effective, permitted, inheritable } => {
                let sets = process::CapabilitySets { effective, permitted, inheritable };
                Ok(process::set_capabilities(sets)?)
            }
            Op::Ambient(mask) => self.ambient(index, mask),
            Op::Umask(mask) => {
                process::set_umask(mask);
                Ok(())
            }
            Op::LetGo => {
                self.let_go();
                Ok(())
            }
            Op::WorkingDirectory { path, last } => self.working_directory(path, last),
            Op::Home { uid } => {
                self.add_home(uid);
                Ok(())
            }
            Op::FindProgram { candidates, named } => self.find_program(candidates, named),
            Op::Created => self.created(),
            Op::Gate => self.gate(),
            Op::NoProcess => Err(Failure::with(Errno::EINVAL, Detail::NoProcess)),
            Op::Exec => self.execute(index),
        }
    }

    /// Raises ambient capabilities; the spec asks for a warning if the kernel refuses one.
    fn ambient(&self, index: u32, mask: u64) -> Outcome {
        process::ambient_clear()?;
        for capability in 0..64 {
            if mask >> capability & 1 == 1
                && let Err(errno) = process::ambient_raise(capability)
            {
                self.report(MessageKind::Warning, index, errno.into());
            }
        }
        Ok(())
    }

    /// Loads the filter; with a listener, the parent gets it.
    fn seccomp(&mut self, filter: crate::program::Text, flags: u32, listener: bool) -> Outcome {
        let fd = process::load_seccomp(self.bytes(filter), flags)?;
        if listener {
            self.hand_over(MessageKind::Listener, 0, fd)?;
            path::close(fd);
        }
        Ok(())
    }
}

/// Closes everything that is not in the sorted list.
fn close_others(keep: &[i32]) -> Outcome {
    let mut next = 0;
    for fd in keep {
        let fd = *fd as u32;
        if fd > next {
            path::close_range(next, fd - 1)?;
        }
        next = next.max(fd + 1);
    }
    Ok(path::close_range(next, u32::MAX)?)
}

fn preserve(count: u32, absent: &[i32]) -> Outcome {
    for fd in (3..count.saturating_add(3)).map(|fd| fd as i32).filter(|fd| !absent.contains(fd)) {
        path::set_close_on_exec(fd, false)?;
    }
    Ok(())
}

/// Becomes root of the user namespace that the parent has mapped, and drops the caller's groups.
fn root_ids(uid: u32, gid: u32, keep_groups: bool) -> Outcome {
    if !keep_groups {
        // If setgroups is denied (a map written without privilege), the groups stay the caller's.
        match process::set_groups(&[]) {
            Ok(()) | Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    process::set_gid(gid)?;
    process::set_uid(uid)?;
    // When the ids changed, the kernel decided by its own rule whether the process is dumpable.
    Ok(process::set_not_dumpable()?)
}

fn set_ids(uid: u32, gid: u32) -> Outcome {
    process::keep_capabilities(true)?;
    process::set_gid(gid)?;
    process::set_uid(uid)?;
    Ok(process::set_not_dumpable()?)
}

fn bounding_set(keep: u64) -> Outcome {
    /// Every supported kernel has the capabilities up to this one, `CAP_CHECKPOINT_RESTORE`.
    const LAST_CERTAIN: u32 = 40;
    for capability in (0..64).filter(|capability| keep >> capability & 1 == 0) {
        match process::bounding_drop(capability) {
            Ok(()) => {}
            // A capability number is unknown to the kernel, like all higher ones, if reading it fails as well. A single
            // refusal can also come from a filter that the caller runs under.
            Err(Errno::EINVAL)
                if capability > LAST_CERTAIN && process::bounding_has(capability) == Err(Errno::EINVAL) =>
            {
                break;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
