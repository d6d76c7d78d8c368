//! Payloads that behave in some way rather than report.

use crate::json::object;
use crate::sys;
use std::ffi::c_int;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Says "ready", then names each signal that arrives; TERM and INT end it with 0. Reaps orphans as pid 1 must.
pub fn wait() -> c_int {
    const CHLD: i32 = 17;
    const INT: i32 = 2;
    const TERM: i32 = 15;
    let set = sys::block_all();
    say("ready");
    loop {
        match sys::next_signal(&set) {
            CHLD => sys::reap(),
            signal => {
                say(&format!("signal {signal}"));
                if signal == INT || signal == TERM {
                    return 0;
                }
            }
        }
    }
}

/// Says "ready" and sleeps with the default signal dispositions.
pub fn idle() -> c_int {
    say("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Kills itself; a pid 1 survives everything that it has no handler for, and says so with exit code 70.
pub fn die(signal: i32) -> c_int {
    let _sent = sys::send(i32::try_from(std::process::id()).unwrap_or(0), signal);
    std::thread::sleep(Duration::from_millis(200));
    70
}

/// Touches this much memory and exits 0.
pub fn allocate(mib: usize) -> c_int {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    for i in 0..mib {
        let byte = u8::try_from(i % 255 + 1).unwrap_or(1);
        blocks.push(vec![byte; 1 << 20]);
    }
    println!("{}", blocks.iter().map(|block| usize::from(block[4096])).sum::<usize>());
    0
}

/// Starts up to `count` children that stay alive, and tells how many there were and the errno of the refusal.
pub fn fork_many(count: usize) -> String {
    let mut children = Vec::new();
    let mut errno = 0;
    for _ in 0..count {
        match Command::new("/proc/self/exe").arg("idle").stdout(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                errno = error.raw_os_error().unwrap_or(-1);
                break;
            }
        }
    }
    let started = children.len();
    for child in &mut children {
        let _gone = child.kill().and_then(|()| child.wait());
    }
    object([("started".into(), started.to_string()), ("errno".into(), errno.to_string())])
}

/// Burns CPU for this long.
pub fn spin(ms: u64) -> c_int {
    let end = Instant::now() + Duration::from_millis(ms);
    let mut x = 1u64;
    while Instant::now() < end {
        x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
    0
}

/// Copies stdin to stdout.
pub fn cat() -> c_int {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut block = [0; 4096];
    loop {
        match input.read(&mut block) {
            Ok(0) => return 0,
            Ok(n) => {
                if output.write_all(&block[..n]).and_then(|()| output.flush()).is_err() {
                    return 1;
                }
            }
            Err(_) => return 1,
        }
    }
}

/// Leaves `count` dead children unreaped, then waits.
pub fn zombies(count: usize) -> c_int {
    let children: Vec<_> = (0..count).filter_map(|_| Command::new("/proc/self/exe").arg("true").spawn().ok()).collect();
    std::mem::forget(children);
    idle()
}

/// Starts a child in a session of its own, which stays, and exits.
pub fn leave() -> c_int {
    let child = Command::new("/proc/self/exe").arg("idle").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _own = sys::new_session();
    i32::from(child.is_err())
}

/// Makes keys until its user may have no more, says "ready" and keeps them until its standard input ends.
pub fn hoard_keys() -> c_int {
    const EDQUOT: i32 = 122;
    let refused = (0..1 << 20).find_map(|number| sys::add_key(&format!("hoard{number}")).err());
    if refused != Some(EDQUOT) {
        return 1;
    }
    say("ready");
    cat()
}

/// One line to stdout, another to stderr.
pub fn say_both(out: &str, err: &str) -> c_int {
    say(out);
    eprintln!("{err}");
    0
}

/// One line to stdout, before something else.
pub fn say_line(text: &str) {
    say(text);
}

/// Writes this much to stdout: bytes 0 to 250 over and over, so that a lost or doubled block shows.
pub fn pour(mib: usize) -> c_int {
    let pattern: Vec<u8> = (0..mib << 20).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect();
    let mut out = std::io::stdout().lock();
    i32::from(out.write_all(&pattern).and_then(|()| out.flush()).is_err())
}

/// Starts children that stay, says "ready" and waits for signals.
pub fn brood(count: usize) -> c_int {
    let children: Vec<_> = (0..count)
        .filter_map(|_| Command::new("/proc/self/exe").arg("idle").stdout(Stdio::null()).spawn().ok())
        .collect();
    std::mem::forget(children);
    wait()
}

/// Waits until a file is there.
pub fn until_there(path: &str) {
    while !std::path::Path::new(path).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Touches this much memory and keeps it.
pub fn hold(mib: usize) -> c_int {
    let memory = std::hint::black_box(vec![1_u8; mib << 20]);
    let code = idle();
    drop(memory);
    code
}

/// Starts a child for each of these sizes, which holds so much memory, and waits for signals.
pub fn family(sizes: &[&str]) -> c_int {
    let children: Vec<_> = sizes
        .iter()
        .filter_map(|mib| Command::new("/proc/self/exe").args(["hold", mib]).stdout(Stdio::null()).spawn().ok())
        .collect();
    std::mem::forget(children);
    wait()
}

/// Appends 1, 2, 3, ... to a file that it keeps open, with a thread and a child beside it, until there is a file of that
/// name with `.stop` behind it; then it exits with 7.
pub fn count(path: &str) -> c_int {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let child = Command::new("/proc/self/exe").arg("idle").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let (Ok(mut file), Ok(mut child)) = (file, child) else { return 1 };
    let (sender, receiver) = std::sync::mpsc::channel::<u64>();
    let writer = std::thread::spawn(move || receiver.iter().try_for_each(|number| writeln!(file, "{number}")).is_ok());
    let stop = format!("{path}.stop");
    for number in 1.. {
        if std::path::Path::new(&stop).exists() || sender.send(number).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // A child that was lost on the way has no place in the exit code of one that was not.
    let lost = !matches!(child.try_wait(), Ok(None));
    let _gone = child.kill().and_then(|()| child.wait());
    drop(sender);
    if writer.join().unwrap_or(false) && !lost { 7 } else { 1 }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _told = writeln!(out, "{line}").and_then(|()| out.flush());
}
