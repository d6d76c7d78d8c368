//! A configuration that needs no image: an empty root in memory with the programs of the host, read-only.

use std::path::Path;

use serde_json::{Value, json};
use wharf::{Bundle, Result};

/// A bundle for a command; nothing of it is on a disk.
///
/// The container has namespaces of its own, no network, no capabilities and no way to write but to `/tmp`.
///
/// # Errors
///
/// If the configuration is not valid.
pub(crate) fn bundle<A: AsRef<str>>(args: &[A]) -> Result<Bundle> {
    let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    let mut mounts = vec![
        // What is mounted on / takes the place of the root file system.
        json!({"destination": "/", "type": "tmpfs", "source": "root", "options": ["nosuid", "nodev", "mode=755"]}),
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "dev", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmp", "options": ["nosuid", "nodev", "size=16m"]}),
    ];
    let programs = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives"];
    mounts.extend(programs.into_iter().filter(|dir| Path::new(dir).is_dir()).map(bind));
    let config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"],
            "user": {"uid": 65534, "gid": 65534},
            "noNewPrivileges": true,
        },
        // Any directory except / will do, as long as no mount below has its source in it.
        "root": {"path": "/tmp", "readonly": true},
        "hostname": "sandbox",
        "mounts": mounts,
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"},
            ],
            "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 64}},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    // Relative paths of the configuration would begin at the second argument.
    Bundle::from_bytes(config.to_string().as_bytes(), "/")
}

fn bind(dir: &str) -> Value {
    json!({"destination": dir, "type": "bind", "source": dir, "options": ["rbind", "ro", "nosuid", "nodev"]})
}
