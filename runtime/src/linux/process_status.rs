//! What /proc/PID/status says about the privileges of a process (`proc_pid_status(5)`).

use super::capability::Masks;

/// The privileges of a process or thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessStatus {
    /// Real, effective, saved and file system id.
    pub(crate) uids: Vec<u32>,
    pub(crate) gids: Vec<u32>,
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: Masks,
    pub(crate) no_new_privileges: bool,
    /// `SECCOMP_MODE_*`: 2 with a filter.
    pub(crate) seccomp: u32,
    /// How many filters are stacked (Linux 5.9).
    pub(crate) seccomp_filters: Option<u32>,
}

/// Parses the file; none if a field is missing that every kernel with seccomp has.
pub(crate) fn parse(text: &str) -> Option<ProcessStatus> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let ids = |name: &str| {
        field(name)?.split_ascii_whitespace().map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let mask = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
    Some(ProcessStatus {
        uids: ids("Uid")?,
        gids: ids("Gid")?,
        groups: ids("Groups")?,
        capabilities: Masks {
            bounding: mask("CapBnd")?,
            effective: mask("CapEff")?,
            inheritable: mask("CapInh")?,
            permitted: mask("CapPrm")?,
            ambient: mask("CapAmb")?,
        },
        no_new_privileges: field("NoNewPrivs")? == "1",
        seccomp: field("Seccomp").and_then(|mode| mode.parse().ok()).unwrap_or(0),
        seccomp_filters: field("Seccomp_filters").and_then(|count| count.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found() {
        let text = "Name:\tUid: 7\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nGroups:\t10 20 \nCapInh:\t0000000000000000\n\
            CapPrm:\t00000000000000ff\nCapEff:\t000000000000000f\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000001\n\
            NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        let status = parse(text).expect("complete");
        assert_eq!(status.uids, [1, 2, 3, 4]);
        assert_eq!(status.groups, [10, 20]);
        assert_eq!(status.capabilities.bounding, 0xa804_25fb);
        assert_eq!((status.no_new_privileges, status.seccomp, status.seccomp_filters), (true, 2, Some(3)));
        assert_eq!(parse("Name:\tx\n"), None);
        parse(&std::fs::read_to_string("/proc/self/status").expect("procfs")).expect("this kernel's form");
    }
}
