//! The floor of the benchmark: the system calls of a container's life and nothing else.
//!
//! No JSON, no checks, no errors worth reading: what a runtime for exactly these two bundles would do if it could do
//! nothing else. `--plain` does it in the conventional way; `--minimal` avoids what makes the kernel wait (attaching
//! by `cgroup.procs`) and loads a filter that decides by binary search.
#![deny(unsafe_op_in_unsafe_fn)]

mod cgroup;
mod child;
mod config;
mod sys;

use config::Config;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [way, "--root", root, rest @ ..] = words.as_slice() else {
        eprintln!("usage: floor --plain|--minimal --root DIR run|create|start|state|exec|kill|delete|list ...");
        std::process::exit(64);
    };
    let way = Way { minimal: *way == "--minimal", root: PathBuf::from(root) };
    let code = match rest {
        ["run", "--bundle", bundle, id] => way.run(Path::new(bundle), id),
        ["create", "--bundle", bundle, id] => way.create(Path::new(bundle), id),
        ["start", id] => way.start(id),
        ["state", id] => way.state(id),
        ["exec", id, argv @ ..] => way.exec(id, argv),
        ["kill", id, _] => way.kill(id),
        ["delete", "--force", id] => {
            let _ended = way.kill(id);
            way.delete(id)
        }
        ["delete", id] => way.delete(id),
        ["list"] => way.list(),
        ["--version"] => {
            println!("floor");
            Ok(0)
        }
        _ => Err(std::io::Error::from_raw_os_error(22)),
    };
    match code {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("floor: {rest:?}: {error}");
            std::process::exit(1);
        }
    }
}

/// How the work is done, and where the state is.
struct Way {
    minimal: bool,
    root: PathBuf,
}

impl Way {
    fn directory(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    fn run(&self, bundle: &Path, _id: &str) -> std::io::Result<i32> {
        let config = Config::read(bundle)?;
        cgroup::make(&config)?;
        let pid = child::born(&config, self.minimal, None)?;
        let code = sys::wait(pid)?;
        cgroup::remove(&config);
        Ok(code)
    }

    fn create(&self, bundle: &Path, id: &str) -> std::io::Result<i32> {
        let config = Config::read(bundle)?;
        let directory = self.directory(id);
        fs::create_dir(&directory)?;
        let gate = directory.join("gate");
        sys::make_fifo(&gate)?;
        cgroup::make(&config)?;
        let pid = child::born(&config, self.minimal, Some(&gate))?;
        fs::write(directory.join("state"), format!("{pid}\n{}", bundle.display()))?;
        Ok(0)
    }

    fn start(&self, id: &str) -> std::io::Result<i32> {
        let _word = fs::read(self.directory(id).join("gate"))?;
        Ok(0)
    }

    fn record(&self, id: &str) -> std::io::Result<(i32, PathBuf)> {
        let text = fs::read_to_string(self.directory(id).join("state"))?;
        let (pid, bundle) = text.split_once('\n').unwrap_or((&text, ""));
        Ok((pid.parse().unwrap_or(0), bundle.into()))
    }

    fn state(&self, id: &str) -> std::io::Result<i32> {
        let (pid, bundle) = self.record(id)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let alive = stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']));
        let (pid, status) = if alive { (pid, "running") } else { (0, "stopped") };
        println!("{{\"id\":\"{id}\",\"pid\":{pid},\"status\":\"{status}\",\"bundle\":\"{}\"}}", bundle.display());
        Ok(0)
    }

    fn exec(&self, id: &str, argv: &[&str]) -> std::io::Result<i32> {
        let (pid, bundle) = self.record(id)?;
        let config = Config::read(&bundle)?;
        sys::wait(child::joined(&config, self.minimal, pid, argv)?)
    }

    fn kill(&self, id: &str) -> std::io::Result<i32> {
        sys::kill(self.record(id)?.0)?;
        Ok(0)
    }

    fn delete(&self, id: &str) -> std::io::Result<i32> {
        let (_, bundle) = self.record(id)?;
        let directory = self.directory(id);
        cgroup::remove(&Config::read(&bundle)?);
        fs::remove_file(directory.join("gate"))?;
        fs::remove_file(directory.join("state"))?;
        fs::remove_dir(directory)?;
        Ok(0)
    }

    fn list(&self) -> std::io::Result<i32> {
        for entry in fs::read_dir(&self.root)? {
            if let Some(id) = entry?.file_name().to_str() {
                self.state(id)?;
            }
        }
        Ok(0)
    }
}
