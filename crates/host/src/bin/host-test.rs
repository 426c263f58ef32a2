//! The roles of this crate as a program, for its own tests and benchmarks.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|role| role.to_str()) {
        Some("shim") => host::shim::main(arguments),
        Some("enter") => host::enter::main(arguments),
        Some("oci") => host::oci::main(arguments),
        _ => {
            eprintln!("error: the first argument is shim, enter or oci");
            ExitCode::from(2)
        }
    }
}
