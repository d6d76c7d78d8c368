//! Compiles static programs for a build script: one call of rustc for each, with the standard library only, so it needs
//! nothing but the toolchain and a C linker.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the build.
pub(crate) fn host() -> String {
    env::var("TARGET").expect("cargo sets TARGET")
}

/// The targets of programs that need a C library: musl's where rustup has it (half the size), or else the host's own,
/// linked statically.
pub(crate) fn targets() -> [String; 2] {
    [host().replace("-gnu", "-musl"), host()]
}

/// Compiles `main` for the first target for which it can be done, with further code generation options; the program's
/// path is then in `WHARF_NAME` of the crate's environment.
pub(crate) fn program(name: &str, main: &str, targets: &[String], options: &[&str]) {
    let folder = Path::new(main).parent().expect("a folder of its own");
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join(name);
    let mut complaints = Vec::new();
    for target in targets {
        let done = if installed(target) {
            compile(name, main, target, &out, options)
        } else {
            Err("not installed".into())
        };
        match done {
            Ok(()) => {
                println!("cargo::rustc-env=WHARF_{}={}", name.to_uppercase(), out.display());
                return;
            }
            Err(complaint) => complaints.push(format!("{target}: {complaint}")),
        }
    }
    panic!(
        "cannot build the static {name}; install one of its targets, as by `rustup target add {}`, or the C library's \
         development files with libc.a\n{}",
        targets[0],
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

fn compile(name: &str, main: &str, target: &str, out: &Path, options: &[&str]) -> Result<(), String> {
    let done = rustc()
        .args(["--edition", "2024", "--crate-name", name, "--crate-type", "bin", "--target", target])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "target-feature=+crt-static"])
        .args(["-C", "strip=symbols", "-C", "codegen-units=1"])
        .args(options.iter().flat_map(|option| ["-C", option]))
        .arg(main)
        .arg("-o")
        .arg(out)
        .output()
        .map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}
