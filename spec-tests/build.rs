//! Compiles three static programs: the probe that the tests, the suite's binary and the demo run inside containers, the
//! floor that the benchmark compares with, and one that tells when its first instruction ran.
//!
//! One call of rustc each with the standard library only, so it needs nothing but the toolchain and a C linker. The
//! static musl target is used where rustup has it (half the size); else the host's own target, linked statically.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    for (name, variable) in [("probe", "WHARF_PROBE"), ("floor", "WHARF_FLOOR")] {
        println!("cargo::rerun-if-changed={name}");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(name);
        build(name, &out);
        println!("cargo::rustc-env={variable}={}", out.display());
    }
    println!("cargo::rerun-if-changed=first");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("first");
    let host = env::var("TARGET").expect("cargo sets TARGET");
    // It has no C library, so the host's own target will do; musl's start files would come with the other.
    let bare =
        ["relocation-model=static", "link-arg=-nostartfiles", "link-arg=-nodefaultlibs", "link-arg=-static"];
    if let Err(complaint) = compile("first", &host.replace("-musl", "-gnu"), &out, &bare) {
        panic!("cannot build the static first: {complaint}");
    }
    println!("cargo::rustc-env=WHARF_FIRST={}", out.display());
}

fn build(name: &str, out: &Path) {
    let host = env::var("TARGET").expect("cargo sets TARGET");
    let musl = host.replace("-gnu", "-musl");
    let mut complaints = Vec::new();
    for target in [musl.as_str(), host.as_str()] {
        if !installed(target) {
            complaints.push(format!("{target}: not installed"));
            continue;
        }
        match compile(name, target, out, &[]) {
            Ok(()) => return,
            Err(complaint) => complaints.push(format!("{target}: {complaint}")),
        }
    }
    panic!(
        "cannot build the static {name}; install one of them: `rustup target add {musl}`, or the C library's \
         development files with libc.a\n{}",
        complaints.join("\n")
    );
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"))
}

/// Does this toolchain have the standard library for the target?
fn installed(target: &str) -> bool {
    let answer = rustc().args(["--print", "target-libdir", "--target", target]).output();
    answer.is_ok_and(|answer| {
        let dir = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        answer.status.success() && Path::new(&dir).is_dir()
    })
}

fn compile(name: &str, target: &str, out: &Path, options: &[&str]) -> Result<(), String> {
    let done = rustc()
        .args(["--edition", "2024", "--crate-name", name, "--crate-type", "bin", "--target", target])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "target-feature=+crt-static"])
        .args(["-C", "strip=symbols", "-C", "lto=fat", "-C", "codegen-units=1"])
        .args(options.iter().flat_map(|option| ["-C", option]))
        .arg(format!("{name}/main.rs"))
        .arg("-o")
        .arg(out)
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
