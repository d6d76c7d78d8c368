//! Processes of a container, or of another that shares a volume, that swap directories while mounts are made.

use crate::bed::{Container, script_spec};
use crate::observe::has_flag;
use crate::outcome::{Outcome, check, fail, skip};
use crate::{Bed, Spec, Test, test};
use rustix::fs::CWD;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const TESTS: &[Test] = &[
    test(
        "S5",
        "mounts of every kind keep their options, and others get none, while directories are exchanged, a thousand times",
        |bed| options_race(bed, Spec::new(), false, 0),
    ),
    test("S5", "so do mounts of a container in a user namespace, a thousand times", |bed| {
        options_race(bed, Spec::new().user_namespace(200_000, 65536), false, 200_000)
    }),
    test("S5 C11", "so do those that mounts add makes, a thousand times", |bed| {
        options_race(bed, Spec::new(), true, 0)
    }),
    test("S15", "tmpcopyup reads no device that is exchanged with a file, a thousand times", |bed| {
        copy_up_race(bed, false)
    }),
    test("S15 C11", "nor does tmpcopyup of mounts add, a thousand times", |bed| copy_up_race(bed, true)),
];

/// Mounts per container of a race, and how many must have been made in total, unless `Bed::rounds` says otherwise.
const RACING: usize = 100;
const TRIES: usize = 1000;
/// What each mount under attack must have, and no other may get.
const FLAGS: [&str; 4] = ["ro", "nosuid", "nodev", "noexec"];
const SOURCE: &str = "attacked";

/// Every mount of every container is one attempt: its destination leads through a directory that another process keeps
/// swapping with a link to directories with other mounts.
fn options_race(bed: &Bed<'_>, spec: Spec, added: bool, root: u32) -> Outcome {
    let race = Race::new(bed, root)?;
    // A mount of its own, as a user namespace may make no directories in the image.
    let mut spec = spec.mount("/mnt", "tmpfs", "around", &["mode=755"]);
    for number in 0..RACING {
        spec = spec.mount(&format!("/mnt/made{number}"), "tmpfs", &format!("victim{number}"), &["size=4k"]);
    }
    spec = spec.mount("/data", "bind", &race.volume.to_string_lossy(), &["rbind"]);
    let entries = race.entries(added);
    let seen = if added {
        if !bed.call(["--help"])?.ok()?.stdout.contains("mounts") {
            return skip("the runtime has no `mounts` command");
        }
        race.during(|| add_all(bed, &spec, &entries))?
    } else {
        for entry in &entries {
            spec = spec.set("/mounts/-", entry.clone());
        }
        let bundle = bed.bundle(&script_spec(spec, &[&["mounts"]]))?;
        race.during(|| {
            repeat(bed, || {
                let called = bed.run_bundle(&bundle)?;
                // It may refuse a destination, which ends that container.
                if called.status.success() {
                    Ok(Ok(crate::bed::answers(&called)?[0].worked()?.clone()))
                } else {
                    Ok(Err(called.stderr))
                }
            })
        })?
    };
    // With none behind the link, nothing would have raced.
    let (behind, refusal) = seen;
    check(behind > 0, || format!("no mount was made behind the link: {refusal}"))
}

/// Checks the mounts of one container after another until there have been enough attempts, or too many have failed.
/// Returns the number of mounts that were made behind the link, and why the last one was refused.
fn repeat(
    bed: &Bed<'_>,
    mut mounts: impl FnMut() -> Outcome<Result<Value, String>>,
) -> Outcome<(usize, String)> {
    let (mut tries, mut failures, mut behind, mut refusal) = (0, 0, 0, String::new());
    let full = bed.rounds(TRIES);
    while tries < full && failures < TRIES / RACING * 4 {
        match mounts()? {
            Ok(mounts) => {
                tries += RACING;
                behind += judge(&mounts, tries)?;
            }
            Err(text) => {
                refusal = text;
                tries += 1;
                failures += 1;
            }
        }
    }
    Ok((behind, refusal))
}

fn judge(mounts: &Value, tries: usize) -> Outcome<usize> {
    let mut behind = 0;
    for mount in mounts.as_array().into_iter().flatten() {
        let source = mount["source"].as_str().unwrap_or_default();
        let place = mount["destination"].as_str().unwrap_or_default();
        if source.starts_with("victim") {
            if let Some(flag) = FLAGS.iter().find(|flag| has_flag(mount, flag)) {
                return fail(format!("after {tries} tries {place} has got {flag}: {mount}"));
            }
        } else if source == SOURCE {
            behind += usize::from(place.starts_with("/mnt/"));
            if let Some(flag) = FLAGS.iter().find(|flag| !has_flag(mount, flag)) {
                return fail(format!("after {tries} tries {place} is without {flag}: {mount}"));
            }
        }
    }
    Ok(behind)
}

struct Race {
    /// `a` is a directory and `b` a link to the victims, or the other way round.
    volume: PathBuf,
    /// Lower directories of an overlay, together longer than fsconfig(2) takes.
    layers: String,
    source: PathBuf,
}

impl Race {
    /// `root` is the container's root on the host, which makes directories in the volume.
    fn new(bed: &Bed<'_>, root: u32) -> Outcome<Self> {
        let volume = bed.dir().join("volume");
        fs::create_dir_all(volume.join("a"))?;
        std::os::unix::fs::chown(volume.join("a"), Some(root), Some(root))?;
        std::os::unix::fs::symlink("/mnt", volume.join("b"))?;
        let mut layers = Vec::new();
        for letter in ["x", "y"] {
            let layer = bed.dir().join(letter.repeat(140));
            fs::create_dir(&layer)?;
            layers.push(layer.to_string_lossy().into_owned());
        }
        let source = bed.dir().join("source");
        fs::create_dir(&source)?;
        Ok(Self { volume, layers: layers.join(":"), source })
    }

    /// One mount of each kind after another, made in each possible way.
    fn entries(&self, added: bool) -> Vec<Value> {
        let mut entries = Vec::new();
        for number in 0..RACING {
            let place = format!("/data/a/made{number}");
            let (kind, words): (&str, &[&str]) = match number % 8 {
                0 => ("tmpfs", &["silent"]),
                1 => ("tmpfs", &["iversion", "size=4k"]),
                2 if !added => ("overlay", &[]),
                3 => ("tmpfs", &["size=4k"]),
                4 => ("mqueue", &[]),
                5 => ("bind", &["rbind"]),
                6 => ("cgroup", &[]),
                _ => ("tmpfs", &["silent", "tmpcopyup"]),
            };
            let mut options: Vec<String> = words.iter().chain(&FLAGS).map(ToString::to_string).collect();
            if kind == "overlay" {
                options.push(format!("lowerdir={}", self.layers));
            }
            let source = if kind == "bind" { self.source.to_string_lossy() } else { SOURCE.into() };
            if number % 8 == 3 && !added {
                // Made without flags, and given them by a second entry.
                entries.push(json!({"destination": place, "type": kind, "source": source, "options": words}));
                options.insert(0, "remount".to_owned());
            }
            entries.push(json!({"destination": place, "type": kind, "source": source, "options": options}));
        }
        entries
    }

    /// Runs something while the directory and the link are being swapped.
    fn during(&self, act: impl FnOnce() -> Outcome<(usize, String)>) -> Outcome<(usize, String)> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&self.volume, &stop));
            let done = act();
            stop.store(true, Ordering::Relaxed);
            done
        })
    }
}

fn add_all(bed: &Bed<'_>, spec: &Spec, entries: &[Value]) -> Outcome<(usize, String)> {
    let file = bed.dir().join("mounts.json");
    fs::write(&file, Value::from(entries).to_string())?;
    repeat(bed, || {
        let container: Container<'_, '_> = bed.waiting(spec)?;
        let called = bed.call(["mounts", "add", container.id(), &file.to_string_lossy()])?;
        let mounts = container.tries(&[&["mounts"]])?[0].worked()?.clone();
        container.stop()?;
        container.delete()?.ok()?;
        Ok(if called.status.success() { Ok(mounts) } else { Err(called.stderr) })
    })
}

fn exchange(volume: &Path, stop: &AtomicBool) {
    let (a, b) = (volume.join("a"), volume.join("b"));
    while !stop.load(Ordering::Relaxed) {
        exchange_once(&a, &b);
    }
}

pub(super) fn exchange_once(a: &Path, b: &Path) {
    let _ = rustix::fs::renameat_with(CWD, a, CWD, b, rustix::fs::RenameFlags::EXCHANGE);
}

/// Every file of the directory is one attempt: another process keeps swapping it with the node of a device that can be
/// read without end, so that its content would fill the tmpfs.
fn copy_up_race(bed: &Bed<'_>, added: bool) -> Outcome {
    if !bed.host.root {
        return skip("only root can make nodes");
    }
    if added && !bed.call(["--help"])?.ok()?.stdout.contains("mounts") {
        return skip("the runtime has no `mounts` command");
    }
    let entry = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs",
        "options": ["tmpcopyup", "size=1m", "nosuid"]});
    let file = bed.dir().join("mounts.json");
    fs::write(&file, json!([entry]).to_string())?;
    let spec = if added { Spec::new() } else { Spec::new().set("/mounts/-", entry) };
    let words: &[&str] = if added { &["/probe", "wait"] } else { &["/probe", "true"] };
    let bundle = bed.bundle(&spec.args(words))?;
    let data = bundle.rootfs.join("data");
    for number in 0..RACING {
        bundle.file(&format!("data/a{number}"), "text")?;
        let full = rustix::fs::makedev(1, 7);
        let mode = rustix::fs::Mode::from_bits_retain(0o666);
        let node = data.join(format!("b{number}"));
        rustix::fs::mknodat(CWD, &node, rustix::fs::FileType::CharacterDevice, mode, full)?;
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for number in 0..RACING {
                    let (a, b) = (data.join(format!("a{number}")), data.join(format!("b{number}")));
                    let _ = rustix::fs::renameat_with(CWD, &a, CWD, &b, rustix::fs::RenameFlags::EXCHANGE);
                }
            }
        });
        let done = (0..bed.rounds(TRIES).div_ceil(RACING) * 4).try_for_each(|_| {
            let called = if added {
                let container = bed.create(&bundle)?;
                let called = bed.call(["mounts", "add", container.id(), &file.to_string_lossy()])?;
                container.stop()?;
                container.delete()?.ok()?;
                called
            } else {
                bed.run_bundle(&bundle)?
            };
            check(!called.stderr.contains("no space left"), || {
                format!("a device was read: {}", called.stderr)
            })
        });
        stop.store(true, Ordering::Relaxed);
        done
    })
}
