//! How the crate is built, and why.
//!
//! # The pipeline
//!
//! ```text
//! config.json ──> Spec ──> findings ──> Plan ──────────────> Container
//!        bundle.rs     check/       plan/     spawn/ (parent)
//!                                             child/ (child)
//! ```
//!
//! Everything up to the plan is a function of the configuration and of facts about the host, and changes nothing on the
//! host. So [`Runtime::check`] can report *all* mistakes before anything happens, [`Runtime::explain`] can print the
//! ordered steps without taking them, and both are tested without making containers. A plan has two halves: the steps
//! of the parent, and a *program* for the child, which is a list of operations without jumps over one arena of strings.
//! A child that fails sends 16 bytes (which operation, which errno, a detail). The parent has the words for every
//! operation and makes an [`Error`] of them: a sentence, a JSON pointer into `config.json`, often a hint.
//!
//! # Processes
//!
//! ```text
//!   caller: create                         child                         caller: start
//!   ──────────────                         ─────                         ─────────────
//!   check, plan
//!   intent record, lock, cgroups
//!   clone3 ─────────────────────────────>  born (new pid/user ns, v2 cgroup)
//!   serve  <──── ask / answer (+fd) ────>  namespaces, mounts, devices, hooks
//!          <──── terminal, listener ─────
//!          <──── created ────────────────  limits, ids, capabilities
//!   state.json
//!          ───── go ────────────────────>  waits on start.sock  <─────── connect, "start"
//!   returns Container                      startContainer hooks
//!                                          seccomp filter, execve ─────> end of file: it runs
//!                                                                        (or 16 bytes: why not)
//!                                                                        poststart hooks, returns
//!
//!   exec:  clone3 ──────────────────────>  cgroup, setns(all), ids, clone ───> its only sibling: execve
//!   mounts: clone3 ─────────────────────>  setns, mounts as at a creation, each shown to the parent before it is
//!                                          attached; undone by descriptor if one fails
//! ```
//!
//! Each new container has one copy-on-write child. There is no helper program and no intermediate process.
//!
//! A child that enters a pid namespace with *other* processes in it (each exec, and a container that joins one by path)
//! does all of its work where those processes cannot see it. Near the end it gives birth to a second process inside the
//! namespace (`child/emerge.rs`). Of that process the others see the container's root, working directory, ids and
//! capabilities, its standard streams, one socket, and nothing of the caller's memory but the code. A process in there
//! that has `CAP_SYS_PTRACE` may read and write all of it. So the parent does nothing on its request, and it never has
//! a right that the container lacks. (Without privileges, a pid namespace that only a *joined* user namespace may make
//! or enter needs a second clone too.)
//!
//! The child is a copy of one thread of a program that may have many, so the heap and every other lock may be held for ever
//! in the copy. It neither allocates nor formats nor logs, and calls the kernel directly on memory that existed before the
//! clone. `tests/child_does_not_allocate.rs` runs it with an allocator that ends any process but the caller's.
//!
//! The caller's process stays as it was: working directory, umask, environment, limits, signal mask, descriptors,
//! namespaces, cgroup, dumpable flag. Everything may be called from any thread (`tests/caller_untouched.rs`,
//! `tests/busy_caller.rs`). If a child needs other namespaces to be joined for it, a short-lived thread does that.
//! Waits are on descriptors, so an event loop can drive them. The library polls in two cases only: a version 1 cgroup
//! that is being frozen or removed, which sends no notice, and a container's lock that another process holds.
//!
//! # Waits
//!
//! A container, a hook or an operator can delay some things for ever: the start of a program, an exec, a change of
//! mounts, poststart and poststop hooks. The library waits for these without the container's lock, so the container can
//! be paused, killed and deleted meanwhile. A creation holds the lock until the container is complete. `delete --force`
//! then ends the container's process, and that ends the hooks and the conversation with systemd that the creator waits
//! for. `kill`, `state`, `list` and `ps` take no lock. No child has the lock: a mapping that is not inherited holds it.
//! Each wait has a bound, or an end that the kernel reports, and after a second the log says what it is for.
//! [`CreateOptions::cancel`] and [`ExecOptions::cancel`] end a wait from outside.
//!
//! # The order of a creation
//!
//! `plan/order.rs` is the one place that knows the order, with its stages `enter.rs`, `root.rs` and `process.rs` and the
//! reasons. `wharf explain BUNDLE` prints it for a bundle.
//!
//! | # | process | what | why there |
//! |---|---|---|---|
//! | 1 | parent | check, plan; then the intent record, the lock, the cgroups and their limits | whatever can be refused is refused before anything is made; whatever is made is on record first |
//! | 2 | parent | `clone3` with the new pid and user namespaces, into the v2 cgroup | a pid namespace needs a birth; the user namespace must own the others |
//! | 3 | child | non-dumpable; close descriptors, set the streams, reset signals; new session | before a process of a joined namespace can look (CVE-2016-9962) |
//! | 4 | both | unshare, if there is no new user namespace; join the v1 cgroups, the resctrl groups, and the namespaces that may be the host's | this still needs the host's ids |
//! | 5 | child | join or map the user namespace and become its root; unshare or join the others; cgroup namespace last | a cgroup namespace has its root where its maker is |
//! | 6 | both | time offsets, session keyring, loopback, network devices of the host | sysctls and hooks may name the devices |
//! | 7 | child | host and domain name; the propagation of the host's mounts; private procfs, null device; the root mount | no mount may reach the host; what is trusted is opened before the container's mounts |
//! | 8 | both | mounts as listed, then devices and links | sources outside the container's reach come from the parent |
//! | 9 | parent | `prestart` and `createRuntime` hooks | after the namespaces, before the pivot, as the specification says |
//! | 10 | child | terminal, working directory, `createContainer` hooks | |
//! | 11 | child | pivot the root; its propagation; sysctls; read-only mounts and root, read-only paths, masked paths | a mask must not be covered by the clone of a read-only path above it |
//! | 12 | child | memory policy, LSM labels, scheduler, I/O priority, personality, `no_new_privs`, limits | they need privileges that 13 takes |
//! | 13 | child | groups, bounding set, ids, working directory, capabilities, umask | `CAP_SYS_ADMIN` is kept if a filter is to be loaded without `no_new_privs` |
//! | 14 | child | find the program; if a pid namespace was joined, be born into it; filter, if it has a listener, takes `CAP_SYS_ADMIN` to load, or a process that may trace could come; report `created`, wait for `go` and `start` | the parent must still be there to take the listener; every `exec` and hook can see what waits for its start |
//! | 15 | child | `startContainer` hooks, each under the filter; filter; drop `CAP_SYS_ADMIN` if it was kept; `execve` | the later the filter, the less it must allow: one `capset` and the `execve` |
//!
//! # Modules
//!
//! | module | idea |
//! |---|---|
//! | `bundle`, `id`, `error`, `finding`, `host`, `features` | a configuration read once; names; failures; mistakes in a document; facts about the host; what this build can do |
//! | `check` | pure validation, one file for each object of the specification |
//! | `plan` | configuration to ordered steps |
//! | `program` | what a plan hands to the child: its operations, and the words for each |
//! | `linux` | one file for each kernel facility: the operations that it needs |
//! | `cgroup` | paths, limits (v1, hybrid, v2), device rules, freezer, statistics, out-of-memory events |
//! | `spawn` | the parent's half: clone, serve the child, word its failures |
//! | `child` | the child's half: the interpreter of the program |
//! | `criu` | checkpoints: the messages of criu, its images and its log (feature `criu`) |
//! | `sys` | system calls that the bindings lack; with `child`, the only `unsafe` code |
//! | `container` | the operations, and the state on disk |
//! | `pod` | the namespaces that the containers of a pod share, without a container that holds them |
//! | `hook` | hooks that run in the runtime's namespaces |
//! | `trace` | each step with its time, for a log of level debug |
//!
//! # State on disk
//!
//! Each container has one directory, `ROOT/ID/`:
//!
//! | file | written | holds |
//! |---|---|---|
//! | `lock` | first, before any other side effect | the intent: where everything will be, and in a line of its own the process once there is one, so that a clean-up needs the id only; `flock`ed by operations that change something |
//! | `config.json` | at creation | the configuration that counts from then on |
//! | `cgroup.json` | when the cgroup is made or found to be free, before a process enters it | which directories were made, exactly: without it a clean-up ends nothing in a cgroup, which may belong to another container |
//! | `netdevices.json` | before network devices are moved, gone when the creation is complete | what they were on the host |
//! | `start.sock` | at creation, gone after `start` | where the created process waits |
//! | `mounts.json` | before each mount that is added to the running container, and after a removal, by rename | the ids of those mounts, and the destinations that were asked for |
//! | `notify/notify.sock` | on demand | where the container's process sends `sd_notify(3)` messages; the process sees it at /run/notify |
//! | `state.json` | when the creation is complete, by rename | the record: boot id; pid with its pidfd inode and start time; cgroups, namespaces |
//!
//! The library stores no status: it asks the kernel whether a container is created, running, paused or stopped. A
//! process is signalled only through a pidfd that was compared with the record. Of a record from another boot only the
//! directory and the poststop hooks still count. [`Delete::Force`] cleans up after a creator that was killed at any
//! moment, and with any of these files empty, truncated or missing (`tests/killed_creator.rs`).
//!
//! # Decisions, and why
//!
//! * **Joining cgroups.** Version 2: `CLONE_INTO_CGROUP`, no move at all, into what the runtime made. Version 1: the child
//!   writes `0` to `tasks`, which moves the writing thread. A pid written to `cgroup.procs` moves a process, and that waits
//!   for a grace period of the kernel (some 10 ms on an idle machine).
//! * **systemd's scopes** (`cgroup/systemd`) cannot be empty. So the child is made first, and its first step is to wait while
//!   the parent has systemd make the scope with every limit and with the child, in one call. On version 2 the container then
//!   moves into a group below the scope, `container`, with the same limits: the scope's own files are systemd's to write, and
//!   `memory.events` of the group reports a kill at once and nothing before it. In a scope itself the first notice is
//!   that the limit is hit. The notice of the kill follows 10 ms later; by then systemd may have removed the scope with its
//!   last process, and engines that wait for it (conmon, containerd) never learn of the kill. Everything else is as with
//!   cgroupfs.
//! * **The gate is a connected socket**, not a fifo. A refused connection means that init is gone; a message means that
//!   `execve` failed, and how. So `start` reports a program that cannot run, and `poststart` hooks run after it does. End of
//!   file comes with `execve` as well as with the end of the process, and the kernel knows which (`PF_FORKNOEXEC` in
//!   /proc/PID/stat, until the parent has taken the status).
//! * **The child writes to few pages.** Each page that it or its parent touches while both exist is copied for it (1.8 us on
//!   the machine of the published figures; 0.7 us for a new one). So its functions with room for a path are not inlined into
//!   each other, and that room is not cleared.
//! * **Seccomp filters are loaded late**, and compiled by a compiler of this crate: no C library, and a filter that decides
//!   by binary search.
//! * **A restore is a creation.** criu makes the processes that the images describe, and the author of the images chooses
//!   what they describe. So all checks of a creation are made, the processes are born in the container's cgroups, and
//!   before the first of them runs, namespaces, mounts, capabilities, ids, `no_new_privs`, seccomp filters, labels and open
//!   files are compared with the configuration and limits are set. A mount of the host goes into the images under a name
//!   made of its *configured* destination, since the image decides what a path means inside. criu runs in a mount
//!   namespace of its own, without the caller's environment and descriptors.
//! * **The parent moves network devices**, through routing netlink sockets in both namespaces. A socket stays in the
//!   namespace of the thread that made it, so a thread that ends right after joins the container's. The number of
//!   a device in the container is chosen before the move, so it is known whatever name the kernel gives the device. Addresses
//!   and routes are carried as the bytes that the kernel reported, so none of their attributes is lost.
//! * **A mount that is a peer of one outside is never moved or unmounted.** If the host's `/` is shared, what is unmounted from a
//!   peer is unmounted from the host. So the tree around the root file system is made a slave first, even if
//!   `rootfsPropagation` shares volumes: those are cloned in the caller's mount namespace. A debug build looks into mountinfo
//!   before it unmounts.
//! * **Only what was added is removed.** A path in a container says nothing about what is mounted there: a process can rename
//!   a directory, and then the path leads to a mask or to a volume. So [`Container::remove_mounts`] goes by the ids in
//!   `mounts.json`. It finds the mount wherever it is now (`statmount(2)`), compares the id of what it has opened, and
//!   unmounts that descriptor. It refuses what is not on record and what another mount covers. A mount goes on record
//!   *before* it is attached, and the lock is held no longer than that takes. So a runtime that is killed leaves at most a
//!   record without a mount, which the next change forgets, and never a mount that cannot be removed. What came along below
//!   the mount (a recursive bind, a mount of a process inside) goes with it and cannot be removed alone. A checkpoint is
//!   refused while there is such a mount, since a restore makes only the mounts of the configuration; a restored container
//!   begins with an empty record. Before Linux 6.8 the kernel gives the id of a mount that is gone to the next one. There,
//!   the device and inode of the root are compared as well, and a mount that moved is found by its present path only. One
//!   gap remains: a process of the container can unmount what was added and mount the same file system again. The masks
//!   are safe there too: they are older than every mount on record, so no record has their ids.
//! * **The kernel is at least Linux 5.14**, for the mount calls on descriptors. All work inside a root file system goes
//!   through one descriptor of it, with `openat2(2)`: no link in an image leads out.
//! * **The library does not protect your binary.** See [what your program should do itself](crate#what-your-program-should-do-itself).
//!
//! Where the specification, other runtimes and their callers disagree:
//!
//! | subject | decision | why |
//! |---|---|---|
//! | repeated JSON names; `ociVersion` missing, not `SemVer`, or of another major version | error; a newer minor version is a warning | two readers must not see two configurations; unknown properties are ignored anyway |
//! | default file systems | supplied if `mounts` is *absent*; a list is taken as it is | callers leave mounts out on purpose |
//! | `umask` not set | 0022 | a daemon's 0 or 0077 would leak into files or break images |
//! | capability unknown, or not grantable | warning | engines ask for all that they know |
//! | hook without `env` | the runtime's environment outside of the container, that of `process` for `startContainer`, an empty one for `createContainer`; with an empty `env`, none | runc's hooks rely on a `PATH`; inside, nothing of the runtime's leaks |
//! | `org.systemd.property.*` annotations | those that say how the container's own unit ends; others only if the embedder trusts the configuration | systemd would run programs for them, or power the machine off (CVE-2024-3154) |
//! | `closID` of a group that is there | `l3CacheSchema` and `memBwSchema` must match it, by value and in the domains that they name; `schemata` is written | the letter of the specification; hardware rounds, and fills in what is not named |
//! | version 1 settings on a version 2 host | error, if they ask for an effect; a value that callers write for "unset" does not | engines send such values |
//! | `pids.limit` | -1 is none; 0 is a limit since `ociVersion` 1.3, none before | version 1.3 made it one; callers that write an older version mean "none" |
//! | no privileges, no cgroup, and no limits requested | the container silently has no cgroup; a requested limit is an error | that is the normal case of a user |
//! | device rules in an update | those that differ from the rules in force take their place; the same ones are left alone | engines send all resources with each update, and device plug-ins change rules behind the runtime's back |
//! | device rules without the right to filter devices, or with cgroups disabled | silently left out | engines always send them; a user cannot make nodes, and can bind only nodes that the user can open |
//! | mappings with a user namespace that is joined | must be those that the namespace has | otherwise one of the two is a mistake |
//! | a device that a user namespace cannot make | the host's node is bound, read-only, which keeps its mode and owner and still lets programs write to the device; `fileMode`, `uid` and `gid` that ask for anything but 0666 and root are warned about | the specification allows it; the node is the host's own, and its mode and owner are the host's business |
//! | a standard stream that is the host's null device | the container's own takes its place | root in the container could change mode and owner of the host's (`docs/host-inodes.md` lists every inode of the host that a container reaches) |
//! | owner of standard streams | pipes, and files that are written to, go to the process' user; what is only read, sockets and devices do not | programs open /dev/stderr; runc gives away terminals and input files as well |
//! | no room in the quota of keys of a user namespace's root | a session keyring without a name, charged to the caller, and a warning | the caller's own must not stay in force |
//! | a file at the place of a device that is bound | error, unless it is that device or an empty regular file | the letter of the specification; a bind needs a file and leaves it in a root file system that is used again |
//! | a restored process with more than the configuration gives | error | images are not an authority, although other runtimes trust them |
//! | deleting a *created* container | kills and deletes it; [`Delete::Strict`] refuses | callers rely on it |
//! | [`Container::start`] | returns when `execve` has succeeded, or with its failure | every caller wants to know |
//!
//! # Without privileges
//!
//! What counts is what the caller may do, not which user it is. Without `CAP_SYS_ADMIN` in its user namespace the parent can
//! neither clone mounts nor enter namespaces for the child. Then the child does all of it, as root of the container's user
//! namespace, and the parent only writes the maps, or has newuidmap(1) and newgidmap(1) do it.
//!
//! Such a child stays dumpable until its program starts, if its user namespace was born with it: newuidmap writes as the
//! user, and hooks and network set-ups of that user look for `/proc/PID/ns`. No other process in the new namespace could
//! look, and the owner of the namespace may. A child that *joins* a user namespace is never dumpable.
//!
//! A parent with privileges lets a child of a *new* user namespace be born into the network, ipc, uts and cgroup namespaces
//! that are joined by path, on a thread that has joined them. They may be the host's, and afterwards there is no right
//! to them.
//!
//! [`Container::start`]: crate::Container::start
//! [`Container::remove_mounts`]: crate::Container::remove_mounts
//! [`CreateOptions::cancel`]: crate::CreateOptions::cancel
//! [`Delete::Force`]: crate::Delete::Force
//! [`Delete::Strict`]: crate::Delete::Strict
//! [`Error`]: crate::Error
//! [`ExecOptions::cancel`]: crate::ExecOptions::cancel
//! [`Runtime::check`]: crate::Runtime::check
//! [`Runtime::explain`]: crate::Runtime::explain
