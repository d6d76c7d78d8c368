//! The way from `ctr run` to the first instruction, split by what appears in the file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use rustix::time::{ClockId, clock_gettime};

/// The id of the container.
pub(crate) const ID: &str = "first";

/// Where containerd makes bundles, and where runtimes have their state under it.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/default";
const STATES: &str = "/run/containerd/runc/default";
const SNAPSHOTS: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";

/// The clock `CLOCK_MONOTONIC` in milliseconds.
pub(crate) fn now() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    #[allow(
        clippy::cast_precision_loss,
        reason = "an uptime in nanoseconds has less than 53 bits for a hundred days"
    )]
    let (seconds, nanoseconds) = (now.tv_sec as f64, now.tv_nsec as f64);
    seconds * 1e3 + nanoseconds / 1e6
}

/// The same from a `struct timespec`.
pub(crate) fn read(bytes: &[u8]) -> Result<f64, String> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(i64::from_ne_bytes);
    let (Some(seconds), Some(nanoseconds)) = (word(0), word(8)) else {
        return Err(format!("{} bytes are no time", bytes.len()));
    };
    #[allow(clippy::cast_precision_loss, reason = "as above")]
    let (seconds, nanoseconds) = (seconds as f64, nanoseconds as f64);
    Ok(seconds * 1e3 + nanoseconds / 1e6)
}

/// When each thing happened, in milliseconds; none if it was not seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way {
    begin: f64,
    snapshot: Option<f64>,
    bundle: Option<f64>,
    shim: Option<f64>,
    state: Option<f64>,
    created: Option<f64>,
    first: f64,
    end: f64,
}

/// A part of the way.
pub(crate) struct Phase {
    /// What happens in it, and which program does it.
    pub(crate) name: &'static str,
    /// How long it took.
    pub(crate) get: fn(&Way) -> Option<f64>,
}

/// In order; the last two are sums.
pub(crate) const PHASES: [Phase; 8] = [
    Phase { name: "ctr starts, containerd makes the snapshot", get: |way| Some(way.snapshot? - way.begin) },
    Phase { name: "ctr and containerd, up to the bundle", get: |way| Some(way.bundle? - way.snapshot?) },
    Phase { name: "containerd, up to the execve of the shim", get: |way| Some(way.shim? - way.bundle?) },
    Phase {
        name: "**shim starts** and is called, up to the runtime's state",
        get: |way| Some(way.state? - way.shim?),
    },
    Phase { name: "**the runtime creates**", get: |way| Some(way.created? - way.state?) },
    Phase { name: "ctr and containerd, then **start**", get: |way| Some(way.first - way.created?) },
    Phase { name: "`ctr run` to the first instruction", get: |way| Some(way.first - way.begin) },
    Phase { name: "from there to the end of `ctr run --rm`", get: |way| Some(way.end - way.first) },
];

/// The files that are watched while a container is run.
pub(crate) struct Watch {
    seen: JoinHandle<Result<Way, String>>,
    inotify: Arc<Inotify>,
    marker: PathBuf,
}

impl Watch {
    /// Starts watching.
    pub(crate) fn start(shim: &Path) -> Result<Self, String> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(|error| format!("inotify: {error}"))?;
        let inotify = Arc::new(inotify);
        let add = |path: &Path, flags| {
            inotify.add_watch(path, flags).map_err(|error| format!("watch {}: {error}", path.display()))
        };
        let made = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let marker = std::env::temp_dir().join(format!("ctr-figures-{}", std::process::id()));
        std::fs::create_dir_all(&marker).map_err(|error| format!("{}: {error}", marker.display()))?;
        let watched = Watched {
            snapshots: add(Path::new(SNAPSHOTS), made)?,
            bundles: add(Path::new(BUNDLES), made)?,
            states: add(Path::new(STATES), made)?,
            shim: add(shim, AddWatchFlags::IN_OPEN)?,
            end: add(&marker, AddWatchFlags::IN_CREATE)?,
        };

        let reader = Arc::clone(&inotify);
        let seen = std::thread::spawn(move || watched.collect(&reader));
        Ok(Self { seen, inotify, marker })
    }

    /// Ends the watch, and returns what was seen.
    pub(crate) fn end(self, begin: f64, first: f64, end: f64) -> Result<Way, String> {
        let Self { seen, inotify, marker } = self;

        let file = marker.join("end");
        std::fs::write(&file, "").map_err(|error| format!("{}: {error}", file.display()))?;
        let way = seen.join().map_err(|_| "the watching thread panicked".to_owned())?;
        drop(inotify);
        let _left = std::fs::remove_dir_all(&marker);
        way.map(|way| Way { begin, first, end, ..way })
    }
}

struct Watched {
    snapshots: WatchDescriptor,
    bundles: WatchDescriptor,
    states: WatchDescriptor,
    shim: WatchDescriptor,
    end: WatchDescriptor,
}

impl Watched {
    /// Reads events until the last one. Each has the time at which it is read, some 50 microseconds later.
    fn collect(&self, inotify: &Inotify) -> Result<Way, String> {
        let mut way = Way::default();
        let mut state = None;
        loop {
            let events = inotify.read_events().map_err(|error| format!("inotify: {error}"))?;
            let time = now();
            for event in events {
                let named = |name: &str| event.name.as_deref().is_some_and(|one| one == name);
                if event.wd == self.end {
                    return Ok(way);
                } else if event.wd == self.snapshots && way.bundle.is_none() {
                    way.snapshot = Some(time);
                } else if event.wd == self.bundles && named(ID) {
                    way.bundle = way.bundle.or(Some(time));
                } else if event.wd == self.shim && way.bundle.is_some() {
                    way.shim = way.shim.or(Some(time));
                } else if event.wd == self.states && named(ID) && state.is_none() {
                    way.state = Some(time);
                    let made = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
                    state = inotify.add_watch(&Path::new(STATES).join(ID), made).ok();
                } else if Some(event.wd) == state {
                    // The record of the container, which comes last: state.json, or crun's status.
                    let record = named("state.json") || named("status");
                    way.created = way.created.or(record.then_some(time));
                }
            }
        }
    }
}
