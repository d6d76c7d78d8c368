//! The container's cgroups.

use crate::config::Config;
use std::fs;

/// Makes them with the limits.
pub fn make(config: &Config) -> std::io::Result<()> {
    for dir in config.v1.iter().chain(&config.v2) {
        // The directory above is made once for all containers.
        match fs::create_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (above, _) = dir.rsplit_once('/').unwrap_or((dir, ""));
                fs::create_dir_all(above)?;
                if config.v1.is_empty() {
                    hand_down(above)?;
                }
                fs::create_dir(dir)?;
            }
            other => other?,
        }
        let set = |name: &str, value: &str| fs::write(format!("{dir}/{name}"), value);
        if dir.contains("/cpuset/") {
            for name in ["cpuset.cpus", "cpuset.mems"] {
                let (above, _) = dir.rsplit_once('/').unwrap_or((dir, ""));
                let (top, _) = above.rsplit_once('/').unwrap_or((above, ""));
                let value = fs::read_to_string(format!("{top}/{name}"))?;
                fs::write(format!("{above}/{name}"), &value)?;
                set(name, &value)?;
            }
        } else if dir.contains("/devices/") {
            set("devices.deny", "a")?;
            for rule in ["c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"]
            {
                set("devices.allow", rule)?;
            }
        } else if let Some(limit) = config.memory.as_ref().filter(|_| dir.contains("/memory/")) {
            set("memory.limit_in_bytes", limit)?;
        } else if config.rich && dir.contains("/pids/") {
            set("pids.max", "100")?;
        } else if config.rich && (dir.contains("/cpu/") || dir.contains("/cpu,")) {
            set("cpu.shares", "512")?;
            set("cpu.cfs_quota_us", "100000")?;
        }
        if let Some(limit) = config.memory.as_ref().filter(|_| config.v1.is_empty()) {
            set("memory.max", limit)?;
        }
        if config.v1.is_empty() && config.rich {
            set("pids.max", "100")?;
            set("cpu.max", "100000 100000")?;
        }
    }
    Ok(())
}

/// Version 2: limits are there where the directories above hand their controllers down.
fn hand_down(above: &str) -> std::io::Result<()> {
    let (top, _) = above.rsplit_once('/').unwrap_or((above, ""));
    for dir in [top, above] {
        fs::write(format!("{dir}/cgroup.subtree_control"), "+cpu +memory +pids")?;
    }
    Ok(())
}

/// Removes them.
pub fn remove(config: &Config) {
    for dir in config.v1.iter().chain(&config.v2) {
        let _busy = fs::remove_dir(dir);
    }
}
