//! Compiles the probe.

mod compile;

fn main() {
    compile::program("probe", "program/main.rs", &compile::targets(), &[]);
}
