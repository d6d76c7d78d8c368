//! Compiles the floor, and the program that tells when its first instruction ran.

#[path = "../spec-tests/probe/compile.rs"]
mod compile;

fn main() {
    compile::program("floor", "floor/main.rs", &compile::targets(), &["lto=fat"]);
    // It has no C library, so the host's own target will do; musl's start files would come with the other.
    let bare =
        ["relocation-model=static", "link-arg=-nostartfiles", "link-arg=-nodefaultlibs", "link-arg=-static"];
    compile::program("first", "first/main.rs", &[compile::host().replace("-musl", "-gnu")], &bare);
}
