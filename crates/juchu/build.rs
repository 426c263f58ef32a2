//! Asks the linker to keep one copy of functions that are the same, instruction by instruction: a
//! tenth of the program. Only where the linker that comes with Rust is used, which knows how.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let own_linker = is("TARGET", "x86_64-unknown-linux-gnu")
        && is("HOST", "x86_64-unknown-linux-gnu")
        && env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.is_empty())
        && env::var_os("RUSTC_LINKER").is_none();
    if own_linker && is("PROFILE", "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
