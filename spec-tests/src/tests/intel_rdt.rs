//! Intel RDT: rows A166 to A175.
//!
//! Few machines have a processor for it. Without a mounted resctrl file system, a test can only judge that a runtime
//! refuses, and what it refuses in any case; the other rows say why they are skipped. (The library's own tests cover
//! all of them on a fake tree.)

use crate::outcome::{Outcome, check, fail, same, skip};
use crate::runtime::Called;
use crate::{Bed, Bundle, Spec, Test, test};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    test("A166", "without intelRdt no file of a resctrl file system is opened for writing or made", |bed| {
        bed.host.needs_root_because("newuidmap has no privileges under strace")?;
        let bundle = bed.bundle(&Spec::new().args(&["/probe", "true"]))?;
        let trace = bed.dir().join("trace");
        let called = traced(bed, &bundle, &trace)?;
        let text = fs::read_to_string(&trace).unwrap_or_default();
        if text.is_empty() {
            return skip("strace cannot trace here");
        }
        called.ok()?;
        check(text.contains(&bundle.id), || "the trace shows nothing of the runtime".to_owned())?;
        let touches = |line: &&str| {
            line.contains("resctrl")
                && ["O_WRONLY", "O_RDWR", "mkdir", "rmdir", "unlink", "rename"]
                    .iter()
                    .any(|word| line.contains(word))
        };
        match text.lines().find(touches) {
            None => Ok(()),
            Some(line) => fail(format!("it did: {line}")),
        }
    }),
    test("A167", "intelRdt without a mounted resctrl file system is refused", |bed| {
        if let Some(root) = root()? {
            return skip(format!("resctrl is mounted at {}", root.display()));
        }
        for rdt in [
            json!({}),
            json!({"closID": "suite"}),
            json!({"closID": "/"}),
            json!({"l3CacheSchema": "L3:0=f"}),
            json!({"memBwSchema": "MB:0=20"}),
            json!({"schemata": ["L3:0=f"]}),
            json!({"enableMonitoring": true}),
        ] {
            bed.refuses(&Spec::new().set("/linux/intelRdt", rdt), &["rdt", "resctrl"])?;
        }
        Ok(())
    }),
    test(
        "A168 A173",
        "the first process is in the tasks of a class with the container's id, which delete removes",
        |bed| {
            let root = needs_root()?;
            let container = bed.waiting(&Spec::new().set("/linux/intelRdt", json!({})))?;
            let group = root.join(container.id());
            has_task(&group, container.pid()?.as_raw_pid())?;
            container.stop()?;
            container.delete()?;
            check(!group.exists(), || format!("{} is left", group.display()))
        },
    ),
    test("A169", "closID / is the default class", |bed| {
        let root = needs_root()?;
        let container = bed.waiting(&Spec::new().set("/linux/intelRdt", json!({"closID": "/"})))?;
        has_task(&root, container.pid()?.as_raw_pid())
    }),
    test(
        "A170",
        "the cache, then the bandwidth, then the other lines are in force, the last one last",
        |bed| {
            let cache = Cache::of(&needs_root()?)?;
            let spec = Spec::new().set(
                "/linux/intelRdt",
                json!({"l3CacheSchema": cache.line(cache.all), "schemata": [cache.line(cache.least)]}),
            );
            let container = bed.waiting(&spec)?;
            cache.is(container.id(), cache.least)?;
            // Another owner's class keeps what it has if nothing is asked for.
            let untouched =
                bed.waiting(&Spec::new().set("/linux/intelRdt", json!({"closID": container.id()})))?;
            cache.is(container.id(), cache.least)?;
            untouched.stop()
        },
    ),
    test("A171", "a class that is there must have the schema that is configured", |bed| {
        let cache = Cache::of(&needs_root()?)?;
        let class = Class::make(&cache, bed)?;
        let with = |mask| {
            Spec::new()
                .set("/linux/intelRdt", json!({"closID": class.name, "l3CacheSchema": cache.line(mask)}))
        };
        bed.refuses(&with(cache.all), &["l3CacheSchema", "schemata", &class.name])?;
        cache.is(&class.name, cache.least)?;
        let container = bed.waiting(&with(cache.least))?;
        has_task(&cache.root.join(&class.name), container.pid()?.as_raw_pid())?;
        container.stop()?;
        container.delete()?;
        // The runtime did not make it.
        cache.is(&class.name, cache.least)
    }),
    test("A172", "closID alone needs a class that is there", |bed| {
        needs_root()?;
        let spec = Spec::new().set("/linux/intelRdt", json!({"closID": "suite-not-there"}));
        bed.refuses(&spec, &["suite-not-there", "closID", "clos"])
    }),
    test("A174", "a monitoring group is made, and gone after delete", |bed| {
        let root = needs_root()?;
        if !root.join("mon_groups").is_dir() {
            return skip("this processor cannot monitor");
        }
        let spec = Spec::new().set("/linux/intelRdt", json!({"closID": "/", "enableMonitoring": true}));
        let container = bed.waiting(&spec)?;
        let group = root.join("mon_groups").join(container.id());
        has_task(&group, container.pid()?.as_raw_pid())?;
        container.stop()?;
        container.delete()?;
        check(!group.exists(), || format!("{} is left", group.display()))
    }),
    test("A175", "a memBwSchema that does not start with MB: is refused", |bed| {
        refuses(bed, "memBwSchema", json!("L3:0=f"))?;
        refuses(bed, "memBwSchema", json!("0=20"))
    }),
    test("A175", "an l3CacheSchema that does not start with L3: is refused", |bed| {
        refuses(bed, "l3CacheSchema", json!("MB:0=20"))?;
        refuses(bed, "l3CacheSchema", json!("0=f"))
    }),
    test("A175", "a schema with a newline is refused", |bed| {
        refuses(bed, "memBwSchema", json!("MB:0=20\nL3:0=f"))?;
        refuses(bed, "l3CacheSchema", json!("L3:0=f\nMB:0=20"))?;
        refuses(bed, "schemata", json!(["L3:0=f\nMB:0=20"]))
    }),
];

/// The message must name the property, and must differ from the one for a good value on this machine: such a refusal
/// would say nothing about the value.
fn refuses(bed: &Bed<'_>, property: &str, value: Value) -> Outcome {
    let good = match property {
        "memBwSchema" => json!("MB:0=20"),
        "l3CacheSchema" => json!("L3:0=f"),
        _ => json!(["L3:0=f"]),
    };
    let answer = |value: Value| -> Outcome<(Called, String)> {
        let bundle = bed.bundle(&Spec::new().set(&format!("/linux/intelRdt/{property}"), value))?;
        let called = bed.call(["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id])?;
        let left = if called.status.success() { Vec::new() } else { bed.leftovers(&bundle) };
        check(left.is_empty(), || format!("create failed and left {}", left.join(", ")))?;
        // What differs between calls: the id, the directory, and the time of a log line.
        let words = called.stderr.replace(&bundle.id, "ID").replace(&*bundle.dir.to_string_lossy(), "DIR");
        let words = words.split(' ').filter(|word| !word.starts_with("time=")).collect::<Vec<_>>().join(" ");
        Ok((called, words))
    };
    let bad = Spec::new().set(&format!("/linux/intelRdt/{property}"), value.clone());
    crate::checks::finds(bed, &bed.bundle(&bad)?, &[property])?;
    let (called, words) = answer(value)?;
    called.refused(&[property])?;
    let (_, others) = answer(good)?;
    check(words != others, || format!("a good value is refused in the same words: {words}"))
}

/// Where resctrl is mounted.
fn root() -> Outcome<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        (kind.split(' ').next() == Some("resctrl")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    }))
}

fn needs_root() -> Outcome<PathBuf> {
    root()?.map_or_else(|| skip("no resctrl file system is mounted (no Intel RDT or AMD QoS here)"), Ok)
}

/// The L3 cache of this machine: its first domain, and masks for it that the processor accepts.
struct Cache {
    root: PathBuf,
    domain: String,
    all: u64,
    least: u64,
}

impl Cache {
    fn of(root: &Path) -> Outcome<Self> {
        let Some((domain, all)) = domain(&fs::read_to_string(root.join("schemata"))?) else {
            return skip("the L3 cache of this processor cannot be shared out");
        };
        let least: u32 = fs::read_to_string(root.join("info/L3/min_cbm_bits"))?.trim().parse().unwrap_or(1);
        Ok(Self { root: root.to_owned(), domain, all, least: (1 << least) - 1 })
    }

    fn line(&self, mask: u64) -> String {
        format!("L3:{}={mask:x}", self.domain)
    }

    fn is(&self, class: &str, mask: u64) -> Outcome {
        let found = domain(&fs::read_to_string(self.root.join(class).join("schemata"))?);
        same("the first domain of the cache", found, Some((self.domain.clone(), mask)))
    }
}

/// The first domain of the L3 line in a schemata file, and its mask.
fn domain(schemata: &str) -> Option<(String, u64)> {
    let line = schemata.lines().find_map(|line| line.trim().strip_prefix("L3:"))?;
    let (domain, mask) = line.split(';').next()?.split_once('=')?;
    Some((domain.trim().to_owned(), u64::from_str_radix(mask.trim(), 16).ok()?))
}

/// A class with the smallest share of the cache; dropping this removes it.
struct Class {
    name: String,
    path: PathBuf,
}

impl Class {
    fn make(cache: &Cache, bed: &Bed<'_>) -> Outcome<Self> {
        let name = bed.bundle(&Spec::new())?.id;
        let class = Self { path: cache.root.join(&name), name };
        fs::create_dir(&class.path)?;
        fs::write(class.path.join("schemata"), format!("{}\n", cache.line(cache.least)))?;
        Ok(class)
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _gone = fs::remove_dir(&self.path);
    }
}

fn has_task(group: &Path, pid: i32) -> Outcome {
    let tasks = fs::read_to_string(group.join("tasks"))?;
    let there = tasks.lines().any(|line| line == pid.to_string());
    same(&format!("{pid} is in {}", group.display()), there, true)
}

/// Runs the container, and traces every system call that names a file.
fn traced(bed: &Bed<'_>, bundle: &Bundle, trace: &Path) -> Outcome<Called> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&paths).any(|dir| dir.join("strace").is_file()) {
        return skip("needs the program strace");
    }
    let dir = bundle.dir.to_string_lossy().into_owned();
    let call = bed.command(["run", "--bundle", &dir, &bundle.id]);
    call.under(&["strace", "-f", "-qq", "-e", "trace=%file", "-o", &trace.to_string_lossy()]).call()
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn the_first_domain_is_read() {
        assert_eq!(domain("    MB:0=100\n    L3:0=7ff;1=3f\n"), Some(("0".into(), 0x7ff)));
        assert_eq!(domain("MB:0=100\n"), None);
    }
}
