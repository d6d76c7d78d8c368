//! Measures what pods cost a node: memory, processes, mounts, and the time to a container's first instruction, by the
//! calls that a kubelet makes of a containerd that runs.
//!
//! Runtime handlers take turns in random order. A pod has one container that sleeps, and a network that costs nothing.

mod cri;
mod figures;
mod node;
mod pod;

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use wharf_bench::report::Surroundings;
use wharf_spec_tests::{Host, markers, program};

use cri::{Client, Nothing, Version};
use figures::{Figures, Unit};
use node::{Moment, Use, Work};
use pod::{Place, Pod, now};

const USAGE: &str = "\
pod-figures [OPTION]... NAME=HANDLER...
pod-figures --put FILE --into FILE

Measures pods of the runtime handlers of a containerd that runs, and prints markdown; ratios are to the first. The image is
that of the scenarios in spec-tests/managers; bench/pod-figures.sh starts all of it in a box. The second form puts what was
printed between the markers `pods` of a file.

  --socket PATH      the socket of the runtime service (default /run/containerd/containerd.sock)
  --rounds N         pods that live alone, of each handler (default 20)
  --pods N[,N]...    idle pods at the same time (default 1,20,100)
  --together N[,N].. pods that are made at the same time (default 1,4,16)
  --repeats N        how often each of these crowds is made (default 3; the largest once)";

/// Pods of a measurement of the rate.
const CROWD: usize = 32;

type Result<T> = std::result::Result<T, String>;

struct Options {
    entries: Vec<(String, String)>,
    socket: PathBuf,
    rounds: usize,
    pods: Vec<usize>,
    together: Vec<usize>,
    repeats: usize,
    put: Option<(PathBuf, PathBuf)>,
}

fn main() -> ExitCode {
    let options = match program::options("pod-figures", USAGE, parse()) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pod-figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> std::result::Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};
    let mut options = Options {
        entries: Vec::new(),
        socket: "/run/containerd/containerd.sock".into(),
        rounds: 20,
        pods: vec![1, 20, 100],
        together: vec![1, 4, 16],
        repeats: 3,
        put: None,
    };
    let (mut put, mut into) = (None, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("socket") => options.socket = parser.value()?.into(),
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("pods") => options.pods = numbers("--pods", &parser.value()?.string()?)?,
            Long("together") => options.together = numbers("--together", &parser.value()?.string()?)?,
            Long("repeats") => options.repeats = parser.value()?.parse::<std::num::NonZeroUsize>()?.get(),
            Long("put") => put = Some(parser.value()?.into()),
            Long("into") => into = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            Value(text) => {
                let text = text.string()?;
                let (name, handler) =
                    text.split_once('=').ok_or_else(|| format!("NAME=HANDLER, not {text}"))?;
                options.entries.push((name.to_owned(), handler.to_owned()));
            }
            other => return Err(other.unexpected()),
        }
    }
    options.put = match (put, into) {
        (Some(put), Some(into)) => Some((put, into)),
        (None, None) => None,
        _ => return Err("--put and --into go together".into()),
    };
    if options.entries.is_empty() && options.put.is_none() {
        return Err("no NAME=HANDLER".into());
    }
    Ok(Some(options))
}

fn numbers(option: &str, text: &str) -> std::result::Result<Vec<usize>, lexopt::Error> {
    let all = text.split(',').filter(|word| !word.is_empty());
    let all = all.map(str::parse::<std::num::NonZeroUsize>).map(|number| number.map(usize::from));
    all.collect::<std::result::Result<_, _>>().map_err(|error| format!("{option}: {error}").into())
}

fn run(options: &Options) -> Result<()> {
    if let Some((put, into)) = &options.put {
        let text = fs::read_to_string(put).map_err(|error| format!("{}: {error}", put.display()))?;
        return markers::write(into, "pods", &text);
    }
    let surroundings = Surroundings::look();
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let table = runtime.block_on(async {
        let client = Client::connect(&options.socket).await?;
        let version: Version = client.call("Version", &Nothing {}).await?;
        let daemon = daemon(&options.socket)?;
        let names = options.entries.iter().map(|(name, _)| name.clone()).collect();
        let mut bench = Bench {
            options,
            client,
            daemon,
            place: Place::new(dir.path())?,
            serial: 0,
            figures: Figures::new(names),
        };
        bench.alone().await?;
        bench.idle().await?;
        bench.together().await?;
        Ok::<_, String>(format!("{} {}:\n\n{}", version.name, version.version, bench.figures.markdown()))
    })?;
    println!("{}\n{table}", surroundings.sentences(Host::probe().cgroups.name()));
    Ok(())
}

/// The process at the other end of the socket.
fn daemon(socket: &std::path::Path) -> Result<u32> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
    let stream = std::os::unix::net::UnixStream::connect(socket).map_err(|error| wrong(&error))?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(|error| wrong(&error))?;
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

struct Bench<'o> {
    options: &'o Options,
    client: Client,
    daemon: u32,
    place: Place,
    serial: usize,
    figures: Figures,
}

impl Bench<'_> {
    /// The contestants in random order.
    fn turns(&self) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..self.options.entries.len()).collect();
        fastrand::shuffle(&mut turns);
        turns
    }

    fn handler(&self, contestant: usize) -> String {
        self.options.entries[contestant].1.clone()
    }

    fn name(&mut self) -> String {
        self.serial += 1;
        format!("pod{}", self.serial)
    }

    /// Pods of which each is alone.
    async fn alone(&mut self) -> Result<()> {
        for round in 0..=self.options.rounds {
            for at in self.turns() {
                let name = self.name();
                let before = Work::now(self.daemon);
                let (pod, birth) = Pod::run(&self.client, &self.place, &self.handler(at), name).await?;
                let end = pod.end(&self.client).await?;
                let work = Work::now(self.daemon).since(before);
                // The first round fills caches.
                if round > 0 {
                    let mut add = |title, unit, value| self.figures.add(title, unit, at, value);
                    add("a pod alone: `RunPodSandbox`", Unit::Time, birth.sandbox);
                    add("a pod alone: `RunPodSandbox` to the first instruction", Unit::Time, birth.first);
                    add("a pod alone: its end, to `RemovePodSandbox`", Unit::Time, end);
                    add("a pod alone: CPU of its life, all processes", Unit::Work, work.all);
                    add("a pod alone: of that not containerd's own", Unit::Work, work.all - work.daemon);
                }
            }
            eprintln!("alone: round {round} of {}", self.options.rounds);
        }
        Ok(())
    }

    /// Pods that sleep beside each other.
    async fn idle(&mut self) -> Result<()> {
        let largest = self.options.pods.iter().copied().max();
        for count in self.options.pods.clone() {
            let repeats = if Some(count) == largest && count > 20 { 1 } else { self.options.repeats };
            for round in 1..=repeats {
                for at in self.turns() {
                    self.crowd(at, count).await?;
                }
                eprintln!("{count} pods: round {round} of {repeats}");
            }
        }
        Ok(())
    }

    async fn crowd(&mut self, at: usize, count: usize) -> Result<()> {
        let many = format!("{count} pod{}", if count == 1 { "" } else { "s" });
        let before = Moment::now();
        let handler = self.handler(at);
        let names: Vec<String> = (0..count).map(|_| self.name()).collect();
        let mut pods = Vec::new();
        for name in &names {
            let (pod, birth) = Pod::run(&self.client, &self.place, &handler, name.clone()).await?;
            pods.push(pod);
            let title = format!("{many}, one after another: `RunPodSandbox` to the first instruction");
            self.figures.add(&title, Unit::Time, at, birth.first);
        }
        // Garbage collectors get their chance.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let used = Use::since(&before, &names)?;
        let each = format!("{many}, each");
        let mut add = |what, unit, value| self.figures.add(&format!("{each}: {what}"), unit, at, value);
        add("processes but the payload", Unit::Number, used.processes);
        add("PSS of all processes but the payload", Unit::Memory, used.pss);
        add("of that the shim's", Unit::Memory, used.shim);
        add("private memory of all processes but the payload", Unit::Memory, used.private);
        add("memory that the pod's cgroup is charged with, the payload's in it", Unit::Memory, used.charged);
        if count > 1 {
            add("less memory available on the node", Unit::Memory, used.available);
            add("of that slab, page tables, stacks and the like of the kernel", Unit::Memory, used.kernel);
        }
        add("mounts of the node", Unit::Number, used.mounts);
        for pod in pods {
            let end = pod.end(&self.client).await?;
            let title = format!("{many}, one after another: their end");
            self.figures.add(&title, Unit::Time, at, end);
        }
        Ok(())
    }

    /// Pods that come and go at the same time.
    async fn together(&mut self) -> Result<()> {
        for together in self.options.together.clone() {
            for round in 1..=self.options.repeats {
                for at in self.turns() {
                    self.rate(at, together).await?;
                }
                eprintln!("{together} at once: round {round} of {}", self.options.repeats);
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "there are some dozens of pods")]
    async fn rate(&mut self, at: usize, together: usize) -> Result<()> {
        let names: VecDeque<String> = (0..CROWD).map(|_| self.name()).collect();
        let handler = self.handler(at);
        let per_second = |begin: f64| CROWD as f64 * 1000.0 / (now() - begin);
        let before = Work::now(self.daemon);
        let begin = now();
        let (client, place) = (self.client.clone(), self.place.clone());
        let pods = in_turns(names, together, move |name| {
            let (client, place, handler) = (client.clone(), place.clone(), handler.clone());
            async move { Ok(Pod::run(&client, &place, &handler, name).await?.0) }
        })
        .await?;
        let made = per_second(begin);
        let work = Work::now(self.daemon).since(before);
        let begin = now();
        let client = self.client.clone();
        in_turns(pods, together, move |pod| {
            let client = client.clone();
            async move { pod.end(&client).await }
        })
        .await?;
        let ended = per_second(begin);
        let many = format!("{together} at once");
        let mut add = |what, unit, value| self.figures.add(&format!("{many}: {what}"), unit, at, value);
        add("pods made in a second", Unit::Number, made);
        add("CPU of making one", Unit::Work, work.all / CROWD as f64);
        add("of that not containerd's own", Unit::Work, (work.all - work.daemon) / CROWD as f64);
        add("pods removed in a second", Unit::Number, ended);
        Ok(())
    }
}

/// Does something with all of them, so many at the same time.
async fn in_turns<A, B, F>(
    all: VecDeque<A>,
    together: usize,
    each: impl Fn(A) -> F + Clone + Send + 'static,
) -> Result<VecDeque<B>>
where
    A: Send + 'static,
    B: Send + 'static,
    F: Future<Output = Result<B>> + Send,
{
    let queue = Arc::new(Mutex::new(all));
    let mut workers = JoinSet::new();
    for _ in 0..together {
        let (queue, each) = (Arc::clone(&queue), each.clone());
        workers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = queue.lock().map_err(|_| "a worker panicked".to_owned())?.pop_front();
                let Some(next) = next else { return Ok::<_, String>(done) };
                done.push(each(next).await?);
            }
        });
    }
    let mut results = VecDeque::new();
    while let Some(done) = workers.join_next().await {
        results.extend(done.map_err(|error| error.to_string())??);
    }
    Ok(results)
}
