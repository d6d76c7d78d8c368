//! How much memory a run is charged for, and how little it can run with.

use super::{Bench, Contestant, Outcome, Path, TRUE, Unit, cgroup, fail, fs};
use super::{Kind, Stopwatch};

/// Limits between which the smallest one is searched for, KiB.
const LEAST: u32 = 16;
const MOST: u32 = 65_536;
/// A limit counts as enough when this many runs in a row succeed.
const TRIES: usize = 3;

impl Bench {
    pub(super) fn memory(&mut self) {
        let hierarchies = self.host.hierarchies.clone();
        let title = "memory charged during run B, KiB";
        self.rounds(title, Unit::Kibibytes, TRIES, self.options.gap, &mut |contestant, image, table| {
            let bundle = contestant.bundle(image, Kind::B, 0, &TRUE)?;
            let kib = MemoryCgroup::make(&hierarchies)?.peak(contestant, &bundle)?;
            table.count(title, Unit::Kibibytes, &contestant.name, kib);
            Ok(())
        });
        let title = "smallest memory limit of a container, KiB";
        self.bar.row(title, self.contestants.len());
        for contestant in &self.contestants {
            let works = |kib: u32| {
                let dir = contestant.directory(&format!("limit-{kib}"));
                let bundle = self.image.limited(&dir, u64::from(kib) * 1024, &contestant.cgroup(0));
                let worked = bundle.and_then(|bundle| {
                    let args = ["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(0)];
                    (0..TRIES).try_for_each(|_| contestant.measure(&args).map(drop))
                });
                contestant.clean_up(&self.host, 1);
                worked.is_ok()
            };
            let found = self.bar.step().map(|()| smallest(works));
            match found {
                Ok(Some(kib)) => {
                    self.table.count(title, Unit::Kibibytes, &contestant.name, f64::from(kib));
                }
                other => {
                    let reason = other
                        .err()
                        .map_or_else(|| format!("none below {MOST} KiB"), |fault| fault.to_string());
                    let failures = &mut self.table.row(title, Unit::Kibibytes).failures;
                    failures.insert(contestant.name.clone(), reason);
                }
            }
        }
    }
}

/// The smallest multiple of 16 KiB that works, if those above it do.
fn smallest(works: impl Fn(u32) -> bool) -> Option<u32> {
    if !works(MOST) {
        return None;
    }
    let (mut low, mut high) = (LEAST / 16, MOST / 16);
    while low < high {
        let middle = u32::midpoint(low, high);
        if works(middle * 16) { high = middle } else { low = middle + 1 }
    }
    Some(high * 16)
}

/// A memory cgroup in which one measured command is started.
struct MemoryCgroup {
    dir: std::path::PathBuf,
    peak: &'static str,
}

impl MemoryCgroup {
    fn make(hierarchies: &[std::path::PathBuf]) -> Outcome<Self> {
        let name = cgroup::parent().trim_start_matches('/').replace('/', "-") + "-memory";
        let v1 = hierarchies.iter().find(|path| path.ends_with("memory"));
        let (parent, peak) = match (v1, hierarchies.first()) {
            (Some(parent), _) => (parent, "memory.max_usage_in_bytes"),
            (None, Some(parent)) => (parent, "memory.peak"),
            (None, None) => return fail("no cgroups"),
        };
        let this = Self { dir: parent.join(name), peak };
        fs::create_dir(&this.dir)?;
        if this.dir.join(peak).exists() { Ok(this) } else { fail(format!("no {peak} on this host")) }
    }

    /// The most memory that the cgroup used while a container was run from it.
    fn peak(&self, contestant: &Contestant, bundle: &Path) -> Outcome<f64> {
        let procs = self.dir.join("cgroup.procs");
        let args = ["run", "--bundle", &bundle.to_string_lossy(), &contestant.id(0)];
        let enter = format!("echo 0 >'{}'", procs.display());
        let called = contestant.prepare(&args).after(&enter).call()?;
        Stopwatch::read(&called)?;
        let text = fs::read_to_string(self.dir.join(self.peak))?;
        match text.trim().parse::<f64>() {
            Ok(bytes) => Ok(bytes / 1024.0),
            Err(_) => fail(format!("{}: {text:?}", self.dir.join(self.peak).display())),
        }
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        cgroup::remove(&self.dir);
    }
}
