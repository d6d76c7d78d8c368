//! Whether the container's program is in its image and can be executed by this kernel.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

use super::image::{Image, ImageEntry, Lookup};
use crate::finding::Finding;
use crate::plan::candidates;

/// More than the kernel reads from the head of a program (`BINPRM_BUF_SIZE`), and more than the headers of an ELF file
/// need.
const HEAD: u64 = 4096;
/// How many scripts may interpret one another (fs/exec.c, `exec_binprm`).
const DEEPEST: u32 = 5;
/// Further formats are registered here.
const FORMATS: &str = "/proc/sys/fs/binfmt_misc";

pub(super) fn check(spec: &Spec, image: &Image, findings: &mut Vec<Finding>) {
    let Some(process) = spec.process() else { return };
    let Some(program) = process.args().as_deref().and_then(<[String]>::first) else { return };
    match find(process, program, image) {
        Answer::Executes(path, entry) => {
            if let Some(why) = refusal(&path, &entry, image, 0) {
                findings.push(Finding::error("/process/args/0", why));
            }
        }
        Answer::Fails(why) => findings.push(Finding::error("/process/args/0", why)),
        Answer::Unknown => {}
    }
}

enum Answer {
    Executes(PathBuf, ImageEntry),
    Fails(String),
    Unknown,
}

/// Looks where execvp(3) would. Engines choose their exit code by the messages.
fn find(process: &Process, program: &str, image: &Image) -> Answer {
    let env: Vec<&[u8]> = process.env().iter().flatten().map(String::as_bytes).collect();
    let (paths, named) = candidates(program.as_bytes(), &env);
    let mut denied = None;
    for path in &paths {
        let path = process.cwd().join(OsStr::from_bytes(path));
        match image.find(&path) {
            Lookup::Unknown => return Answer::Unknown,
            Lookup::Missing => {}
            Lookup::Here(entry) if entry.is(libc::S_IFREG) && entry.mode & 0o111 != 0 => {
                return Answer::Executes(path, entry);
            }
            Lookup::Here(_) => denied = Some(path),
        }
    }
    Answer::Fails(match denied {
        Some(path) => format!("exec {}: permission denied", path.display()),
        None if named => format!("exec {program:?}: no such file or directory in the image"),
        None => format!("exec {program:?}: executable file not found in $PATH of the image"),
    })
}

/// Why the kernel would not execute what is at a path, as far as can be found out.
pub(super) fn refuses(path: &Path, image: &Image) -> Option<String> {
    match image.find(path) {
        Lookup::Missing => Some(format!("{} does not exist", path.display())),
        Lookup::Here(entry) if !entry.is(libc::S_IFREG) || entry.mode & 0o111 == 0 => {
            Some(format!("exec {}: permission denied: it is not an executable file", path.display()))
        }
        Lookup::Here(entry) => refusal(path, &entry, image, 0),
        Lookup::Unknown => None,
    }
}

/// Why the kernel would not execute an existing file.
fn refusal(path: &Path, entry: &ImageEntry, image: &Image, depth: u32) -> Option<String> {
    let head = head(entry)?;
    let interpreter = match FileFormat::of(&head) {
        _ if is_registered(path, &head) => return None,
        FileFormat::Script(interpreter) => interpreter,
        FileFormat::Elf { machine, interpreter } if machine == OWN_MACHINE || machine == OWN_OLD_MACHINE => {
            interpreter?
        }
        FileFormat::Elf { machine, .. } => {
            return Some(format!(
                "exec {}: exec format error: it is for another machine (ELF machine {machine})",
                path.display()
            ));
        }
        FileFormat::Unknown => {
            return Some(format!(
                "exec {}: exec format error: it is neither an ELF program nor a script with #!",
                path.display()
            ));
        }
    };
    let interpreter = Path::new(OsStr::from_bytes(&interpreter)).to_owned();
    match image.find(&interpreter) {
        Lookup::Missing => Some(format!(
            "exec {}: no such file or directory: its interpreter {} does not exist",
            path.display(),
            interpreter.display()
        )),
        Lookup::Here(entry) if !entry.is(libc::S_IFREG) || entry.mode & 0o111 == 0 => Some(format!(
            "exec {}: permission denied: its interpreter {} is not executable",
            path.display(),
            interpreter.display()
        )),
        Lookup::Here(entry) if depth < DEEPEST => refusal(&interpreter, &entry, image, depth + 1),
        _ => None,
    }
}

fn head(entry: &ImageEntry) -> Option<Vec<u8>> {
    let file = File::open(format!("/proc/self/fd/{}", entry.fd.as_raw_fd())).ok()?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Whether a program is registered for such files, or may be.
fn is_registered(path: &Path, head: &[u8]) -> bool {
    let entries = std::fs::read_dir(FORMATS).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        !matches!(entry.file_name().to_str(), Some("register" | "status"))
            && std::fs::read_to_string(entry.path()).map_or(true, |text| takes(&text, path, head))
    })
}

/// Whether a registration (the text of its file, see the kernel's binfmt-misc.rst) matches a file.
fn takes(registration: &str, path: &Path, head: &[u8]) -> bool {
    let field = |name: &str| registration.lines().find_map(|line| line.strip_prefix(name));
    let bytes = |text: &str| -> Option<Vec<u8>> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
    };
    if !registration.starts_with("enabled") {
        return false;
    }
    if let Some(extension) = field("extension .") {
        return path.extension().is_some_and(|own| own == extension);
    }
    let Some(magic) = field("magic ").and_then(bytes) else { return true };
    let mask = field("mask ").and_then(bytes).unwrap_or_else(|| vec![0xff; magic.len()]);
    let offset = field("offset ").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
    let found = offset.checked_add(magic.len()).and_then(|end| head.get(offset..end));
    found.is_some_and(|found| {
        found.iter().zip(&magic).zip(&mask).all(|((found, magic), mask)| (found ^ magic) & mask == 0)
    })
}

/// `e_machine` of programs that this kernel runs (elf.h), and of its 32-bit programs.
#[cfg(target_arch = "x86_64")]
const OWN_MACHINE: u16 = 62;
#[cfg(target_arch = "x86_64")]
const OWN_OLD_MACHINE: u16 = 3;
#[cfg(target_arch = "aarch64")]
const OWN_MACHINE: u16 = 183;
#[cfg(target_arch = "aarch64")]
const OWN_OLD_MACHINE: u16 = 40;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the ELF machine number of this architecture is missing");

#[derive(Debug, PartialEq, Eq)]
enum FileFormat {
    Script(Vec<u8>),
    Elf { machine: u16, interpreter: Option<Vec<u8>> },
    Unknown,
}

impl FileFormat {
    fn of(head: &[u8]) -> Self {
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let word =
                line.trim_ascii().split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
            return Self::Script(word.to_vec());
        }
        Self::elf(head).unwrap_or(Self::Unknown)
    }

    /// The header of an ELF file, and the interpreter in it; none if it is beyond the head (elf(5)).
    fn elf(head: &[u8]) -> Option<Self> {
        const LITTLE_ENDIAN: u8 = 1;
        const WIDE: u8 = 2;
        const PT_INTERP: u64 = 3;
        let rest = head.strip_prefix(b"\x7fELF")?;
        let (&class, &data) = (rest.first()?, rest.get(1)?);
        let number = |at: usize, length: usize| {
            let bytes = head.get(at..at.checked_add(length)?)?;
            let bytes: Vec<u8> =
                if data == LITTLE_ENDIAN { bytes.iter().rev().copied().collect() } else { bytes.to_vec() };
            Some(bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
        };
        let machine = u16::try_from(number(18, 2)?).ok()?;
        // Offsets and widths of e_phoff, e_phentsize, e_phnum; p_offset, p_filesz.
        let (headers, size, count, offset, length, width) =
            if class == WIDE { (32, 54, 56, 8, 32, 8) } else { (28, 42, 44, 4, 16, 4) };
        let interpreter = || {
            let (start, size, count) = (number(headers, width)?, number(size, 2)?, number(count, 2)?);
            for index in 0..count {
                let header = usize::try_from(start.checked_add(index * size)?).ok()?;
                if number(header, 4)? == PT_INTERP {
                    let from = usize::try_from(number(header.checked_add(offset)?, width)?).ok()?;
                    let length = usize::try_from(number(header.checked_add(length)?, width)?).ok()?;
                    let text = head.get(from..from.checked_add(length)?)?;
                    return text.strip_suffix(b"\0").map(<[u8]>::to_vec);
                }
            }
            None
        };
        Some(Self::Elf { machine, interpreter: interpreter() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_told_by_their_heads() {
        let script = |text: &str| FileFormat::Script(text.as_bytes().to_vec());
        assert_eq!(FileFormat::of(b"#!/bin/sh\necho"), script("/bin/sh"));
        assert_eq!(FileFormat::of(b"#! \t/usr/bin/env  python3 -u"), script("/usr/bin/env"));
        assert_eq!(FileFormat::of(b"echo hello"), FileFormat::Unknown);
        let own = std::fs::read("/proc/self/exe").unwrap();
        let FileFormat::Elf { machine, .. } = FileFormat::of(&own[..HEAD as usize]) else {
            panic!("no ELF file")
        };
        assert_eq!(machine, OWN_MACHINE);
        for length in 0..200 {
            // No panic, however little there is.
            drop(FileFormat::of(&own[..length]));
        }
    }

    #[test]
    fn registrations_take_what_they_say() {
        let elf =
            "enabled\ninterpreter /usr/bin/qemu\nflags: F\noffset 0\nmagic 7f454c4602\nmask ffffffff00\n";
        let takes = |text: &str, path: &str, head: &[u8]| takes(text, Path::new(path), head);
        assert!(takes(elf, "/x", b"\x7fELF\x01 and more"));
        assert!(!takes(elf, "/x", b"\x7fEL") && !takes(elf, "/x", b"#!/bin/sh"));
        assert!(!takes(&elf.replace("enabled", "disabled"), "/x", b"\x7fELF\x01"));
        let later = "enabled\ninterpreter /i\nflags: \noffset 2\nmagic 6162\n";
        assert!(takes(later, "/x", b"__ab") && !takes(later, "/x", b"ab__"));
        let extension = "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n";
        assert!(takes(extension, "/app.jar", b"") && !takes(extension, "/jar", b""));
        assert!(takes("enabled\n", "/x", b""), "not understood");
    }

    fn found(make: &dyn Fn(&Path), process: serde_json::Value) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        make(dir.path());
        let mut process = process;
        process["cwd"] = json!("/bin");
        process["user"] = json!({"uid": 0, "gid": 0});
        let spec = json!({"ociVersion": "1.2.0", "mounts": [{"destination": "/vol"}], "process": process});
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let mut findings = Vec::new();
        check(&spec, &Image::open(dir.path(), &spec).unwrap(), &mut findings);
        findings.into_iter().map(|finding| finding.message).collect()
    }

    fn program<'t>(name: &'t str, text: &'t str, mode: u32) -> impl Fn(&Path) + 't {
        move |dir| {
            let path = dir.join("bin").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    #[test]
    fn programs_that_cannot_run_are_told_in_the_words_of_engines() {
        let path = json!({"args": ["tool"], "env": ["PATH=/none:/bin"]});
        let none = found(&|_| (), path.clone());
        assert!(none.len() == 1 && none[0].contains("executable file not found in $PATH"), "{none:?}");
        let named = found(&|_| (), json!({"args": ["./tool"]}));
        assert!(named.len() == 1 && named[0].contains("no such file or directory"), "{named:?}");
        let plain = found(&program("tool", "x", 0o644), path.clone());
        assert!(plain.len() == 1 && plain[0].contains("permission denied"), "{plain:?}");
        let script = found(&program("tool", "#!/bin/missing\n", 0o755), path.clone());
        assert!(script.len() == 1 && script[0].contains("/bin/missing does not exist"), "{script:?}");
        let unknown = found(&program("tool", "echo\n", 0o755), path.clone());
        assert!(unknown.len() == 1 && unknown[0].contains("exec format error"), "{unknown:?}");
        // A mount may provide it.
        assert_eq!(found(&|_| (), json!({"args": ["tool"], "env": ["PATH=/bin:/vol"]})), [""; 0]);
        assert_eq!(found(&|_| (), json!({"args": ["/vol/tool"]})), [""; 0]);
    }
}
