//! A config.json under construction.

use serde_json::{Map, Value, json};

/// A config.json as a JSON value, edited by JSON pointer.
///
/// It starts as what `runc spec` writes, with the probe's report as the program and a writable root.
#[derive(Debug, Clone)]
pub struct Spec(pub Value);

impl Default for Spec {
    fn default() -> Self {
        Self::new()
    }
}

impl Spec {
    /// The usual configuration.
    pub fn new() -> Self {
        let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        Self(json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": ["/probe", "report"],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
                "cwd": "/",
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
                "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
                "noNewPrivileges": true
            },
            "root": {"path": "rootfs", "readonly": false},
            "hostname": "suite",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                 "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]}
            ],
            "linux": {
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            }
        }))
    }

    /// Sets a value at a JSON pointer, making the objects on the way; `-` appends to an array.
    ///
    /// # Panics
    ///
    /// If the way leads through something that is neither object nor array: a mistake in the test.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.0;
        for token in pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")) {
            if place.is_null() {
                *place = if token == "-" { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
            }
            place = match place {
                Value::Object(map) => map.entry(token).or_insert(Value::Null),
                Value::Array(list) => {
                    let index = token.parse().unwrap_or(list.len());
                    if index == list.len() {
                        list.push(Value::Null);
                    }
                    &mut list[index]
                }
                other => panic!("{pointer} leads through {other}"),
            };
        }
        *place = value.into();
        self
    }

    /// Removes what is at a JSON pointer.
    ///
    /// # Panics
    ///
    /// If the pointer has no slash or the index is not a number: a mistake in the test.
    #[must_use]
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        match self.0.pointer_mut(parent) {
            Some(Value::Object(map)) => drop(map.remove(last)),
            Some(Value::Array(list)) => drop(list.remove(last.parse().expect("an index"))),
            _ => {}
        }
        self
    }

    /// The program and its arguments.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", args.to_vec())
    }

    /// One more mount at the end.
    #[must_use]
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        let entry = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.set("/mounts/-", entry)
    }

    /// Without the mount at this destination.
    #[must_use]
    pub fn no_mount(mut self, destination: &str) -> Self {
        if let Some(Value::Array(list)) = self.0.get_mut("mounts") {
            list.retain(|entry| entry["destination"] != destination);
        }
        self
    }

    /// One more namespace, or a path for the one of that type.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Self {
        let entry = path.map_or_else(|| json!({"type": kind}), |path| json!({"type": kind, "path": path}));
        self.no_namespace(kind).set("/linux/namespaces/-", entry)
    }

    /// Without the namespace of that type.
    #[must_use]
    pub fn no_namespace(mut self, kind: &str) -> Self {
        if let Some(Value::Array(list)) = self.0.pointer_mut("/linux/namespaces") {
            list.retain(|entry| entry["type"] != kind);
        }
        self
    }

    /// A new user namespace where container ids start at `host` on the host.
    #[must_use]
    pub fn user_namespace(self, host: u32, size: u32) -> Self {
        let map = json!([{"containerID": 0, "hostID": host, "size": size}]);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// These capabilities as bounding, effective and permitted set.
    #[must_use]
    pub fn capabilities(self, names: &[&str]) -> Self {
        let sets = json!({"bounding": names, "effective": names, "permitted": names});
        self.set("/process/capabilities", sets)
    }

    /// One more hook.
    #[must_use]
    pub fn hook(self, kind: &str, entry: Value) -> Self {
        let pointer = format!("/hooks/{kind}");
        if self.0.pointer(&pointer).is_none() {
            return self.set(&pointer, json!([entry]));
        }
        self.set(&format!("{pointer}/-"), entry)
    }
}
