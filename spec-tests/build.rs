//! Compiles the static probe that the tests, the suite's binary and the demo run inside containers.
//!
//! One call of rustc with the standard library only, so it needs nothing but the toolchain and a C linker. The
//! static musl target is used where rustup has it (half the size); else the host's own target, linked statically.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=probe");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("probe");
    let host = env::var("TARGET").expect("cargo sets TARGET");
    let musl = host.replace("-gnu", "-musl");
    let mut complaints = Vec::new();
    for target in [musl.as_str(), host.as_str()] {
        if !installed(target) {
            complaints.push(format!("{target}: not installed"));
            continue;
        }
        match compile(target, &out) {
            Ok(()) => {
                println!("cargo::rustc-env=WHARF_PROBE={}", out.display());
                return;
            }
            Err(complaint) => complaints.push(format!("{target}: {complaint}")),
        }
    }
    panic!(
        "cannot build a static probe; install one of them: `rustup target add {musl}`, or the C library's \
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

fn compile(target: &str, out: &Path) -> Result<(), String> {
    let done = rustc()
        .args(["--edition", "2024", "--crate-name", "probe", "--crate-type", "bin", "--target", target])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "target-feature=+crt-static"])
        .args(["-C", "strip=symbols", "-C", "lto=fat", "-C", "codegen-units=1", "probe/main.rs", "-o"])
        .arg(out)
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
