//! What must not leak from the caller or the runtime into a container.

use crate::observe::signal_set;
use crate::outcome::{Outcome, check, same};
use crate::runtime::Called;
use crate::{Bed, Spec, Test, test};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The signals 1 to 31; those above belong to the C library and to the suite's caller.
const STANDARD: u64 = (1 << 31) - 1;

/// Bit of SIGPIPE in the kernel's masks.
const PIPE: u64 = 1 << 12;

pub(super) const TESTS: &[Test] = &[
    test("S30", "signals that the caller ignores are not ignored in the container", |bed| {
        let seen = after(bed, "trap '' PIPE")?.json()?;
        check(signal_set(&seen, "SigIgn")? & PIPE == 0, || format!("SigIgn {}", seen["status"]["SigIgn"]))
    }),
    test("S30", "no signal is blocked or ignored in the container", |bed| {
        let seen = bed.report(&Spec::new())?;
        same("blocked", signal_set(&seen, "SigBlk")? & STANDARD, 0)?;
        same("ignored", signal_set(&seen, "SigIgn")? & STANDARD, 0)
    }),
    test("S30", "no signal is blocked or ignored in an exec'd process", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let seen = container.exec(&["/probe", "report"])?.ok()?.json()?;
        same("blocked", signal_set(&seen, "SigBlk")? & STANDARD, 0)?;
        same("ignored", signal_set(&seen, "SigIgn")? & STANDARD, 0)
    }),
    test("S31", "the caller's umask does not change what the runtime makes", |bed| {
        let bundle = bed.bundle(&Spec::new().mount("/made/here", "tmpfs", "tmpfs", &[]))?;
        let call =
            bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after("umask 0077");
        call.call()?.ok()?;
        let mode = fs::metadata(bundle.rootfs.join("made"))?.permissions().mode() & 0o777;
        same("mode", format!("{mode:o}"), "755")
    }),
    test("S32", "descriptors of the caller do not reach the container, the hooks or an exec", |bed| {
        let seen = after(bed, "exec 3</ 4</etc 5</proc 6</dev/zero 7</etc/hostname 8</ 9</")?.json()?;
        same("descriptors", crate::tests::process::descriptors(&seen), ["0", "1", "2"])?;
        let container = bed.waiting(&Spec::new())?;
        let call = bed
            .command(["exec", container.id(), "/probe", "report"])
            .after("exec 3</ 4</etc 5</proc 6</dev/zero");
        let seen = call.call()?.ok()?.json()?;
        same("descriptors of exec", crate::tests::process::descriptors(&seen), ["0", "1", "2"])
    }),
    test("S32", "a waiting first process holds no descriptor of a host directory", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        let proc = format!("/proc/{}", container.pid()?.as_raw_pid());
        // A directory of the container itself is no way out; its mount is in the container's own table.
        let own: Vec<String> = fs::read_to_string(format!("{proc}/mountinfo"))?
            .lines()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        for entry in fs::read_dir(format!("{proc}/fd"))?.flatten() {
            if !fs::metadata(entry.path())?.is_dir() {
                continue;
            }
            let number = entry.file_name().to_string_lossy().into_owned();
            let info = fs::read_to_string(format!("{proc}/fdinfo/{number}"))?;
            let mount = info
                .lines()
                .find_map(|line| line.strip_prefix("mnt_id:"))
                .unwrap_or_default()
                .trim()
                .to_owned();
            check(own.contains(&mount), || {
                format!(
                    "descriptor {number} is {}, outside the container",
                    fs::read_link(entry.path()).unwrap_or_default().display()
                )
            })?;
        }
        Ok(())
    }),
    test("S33", "the files of the state are for their owner alone (CVE-2021-41103)", |bed| {
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        let dir = bed.state_dir(container.id());
        for entry in fs::read_dir(&dir)?.flatten() {
            let meta = entry.metadata()?;
            let mode = meta.permissions().mode();
            if meta.is_file() {
                let open_to_others = mode & 0o077;
                same(&format!("{}: rights of others", entry.file_name().display()), open_to_others, 0)?;
            }
        }
        let mode = fs::metadata(&dir)?.permissions().mode();
        check(mode & 0o066 == 0, || format!("the directory has mode {:o}", mode & 0o777))
    }),
    test("S34", "no abstract socket can be reached from the container (CVE-2020-15257)", |bed| {
        let container = bed.waiting(&Spec::new())?;
        let table = fs::read_to_string("/proc/net/unix")?;
        let id = container.id().to_owned();
        check(!table.lines().any(|line| line.contains('@') && line.contains(&id)), || {
            "an abstract socket has the id".into()
        })
    }),
    test("S35", "the first process is not dumpable for others while it waits", |bed| {
        bed.host.needs_root_because("a container of a user is his own, and his newuidmap looks into it")?;
        let container = bed.create(&bed.bundle(&Spec::new())?)?;
        let pid = container.pid()?.as_raw_pid();
        // /proc/PID/environ of a non-dumpable process belongs to root, even under another uid.
        let bundle =
            bed.bundle(&Spec::new().set("/process/user", serde_json::json!({"uid": 1000, "gid": 1000})))?;
        let user = bed.create(&bundle)?;
        let other = user.pid()?.as_raw_pid();
        for pid in [pid, other] {
            let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/environ"))?);
            same("owner of /proc/PID/environ", owner, 0)?;
        }
        Ok(())
    }),
    test("S36", "processes of a container cannot signal the runtime's side", |bed| {
        let answers = bed.tries(&Spec::new(), &[&["kill", "2", "0"], &["list", "/proc"]])?;
        answers[0].failed(&[3])?;
        let pids =
            crate::observe::strings(answers[1].worked()?).iter().filter(|n| n.parse::<u32>().is_ok()).count();
        same("processes to be seen", pids, 1)
    }),
];

/// Runs the report after shell commands that change the caller.
fn after(bed: &Bed<'_>, commands: &str) -> Outcome<Called> {
    let bundle = bed.bundle(&Spec::new())?;
    bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]).after(commands).call()?.ok()
}
