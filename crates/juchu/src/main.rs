//! One binary, several roles. The roles that work inside or beside containers come first: they
//! must run before any thread exists.

mod daemon;
mod images;
mod machine;
mod router;
mod wire;

use gateway::GatewayOptions;
use juchu::{cli, home};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let role = arguments.next();
    match role.as_ref().and_then(|r| r.to_str()) {
        Some("shim") => host::shim::main(arguments),
        Some("enter") => host::enter::main(arguments),
        Some("oci") => host::oci::main(arguments),
        Some("gateway") => gateway_main(arguments),
        Some("build-worker") => images::worker::main(),
        _ => cli::run(program.into_iter().chain(role).chain(arguments), hooks()),
    }
}

fn hooks() -> cli::Hooks {
    cli::Hooks { daemon: daemon::main, lacks: wire::lacks, make: images::alone::make }
}

fn gateway_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut take_over = false;
    for argument in arguments {
        if argument != router::TAKE_OVER {
            eprintln!("error: `{}` is nothing the gateway understands", argument.to_string_lossy());
            eprintln!("hint: it is started by the daemon, alone or with {}", router::TAKE_OVER);
            return ExitCode::from(model::ErrorKind::Usage.exit_code());
        }
        take_over = true;
    }
    let home = match home::Home::discover() {
        Ok(home) => home,
        Err(report) => {
            eprintln!("{report}");
            return ExitCode::from(report.kind.exit_code());
        }
    };
    let mut options = GatewayOptions::new(router::socket(&home), home.join("routes.json"));
    options.access_log = Some(home.join("access.log"));
    options.certificates = router::certificates(&home);
    options.take_over = take_over;
    gateway::main(options)
}
