//! `events`: statistics and out-of-memory events as lines of JSON.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use wharf::{Container, ErrorKind, Stats, Status};

use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Opt, Verb};
use crate::failure::Failure;
use crate::output;
use crate::value::duration;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "events",
    ID,
    Count::Exactly(1),
    "print statistics and out-of-memory events of a container as lines of JSON",
    run,
)
.options(&[
    Opt::value("interval", "DURATION", "time between statistics, for example 1m30s (default: 5s)"),
    Opt::switch("stats", "print the statistics once and exit"),
]);

/// What the kernel says of a file in a cgroup that has been removed: once it is open, and before.
const GONE: [Errno; 2] = [Errno::ENODEV, Errno::ENOENT];

/// A line of the output.
#[derive(Serialize)]
struct Event<'a, T> {
    r#type: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

/// Ends when the container does.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let interval = interval(call.options.text("interval")?)?;
    let container = context.open(&call.id()?)?;
    if container.state()?.status == Status::Stopped {
        return Err(not_running(&container));
    }
    if call.options.flag("stats") {
        return print_stats(&container, container.stats()?);
    }
    // Before the watch: the container's end may take its cgroup away.
    let Some(init) = container.open_init()? else { return Err(not_running(&container)) };
    let mut oom = match container.oom_watch() {
        Ok(watch) => Some(watch),
        // There is then nothing to wait for, but the statistics are still there.
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            log::warn!("{error}; out-of-memory events are not reported");
            None
        }
        Err(_) if container.state()?.status == Status::Stopped => return Err(not_running(&container)),
        Err(error) => return Err(error.into()),
    };
    let mut due = Instant::now() + interval;
    let mut ended = false;
    loop {
        let rest = due.saturating_duration_since(Instant::now());
        // Rounded up, so that the wait does not end too early and repeat without result.
        let timeout = PollTimeout::try_from(rest + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let watch = oom.as_ref().map(|oom| PollFd::new(oom.as_fd(), PollFlags::POLLIN | PollFlags::POLLPRI));
        let mut fds: Vec<PollFd<'_>> = watch.into_iter().collect();
        if !ended {
            fds.push(PollFd::new(init.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Failure::new(format!("wait for events: {errno}"))),
            Ok(_) => {}
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ends = !ended && fds.last().is_some_and(ready);
        let oom_ready = oom.is_some() && fds.first().is_some_and(ready);
        ended |= ends;
        // A kill of init is counted once init has ended, whether a notice has arrived by then or not.
        if let Some(oom) = oom.as_mut().filter(|_| ends || oom_ready) {
            for _ in 0..oom.read()?.unwrap_or(0) {
                output::json_line(&Event::<()> { r#type: "oom", id: container.id().as_str(), data: None })?;
            }
        }
        if ended && !oom.as_ref().is_some_and(wharf::OomWatch::is_undecided) {
            return Ok(0);
        }
        if Instant::now() >= due {
            if let Some(stats) = stats(&container)? {
                print_stats(&container, stats)?;
            }
            due = (due + interval).max(Instant::now());
        }
    }
}

/// The current statistics. If there are none for the moment, go on: stopping would lose the notices that follow, and
/// the last one is that of the kill that ended the container.
fn stats(container: &Container) -> Result<Option<Stats>, Failure> {
    match container.stats() {
        Ok(stats) => Ok(Some(stats)),
        Err(error) => match error.kind() {
            ErrorKind::WrongState => Ok(None),
            // There will never be any.
            ErrorKind::Unsupported => Err(error.into()),
            // systemd takes the cgroup away with the container's last process.
            _ if is_gone(&error) && matches!(container.open_init(), Ok(None) | Err(_)) => Ok(None),
            _ => {
                log::error!("{error}");
                Ok(None)
            }
        },
    }
}

fn is_gone(error: &wharf::Error) -> bool {
    error.errno().is_some_and(|errno| GONE.contains(&Errno::from_raw(errno)))
}

fn print_stats(container: &Container, stats: Stats) -> Result<u8, Failure> {
    output::json_line(&Event { r#type: "stats", id: container.id().as_str(), data: Some(stats) })
}

fn not_running(container: &Container) -> Failure {
    Failure::new(format!("container with id {} is not running", container.id()))
}

fn interval(text: Option<&str>) -> Result<Duration, Failure> {
    let text = text.unwrap_or("5s");
    match duration::parse(text) {
        Some(interval) if !interval.is_zero() => Ok(interval),
        Some(_) => Err(Failure::new("duration interval must be greater than 0")),
        None => Err(Failure::new(format!(
            "invalid value {text:?} for --interval: not a duration such as 5s or 1m30s"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_keys_of_runc() {
        let stats = Event { r#type: "stats", id: "web", data: Some(1) };
        assert_eq!(serde_json::to_string(&stats).unwrap(), r#"{"type":"stats","id":"web","data":1}"#);
        let oom = Event::<()> { r#type: "oom", id: "web", data: None };
        assert_eq!(serde_json::to_string(&oom).unwrap(), r#"{"type":"oom","id":"web"}"#);
    }

    #[test]
    fn the_interval_is_a_positive_duration() {
        assert_eq!(interval(None).unwrap(), Duration::from_secs(5));
        assert_eq!(interval(Some("100ms")).unwrap(), Duration::from_millis(100));
        for text in ["0", "0s", "-1s", "5", "x"] {
            assert!(interval(Some(text)).is_err(), "{text}");
        }
    }
}
