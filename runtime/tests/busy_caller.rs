//! A thousand containers from a process whose other threads hold the locks that a copied process would wait for.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use wharf::{CreateOptions, Delete, ExitStatus};

mod bed;
use bed::{Bed, config};

const CONTAINERS: usize = 1000;
const CREATORS: usize = 2;
const BUSY: usize = 8;

/// Longer than a very slow machine takes; a hang lasts for ever.
const PATIENCE: Duration = Duration::from_secs(480);

/// Formats every record under a lock, as loggers do.
struct Logger(Mutex<String>);

static LOGGER: Logger = Logger(Mutex::new(String::new()));

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() > 100_000 {
            buffer.clear();
        }
        writeln!(buffer, "{} {}", record.level(), record.args()).expect("text");
    }

    fn flush(&self) {}
}

static VARIABLES: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

#[allow(unsafe_code, clippy::disallowed_methods, reason = "the caller that the library must survive")]
fn be_busy(number: usize, stop: &AtomicBool) -> usize {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let boxes: Vec<Box<[u8]>> = (1..50).map(|size| vec![0; size * 100].into()).collect();
        log::info!("thread {number} holds {} boxes in round {rounds}", boxes.len());
        let name = format!("WHARF_BUSY_{number}_{}", rounds % 10);
        let mut variables = VARIABLES.lock().unwrap_or_else(PoisonError::into_inner);
        variables.get_or_insert_default().insert(name.clone(), rounds.to_string());
        drop(variables);
        // SAFETY: every reader of the environment in this process is Rust's, which takes the lock of its writer.
        unsafe { std::env::set_var(&name, rounds.to_string()) };
        assert!(std::env::var(&name).is_ok());
        // SAFETY: as above.
        unsafe { std::env::remove_var(&name) };
        rounds += 1;
    }
    rounds
}

#[test]
fn a_thousand_containers_beside_busy_threads() {
    let Some(bed) = Bed::new("busy") else { return };
    log::set_logger(&LOGGER).expect("the first logger");
    log::set_max_level(log::LevelFilter::Trace);
    let (done, finished) = mpsc::channel::<()>();
    let made = &AtomicUsize::new(0);
    let stop = &AtomicBool::new(false);
    let bed = &bed;
    thread::scope(|scope| {
        scope.spawn(move || {
            if finished.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                println!("hang: {} of {CONTAINERS} containers were made", made.load(Ordering::Relaxed));
                // The threads that hang cannot be ended otherwise.
                std::process::abort();
            }
        });
        let busy: Vec<_> = (0..BUSY).map(|number| scope.spawn(move || be_busy(number, stop))).collect();
        let start = Instant::now();
        let creators: Vec<_> = (0..CREATORS)
            .map(|creator| {
                scope.spawn(move || {
                    for number in (creator..CONTAINERS).step_by(CREATORS) {
                        one(bed, number);
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let results: Vec<_> = creators.into_iter().map(thread::ScopedJoinHandle::join).collect();
        let elapsed = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<_> = busy.into_iter().map(|thread| thread.join().expect("a busy thread")).collect();
        drop(done);
        assert!(results.iter().all(Result::is_ok), "a creator failed");
        assert!(rounds.iter().all(|rounds| *rounds > 0), "{rounds:?}");
        println!(
            "{CONTAINERS} containers in {elapsed:.1?}, beside {} rounds of {BUSY} busy threads",
            rounds.iter().sum::<usize>()
        );
    });
    assert_eq!(made.load(Ordering::Relaxed), CONTAINERS);
    assert_eq!(bed.leftovers(), [""; 0]);
    let child = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(child, Err(nix::errno::Errno::ECHILD), "no child is left");
}

fn one(bed: &Bed, number: usize) {
    let id = bed.id(number);
    let code = number % 200;
    let command = format!("exit {code}");
    let bundle = bed.bundle(&id, config(&["/bin/busybox", "sh", "-c", &command]));
    let container = bed.runtime().create(&id, &bundle, CreateOptions::new()).expect("create");
    container.start().expect("start");
    assert_eq!(container.wait().expect("wait"), ExitStatus::Exited(code as i32), "container {number}");
    container.delete(Delete::Stopped).expect("delete");
}
