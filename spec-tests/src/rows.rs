//! The rows: every requirement of the runtime specification (1.3) for Linux, and what callers expect beyond it.

use crate::Test;
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// What each row is about; the first is A1.
pub const SUBJECTS: [&str; 238] = [
    "config.json",
    "JSON is UTF-8 without repeated names",
    "ociVersion is there and SemVer 2.0.0",
    "an unsupported ociVersion is an error",
    "unknown properties are ignored",
    "invalid values are errors",
    "edits of config.json after create have no effect",
    "mounts may be absent",
    "linux may be absent",
    "process may be absent until start",
    "sections of other platforms",
    "root is required",
    "root.path",
    "root.readonly",
    "mounts: order",
    "mounts: relative destination",
    "mounts: source is optional",
    "mounts: relative bind source",
    "mounts: type is optional for binds",
    "mounts: unknown options are data of the file system",
    "mounts: words of mount(8)",
    "mounts: a bind keeps the flags of its source",
    "mounts: propagation of one mount",
    "mounts: clearing options on binds",
    "mounts: superblock flags",
    "mounts: remount",
    "mounts: symlinks and dots stay in the rootfs",
    "options: the 26 flags that must be known",
    "options: defaults",
    "options: iversion noiversion",
    "options: lazytime nolazytime",
    "options: silent loud",
    "options: the eight propagation words",
    "options: recursive flags",
    "options: nosymfollow symfollow",
    "options: rnosymfollow rsymfollow",
    "options: idmap",
    "options: ridmap",
    "options: mand nomand",
    "options: tmpcopyup",
    "idmap: uidMappings go with gidMappings",
    "idmap: own mappings, else those of the user namespace",
    "idmap: mappings without the option",
    "idmap: not for binds alone",
    "idmap: without root",
    "idmap: files of the host keep their owners",
    "terminal",
    "consoleSize",
    "cwd is absolute",
    "env",
    "args has at least one entry",
    "args[0] is looked up in PATH",
    "only stdio stays open",
    "commandLine is for Windows",
    "uid and gid",
    "umask unset",
    "umask set",
    "additionalGids",
    "rlimits: unknown type",
    "rlimits: repeated type",
    "rlimits: exact",
    "rlimits: all 16 types",
    "capabilities: five sets",
    "capabilities: an unknown name is a warning",
    "capabilities: an ungrantable one is a warning",
    "capabilities: a refused ambient one is a warning",
    "apparmorProfile",
    "selinuxLabel",
    "mountLabel",
    "noNewPrivileges",
    "oomScoreAdj set",
    "oomScoreAdj unset",
    "scheduler: policies",
    "scheduler: flags",
    "ioPriority",
    "execCPUAffinity.initial",
    "execCPUAffinity.final",
    "hostname",
    "domainname",
    "hooks: six kinds in order",
    "hooks: path is absolute",
    "hooks: timeout",
    "hooks: state on stdin",
    "hooks: status in the state",
    "hooks: pid in the state",
    "hooks: prestart and createRuntime",
    "hooks: createContainer",
    "hooks: startContainer",
    "hooks: poststart",
    "hooks: poststop",
    "hooks: failure at create",
    "hooks: failure of startContainer",
    "hooks: failure of poststart",
    "hooks: failure of poststop",
    "hooks: env",
    "hooks: stdin that is not read",
    "hooks: error text",
    "hooks: working directory",
    "annotations: keys are not empty",
    "annotations: part of the state",
    "annotations: stop signal of the image",
    "annotations: one called bundle",
    "default file systems",
    "default devices",
    "/dev/console",
    "/dev/ptmx",
    "links of /dev",
    "namespaces: eight kinds",
    "namespaces: joined by path",
    "namespaces: path is absolute",
    "namespaces: path of the wrong kind",
    "namespaces: repeated kind",
    "namespaces: absent kinds are inherited",
    "id maps",
    "id maps without a user namespace",
    "timeOffsets",
    "timeOffsets without a time namespace",
    "devices: types",
    "devices: invalid type",
    "devices: anywhere",
    "devices: existing file that does not match",
    "devices: existing node that matches",
    "devices: major and minor are required",
    "devices: fileMode",
    "devices: uid and gid",
    "devices: in a user namespace",
    "netDevices: moved and renamed",
    "netDevices: clash of names",
    "netDevices: %d in a name",
    "netDevices: addresses",
    "netDevices: other attributes",
    "netDevices: brought up",
    "netDevices: never moved back",
    "netDevices: shared network namespace",
    "netDevices: given back when create fails",
    "cgroupsPath",
    "cgroupsPath: invalid values",
    "cgroupsPath: a cgroup that is in use",
    "cgroup ownership: v1",
    "cgroup ownership: v2",
    "cgroup ownership: the kernel's list is missing",
    "hybrid hosts",
    "device rules",
    "memory: limit, reservation, swap",
    "memory: swappiness",
    "memory: kernel, kernelTCP",
    "memory: disableOOMKiller",
    "memory: useHierarchy",
    "memory: checkBeforeUpdate",
    "cpu: shares, quota, period",
    "cpu: burst",
    "cpu: realtimeRuntime, realtimePeriod",
    "cpu: cpus, mems",
    "cpu: idle",
    "blockIO: weights",
    "blockIO: leaf weights",
    "blockIO: throttles",
    "hugepageLimits",
    "hugepageLimits: pageSize",
    "network: classID, priorities",
    "pids.limit",
    "rdma",
    "unified",
    "settings of v1 on v2",
    "resources without a cgroup of the user",
    "intelRdt: not set",
    "intelRdt: no resctrl",
    "intelRdt: tasks",
    "intelRdt: closID /",
    "intelRdt: order of writes",
    "intelRdt: an existing group must match",
    "intelRdt: closID alone must exist",
    "intelRdt: removal",
    "intelRdt: monitoring",
    "intelRdt: form of the schemata",
    "memoryPolicy: modes",
    "memoryPolicy: flags",
    "memoryPolicy: nodes",
    "sysctl",
    "sysctl: net without a namespace of its own",
    "sysctl: separators",
    "seccomp: actions",
    "seccomp: errnoRet",
    "seccomp: errnoRet where none belongs",
    "seccomp: architectures",
    "seccomp: flags",
    "seccomp: unknown flag",
    "seccomp: names are not empty",
    "seccomp: unknown system call",
    "seccomp: args",
    "seccomp: listenerPath",
    "seccomp: listenerMetadata",
    "seccomp: notify without listener",
    "seccomp: listener that cannot be reached",
    "seccomp: ENOSYS for newer calls",
    "seccomp: exec",
    "rootfsPropagation",
    "rootfsPropagation: invalid value",
    "maskedPaths",
    "maskedPaths are absolute",
    "readonlyPaths",
    "readonlyPaths are absolute",
    "personality",
    "personality: flags",
    "state: properties",
    "state: ociVersion",
    "state: status",
    "state: no pid when stopped",
    "a reused pid is not the container",
    "id",
    "create applies everything but args",
    "what cannot be applied is an error",
    "an error leaves nothing",
    "start: only of created",
    "start: program that cannot be executed",
    "kill: only of created and running",
    "delete: only of stopped",
    "delete removes what create made",
    "warnings change nothing",
    "unknown id",
    "run waits for the end",
    "relative --root",
    "features: versions",
    "features: hooks",
    "features: mountOptions",
    "features: namespaces",
    "features: capabilities",
    "features: cgroup",
    "features: seccomp",
    "features: apparmor, selinux",
    "features: intelRdt",
    "features: memoryPolicy",
    "features: mountExtensions",
    "features: netDevices",
    "features: annotations",
    "features: nothing unknown to its version",
    "seccomp is in force or refused",
    "exit code of a signalled program",
];

/// The numbers of all rows.
pub fn numbers() -> RangeInclusive<usize> {
    1..=SUBJECTS.len()
}

/// What a row is about.
pub fn subject(row: usize) -> Option<&'static str> {
    SUBJECTS.get(row.checked_sub(1)?).copied()
}

/// The numbers of the rows in the first words of a name; attacks (S), faults (F) and the command line (C) have none.
pub fn of(name: &str) -> impl Iterator<Item = usize> {
    name.split(' ')
        .map_while(|word| number(word, "ACFS"))
        .filter_map(|(kind, row)| (kind == 'A').then_some(row))
}

/// A letter and a number, such as A14; the letter is one of these.
pub fn number(word: &str, letters: &str) -> Option<(char, usize)> {
    let kind = word.chars().next().filter(|kind| letters.contains(*kind))?;
    Some((kind, word[1..].parse().ok()?))
}

/// The rows without any test.
pub fn uncovered(tests: &[Test]) -> Vec<usize> {
    let covered: HashSet<usize> = tests.iter().flat_map(|test| of(test.rows)).collect();
    numbers().filter(|row| !covered.contains(row)).collect()
}

/// Each row with its tests, for a reader.
pub fn report(tests: &[Test]) -> String {
    let covered: HashSet<usize> = tests.iter().flat_map(|test| of(test.rows)).collect();
    let mut lines = Vec::new();
    for row in numbers() {
        lines.push(format!("A{row} {}", subject(row).unwrap_or_default()));
        let found = tests.iter().filter(|test| of(test.rows).any(|one| one == row));
        lines.extend(found.map(|test| format!("    {}", test.sentence)));
    }
    let count = SUBJECTS.len() - numbers().filter(|row| !covered.contains(row)).count();
    lines.push(format!("{count} of {} rows have tests", SUBJECTS.len()));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::all;

    #[test]
    fn every_row_has_a_test() {
        let uncovered = uncovered(&all());
        assert!(uncovered.is_empty(), "rows without a test: {uncovered:?}");
    }

    #[test]
    fn tests_name_rows_that_exist() {
        for test in all() {
            assert!(test.rows.split(' ').all(|word| number(word, "ACFS").is_some()), "{}", test.name());
            assert!(of(test.rows).all(|row| subject(row).is_some()), "{}", test.name());
        }
    }

    #[test]
    fn no_two_tests_have_one_name() {
        let mut names: Vec<String> = all().iter().map(Test::name).collect();
        names.sort();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn rows_are_the_first_words_of_a_name() {
        assert_eq!(of("A24 A33 C2 A value").collect::<Vec<_>>(), [24, 33]);
        assert_eq!(of("S5 a mount").count(), 0);
    }
}
