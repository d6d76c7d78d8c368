//! How the generations of containerd call a shim's binary: arguments, environment, working directory, stdin, answer.

use super::client::code;
use crate::outcome::{Fault, Outcome, check, fail};
use crate::reaper;
use crate::runtime::{brief, readable};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, Extension};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use std::io::{PipeReader, Read, Write, pipe};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A generation of containerd, told apart by how it calls a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// 1.6: a bare address is the only answer it reads.
    V1_6,
    /// 1.7: sends `MAX_SHIM_VERSION`, reads a bare address or JSON up to version 2.
    V1_7,
    /// 2.0 to 2.2: as 1.7, up to version 3.
    V2_0,
    /// 2.3: `BootstrapParams` on stdin; reads `BootstrapResult`, JSON or a bare address.
    V2_3,
}

/// All of them, oldest first.
pub const ERAS: [Era; 4] = [Era::V1_6, Era::V1_7, Era::V2_0, Era::V2_3];

impl Era {
    /// The era of a version such as `2.1.9`.
    pub fn of(version: &str) -> Option<Self> {
        let mut numbers = version.split('.').map_while(|word| word.parse::<u32>().ok());
        match (numbers.next()?, numbers.next().unwrap_or(0)) {
            (1, 6) => Some(Self::V1_6),
            (1, 7..) => Some(Self::V1_7),
            (2, 0..=2) => Some(Self::V2_0),
            (2, 3..) => Some(Self::V2_3),
            _ => None,
        }
    }

    /// The highest version of the task API that it speaks.
    pub fn highest(self) -> i32 {
        if self < Self::V2_0 { 2 } else { 3 }
    }
}

/// What a shim is called with.
#[derive(Debug, Clone)]
pub struct Call {
    /// The shim's binary.
    pub program: PathBuf,
    /// Which containerd to act as.
    pub era: Era,
    /// `-namespace`.
    pub namespace: String,
    /// `-id`.
    pub id: String,
    /// Working directory: the bundle.
    pub bundle: PathBuf,
    /// `-address`.
    pub grpc: PathBuf,
    /// Where events go.
    pub ttrpc: PathBuf,
    /// Runtime options.
    pub options: Option<Any>,
    /// Where sockets should be, for those that can say so.
    pub socket_dir: Option<PathBuf>,
    /// More variables.
    pub env: Vec<(String, String)>,
    /// Whether it is in a separate network namespace, so that /proc/PID/net/unix shows only this shim.
    pub private_network: bool,
}

impl Call {
    fn command(&self, action: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["-namespace", &self.namespace, "-address"])
            .arg(&self.grpc)
            .args(["-publish-binary", "containerd", "-id", &self.id])
            .args(action)
            .current_dir(&self.bundle)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TTRPC_ADDRESS", &self.ttrpc)
            .env("GOMAXPROCS", "2")
            .process_group(0);
        if self.era >= Era::V1_7 {
            command
                .env("GRPC_ADDRESS", &self.grpc)
                .env("NAMESPACE", &self.namespace)
                .env("MAX_SHIM_VERSION", "2");
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if self.private_network {
            let mut inner = Command::new("unshare");
            inner
                .arg("--net")
                .arg(command.get_program())
                .args(command.get_args())
                .process_group(0)
                .env_clear();
            inner.current_dir(&self.bundle);
            inner.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
            return inner;
        }
        command
    }

    /// What this containerd writes to stdin.
    pub fn stdin(&self) -> Vec<u8> {
        let any = self.options.clone();
        let message: Box<dyn containerd_shim_protos::protobuf::MessageDyn> = if self.era < Era::V2_3 {
            match any {
                Some(any) => Box::new(any),
                None => return Vec::new(),
            }
        } else {
            let extension = |any| Extension { value: MessageField::some(any), ..Extension::default() };
            Box::new(BootstrapParams {
                instance_id: self.id.clone(),
                namespace: self.namespace.clone(),
                containerd_version: "2.3.3".into(),
                containerd_ttrpc_address: self.ttrpc.to_string_lossy().into_owned(),
                containerd_grpc_address: self.grpc.to_string_lossy().into_owned(),
                containerd_binary: "containerd".into(),
                extensions: any.map(extension).into_iter().collect(),
                socket_dir: self.socket_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()),
                ..BootstrapParams::default()
            })
        };
        message.write_to_bytes_dyn().unwrap_or_default()
    }

    /// `start`, as containerd runs it: one pipe for stdout and stderr, read to its end.
    pub fn start(&self) -> Outcome<Ran> {
        run(self.command(&["start"]), &self.stdin(), Duration::from_secs(30))
    }

    /// `delete`, with nothing on stdin and a separate stderr.
    pub fn delete(&self) -> Outcome<Ran> {
        self.delete_in(&self.bundle)
    }

    /// `delete` with another working directory.
    pub fn delete_in(&self, dir: &Path) -> Outcome<Ran> {
        let bundle = self.bundle.to_string_lossy();
        let mut command = self.command(&["-bundle", &bundle, "delete"]);
        command.current_dir(dir);
        run_apart(command, Duration::from_secs(30))
    }
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// What it wrote to stdout, and to stderr if they are one pipe.
    pub output: Vec<u8>,
    /// What it wrote to stderr alone.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Passes if it exited with 0.
    pub fn ok(self, what: &str) -> Outcome<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        fail(format!("`{what}` ended with {}: {}", self.code, brief(&self.text())))
    }

    /// All of its output, as text.
    pub fn text(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.output), self.stderr)
    }
}

/// Runs a program with stdout and stderr in one pipe; a process that keeps that pipe open makes containerd hang.
pub fn run(mut command: Command, stdin: &[u8], limit: Duration) -> Outcome<Ran> {
    let (reader, writer) = pipe()?;
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let begun = Instant::now();
    let mut child = reaper::spawn(&mut command)?;
    // The command holds the writing ends too.
    drop(command);
    if let Some(mut pipe) = child.stdin.take() {
        // A shim need not read all of it.
        let _unread = pipe.write_all(stdin);
    }
    let read = read_to_end(reader, begun + limit);
    if read.is_err() {
        let _ended = child.kill();
    }
    let status = child.wait()?;
    reaper::forget(&child);
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(Ran { code, output: read?, stderr: String::new(), took: begun.elapsed() })
}

fn run_apart(mut command: Command, limit: Duration) -> Outcome<Ran> {
    let (reader, writer) = pipe()?;
    let (mut errors, error_writer) = pipe()?;
    command.stdin(Stdio::null()).stdout(writer).stderr(error_writer);
    let begun = Instant::now();
    let mut child = reaper::spawn(&mut command)?;
    drop(command);
    let drain = std::thread::spawn(move || {
        let mut text = String::new();
        let _partial = errors.read_to_string(&mut text);
        text
    });
    let read = read_to_end(reader, begun + limit);
    if read.is_err() {
        let _ended = child.kill();
    }
    let status = child.wait()?;
    reaper::forget(&child);
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let output = read?;
    Ok(Ran { code, output, stderr: drain.join().unwrap_or_default(), took: begun.elapsed() })
}

fn read_to_end(mut from: PipeReader, end: Instant) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = [0; 8192];
    loop {
        if !readable(&from, end.saturating_duration_since(Instant::now()))? {
            return fail(format!(
                "HANG: stdout of the shim is open still, after {:?}",
                String::from_utf8_lossy(&bytes)
            ));
        }
        match from.read(&mut block)? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(&block[..n]),
        }
    }
}

/// How an answer was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The address alone.
    Bare,
    /// A JSON object.
    Json,
    /// A `BootstrapResult`.
    Proto,
}

/// The answer of `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Version of the task API.
    pub version: i32,
    /// For example `unix:///run/containerd/s/...`.
    pub address: String,
    /// How it was written.
    pub form: Form,
}

/// Parses an answer as a containerd of this era does.
pub fn read_answer(era: Era, output: &[u8]) -> Outcome<Answer> {
    // containerd trims white space of all forms.
    let trimmed = output.trim_ascii();
    let text = String::from_utf8_lossy(trimmed).into_owned();
    if era == Era::V2_3
        && let Ok(result) = BootstrapResult::parse_from_bytes(trimmed)
        && !result.address.is_empty()
    {
        check(trimmed == output, || {
            "the BootstrapResult begins or ends with a byte that containerd trims".into()
        })?;
        check(result.protocol == "ttrpc", || format!("protocol {:?}", result.protocol))?;
        return Ok(Answer { version: result.version, address: result.address, form: Form::Proto });
    }
    let answer = match serde_json::from_slice::<serde_json::Value>(trimmed) {
        Ok(json) if json.is_object() => {
            check(era > Era::V1_6, || {
                format!("containerd 1.6 takes the whole answer for an address: {text}")
            })?;
            check(json["protocol"] == "ttrpc", || format!("protocol in {text}"))?;
            let version =
                json["version"].as_i64().and_then(|version| i32::try_from(version).ok()).unwrap_or(0);
            Answer { version, address: json["address"].as_str().unwrap_or_default().into(), form: Form::Json }
        }
        _ => Answer { version: 2, address: text.clone(), form: Form::Bare },
    };
    check((2..=era.highest()).contains(&answer.version), || {
        format!("containerd refuses version {}", answer.version)
    })?;
    if !answer.address.starts_with("unix:///") || answer.address.contains(char::is_whitespace) {
        return Err(Fault::Failed(format!("no address of a unix socket: {:?}", brief(&text))));
    }
    Ok(answer)
}

/// The service of the task API in a version.
pub fn service(version: i32) -> &'static str {
    if version >= 3 { "containerd.task.v3.Task" } else { "containerd.task.v2.Task" }
}

/// An Any.
pub fn any(type_url: &str, value: Vec<u8>) -> Any {
    Any { type_url: type_url.into(), value, ..Any::default() }
}

/// Codes by which a daemon knows that a service does not exist.
pub const NO_SERVICE: [i32; 1] = [code::UNIMPLEMENTED];

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(version: i32) -> Vec<u8> {
        let result = BootstrapResult {
            version,
            address: "unix:///run/s".into(),
            protocol: "ttrpc".into(),
            ..BootstrapResult::default()
        };
        result.write_to_bytes().unwrap()
    }

    #[test]
    fn each_era_reads_its_own_forms() {
        let form = |era, bytes: &[u8]| read_answer(era, bytes).map(|answer| (answer.form, answer.version));
        let json = br#"{"version":3,"address":"unix:///run/s","protocol":"ttrpc"}"#;
        assert_eq!(form(Era::V1_6, b"unix:///run/s").unwrap(), (Form::Bare, 2));
        assert!(form(Era::V1_6, json).is_err());
        assert!(form(Era::V1_7, json).is_err());
        assert_eq!(form(Era::V2_0, json).unwrap(), (Form::Json, 3));
        assert_eq!(form(Era::V2_3, json).unwrap(), (Form::Json, 3));
        assert_eq!(form(Era::V2_3, &proto(3)).unwrap(), (Form::Proto, 3));
        assert!(form(Era::V2_0, &proto(3)).is_err());
    }

    #[test]
    fn anything_beside_the_answer_is_refused() {
        assert!(read_answer(Era::V1_6, b"warning: x\nunix:///run/s").is_err());
        assert!(read_answer(Era::V1_6, b"").is_err());
    }

    #[test]
    fn versions_name_their_era() {
        assert_eq!(Era::of("1.6.20"), Some(Era::V1_6));
        assert_eq!(Era::of("2.1.9"), Some(Era::V2_0));
        assert_eq!(Era::of("2.3.0"), Some(Era::V2_3));
        assert_eq!(Era::of("1.5"), None);
    }
}
