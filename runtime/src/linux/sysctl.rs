//! Kernel parameters under `/proc/sys`.

/// The namespace that holds a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Ipc,
    Net,
    User,
    Uts,
}

/// The path below `/proc/sys` for a key, by the rule of sysctl(8): the first separator in the key, `.` or `/`, is the
/// separator, and the other character stands for it inside a name.
///
/// `net.ipv4.conf.eth0/100.forwarding` and `net/ipv4/conf/eth0.100/forwarding` both mean the file
/// `net/ipv4/conf/eth0.100/forwarding`. `None` if the result would not be a path of plain names.
pub(crate) fn path(key: &str) -> Option<String> {
    let dotted = key.find(['.', '/']).is_some_and(|first| key.as_bytes().get(first) == Some(&b'.'));
    let path: String = if dotted {
        key.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    } else {
        key.to_owned()
    };
    // Checked after the conversion: `a./../b` must not become `a/../b`... nor `//` lead back to the root.
    let plain = path.split('/').all(|name| !matches!(name, "" | "." | ".."))
        && path.contains('/')
        && !path.contains(|c: char| c.is_control() || c.is_whitespace());
    plain.then_some(path)
}

/// The namespace that holds the parameter at this path; `None` if the whole machine shares it, or it is unknown.
pub(crate) fn scope(path: &str) -> Option<Scope> {
    // ipc_namespaces(7), uts_namespaces(7), network_namespaces(7), and namespaces(7) for /proc/sys/user.
    match path {
        "kernel/msgmax"
        | "kernel/msgmnb"
        | "kernel/msgmni"
        | "kernel/msg_next_id"
        | "kernel/sem"
        | "kernel/sem_next_id"
        | "kernel/shmall"
        | "kernel/shmmax"
        | "kernel/shmmni"
        | "kernel/shm_next_id"
        | "kernel/shm_rmid_forced" => Some(Scope::Ipc),
        "kernel/hostname" | "kernel/domainname" => Some(Scope::Uts),
        _ if path.starts_with("fs/mqueue/") => Some(Scope::Ipc),
        _ if path.starts_with("net/") => Some(Scope::Net),
        _ if path.starts_with("user/") => Some(Scope::User),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_decides() {
        for (key, file) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("kernel.shmmax", "kernel/shmmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ] {
            assert_eq!(path(key).as_deref(), Some(file), "{key}");
        }
    }

    #[test]
    fn nothing_leads_out_of_proc_sys() {
        for key in [
            "",
            ".",
            "/",
            "kernel",
            "net..x",
            "net//x",
            ".net.x",
            "/net/x",
            "net.x.",
            "net/x/",
            "net/../kernel/core_pattern",
            "net.//.kernel.core_pattern",
            "net./.x",
            "../sysrq-trigger",
            "net.ipv4.\n",
            "net.a b",
            "net.\0x",
        ] {
            assert_eq!(path(key), None, "{key:?}");
        }
    }

    #[test]
    fn only_namespaced_parameters_have_a_scope() {
        for (file, expected) in [
            ("kernel/shmmax", Some(Scope::Ipc)),
            ("fs/mqueue/queues_max", Some(Scope::Ipc)),
            ("net/core/somaxconn", Some(Scope::Net)),
            ("user/max_user_namespaces", Some(Scope::User)),
            ("kernel/domainname", Some(Scope::Uts)),
            ("kernel/core_pattern", None),
            ("kernel/shmmax/x", None),
            ("vm/swappiness", None),
            ("network/x", None),
            ("fs/mqueue", None),
            ("fs/file-max", None),
        ] {
            assert_eq!(scope(file), expected, "{file}");
        }
    }
}
