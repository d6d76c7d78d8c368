//! Checkpoints: finds a criu that works on this machine, and makes the calls that its tests share.

use crate::bed::{Bed, Container};
use crate::bundle::Bundle;
use crate::outcome::{Outcome, check, fail, skip};
use crate::runtime::{Called, Invocation, brief};
use crate::spec::Spec;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where runtimes find criu's helpers.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The directory of criu in the suite's own PATH, or where programs usually are; or why checkpoints cannot be tested
/// here.
fn directory() -> &'static Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = std::env::split_paths(&paths).chain(std::env::split_paths(PATH));
        let Some(dir) = dirs.find(|dir| dir.is_absolute() && dir.join("criu").is_file()) else {
            return Err("there is no criu in PATH".to_owned());
        };
        let answer =
            Command::new(dir.join("criu")).arg("check").output().map_err(|error| error.to_string())?;
        if answer.status.success() {
            return Ok(dir);
        }
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        let reason = said.lines().find(|line| line.contains("Error")).unwrap_or("no reason given");
        Err(format!("`criu check` says no: {}", brief(reason)))
    })
}

/// A PATH with a working criu; skips the test if there is none.
pub fn search_path() -> Outcome<String> {
    match directory() {
        Ok(dir) => Ok(format!("{}:{PATH}", dir.display())),
        Err(reason) => skip(reason.clone()),
    }
}

/// A container that counts into a file, and where its images go.
pub struct Counter<'b, 'a> {
    /// Where it lives.
    pub bed: &'b Bed<'a>,
    /// What it is made from.
    pub bundle: Bundle,
    /// The directory of the images.
    pub images: PathBuf,
    /// The directory of criu's logs.
    pub work: PathBuf,
}

impl<'b, 'a> Counter<'b, 'a> {
    /// Starts the container. Its streams are the null device: runtimes treat others differently.
    pub fn start(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Self> {
        Self::start_as(bed, &spec.clone().args(&["/probe", "count", "/data/count"]), |_| Ok(()))
    }

    /// The same with another program, and changes to the bundle first.
    pub fn start_as(
        bed: &'b Bed<'a>,
        spec: &Spec,
        change: impl FnOnce(&Bundle) -> std::io::Result<()>,
    ) -> Outcome<Self> {
        let this = Self::prepare(bed, spec)?;
        change(&this.bundle)?;
        let dir = this.bundle.dir.to_string_lossy().into_owned();
        let call =
            this.call(["create", "--bundle", &dir, this.id()]).after("exec </dev/null >/dev/null 2>&1");
        call.call()?.ok()?;
        bed.call(["start", this.id()])?.ok()?;
        if this.bundle.spec()?["process"]["args"][1] == "count" {
            this.goes_on()?;
        }
        Ok(this)
    }

    /// A bundle of which nothing runs yet.
    pub fn prepare(bed: &'b Bed<'a>, spec: &Spec) -> Outcome<Self> {
        if let Err(reason) = directory() {
            return skip(reason);
        }
        let bundle = bed.bundle(spec)?;
        let (images, work) = (bed.dir().join("images"), bed.dir().join("work"));
        Ok(Self { bed, bundle, images, work })
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// The container.
    pub fn container(&self) -> Container<'b, 'a> {
        Container { bed: self.bed, bundle: self.bundle.clone(), out: self.bed.dir().join("none") }
    }

    /// A call of the runtime that can find criu.
    pub fn call<'s>(&self, args: impl IntoIterator<Item = &'s str>) -> Invocation {
        let path = match directory() {
            Ok(dir) => format!("{}:{PATH}", dir.display()),
            Err(_) => PATH.to_owned(),
        };
        self.bed.command(args).env("PATH", path)
    }

    /// `checkpoint` with these options besides the directories.
    pub fn checkpoint(&self, options: &[&str]) -> Outcome<Called> {
        let (images, work) = (self.images.to_string_lossy(), self.work.to_string_lossy());
        let mut args = vec!["checkpoint", "--image-path", &images, "--work-path", &work];
        args.extend_from_slice(options);
        args.push(self.id());
        self.call(args).call()
    }

    /// `restore` of this bundle, with further options.
    pub fn restore_command(&self, options: &[&str]) -> Invocation {
        let (images, work) = (self.images.to_string_lossy(), self.work.to_string_lossy());
        let dir = self.bundle.dir.to_string_lossy();
        let mut args = vec!["restore", "--image-path", &images, "--work-path", &work, "--bundle", &dir];
        args.extend_from_slice(options);
        args.push(self.id());
        self.call(args)
    }

    /// `restore --detach`; a runtime that succeeds leaves its streams open, so they are files.
    pub fn restore(&self, options: &[&str]) -> Outcome<Called> {
        let options: Vec<&str> = ["--detach"].into_iter().chain(options.iter().copied()).collect();
        self.restore_command(&options).call()
    }

    /// The end of criu's log, for a message.
    pub fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.work.join(name)).unwrap_or_default();
        brief(&text.lines().filter(|line| line.contains("Error")).collect::<Vec<_>>().join("\n"))
    }

    /// The numbers that the container has written: fails if one is missing or repeated.
    pub fn counted(&self) -> Outcome<usize> {
        let text = fs::read_to_string(self.bundle.rootfs.join("data/count"))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (at, line) in whole.lines().enumerate() {
            let wanted = (at + 1).to_string();
            check(line == wanted, || format!("{line:?} where {wanted} comes next"))?;
        }
        Ok(whole.lines().count())
    }

    /// Waits until it has counted further.
    pub fn goes_on(&self) -> Outcome<usize> {
        let file = self.bundle.rootfs.join("data/count");
        let now = if file.exists() { self.counted()? } else { 0 };
        self.container().until("the counter to go on", || {
            let next = if file.exists() { self.counted()? } else { 0 };
            Ok((next > now + 2).then_some(next))
        })
    }

    /// Tells the counter to exit with 7.
    pub fn tell_to_stop(&self) -> std::io::Result<()> {
        fs::write(self.bundle.rootfs.join("data/count.stop"), "")
    }

    /// Fails unless the container is gone and counts no more.
    pub fn is_gone(&self) -> Outcome {
        self.bed.call(["state", self.id()])?.refused(&["does not exist"])?;
        let left = self.bed.leftovers(&self.bundle);
        check(left.is_empty(), || format!("left: {}", left.join(", ")))
    }

    /// The restored container must run and go on counting.
    pub fn runs(&self) -> Outcome {
        let container = self.container();
        if container.status()? != "running" {
            return fail(format!("status {}", container.status()?));
        }
        self.goes_on().map(drop)
    }
}

/// All names in a directory.
pub fn names(dir: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}
