//! One binary, several roles. The roles that work inside or beside containers come first: they
//! must run before any thread exists.

mod daemon;
mod images;
mod machine;
mod measure;
mod router;
mod rows;
mod spans;
mod unprivileged;
mod vigil;
mod visits;
mod wire;

use gateway::GatewayOptions;
use juchu::{cli, home};
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let mut role = arguments.next();
    if role.as_ref().is_some_and(|role| role == unprivileged::ROLE) {
        unprivileged::enter_if_possible();
        role = arguments.next();
    }
    match role.as_ref().and_then(|r| r.to_str()) {
        Some("shim") => host::shim::main(arguments),
        Some("enter") => match enter(unprivileged::Groups::Unused) {
            Ok(()) => host::enter::main(arguments),
            Err(report) => failed(&report),
        },
        Some("keeper") => host::rootless::keeper_main(arguments),
        Some("oci") => host::oci::main(arguments),
        Some("gateway") => gateway_main(arguments),
        Some("build-worker") => images::worker::main(),
        _ => cli::run(program.into_iter().chain(role).chain(arguments), hooks()),
    }
}

fn enter(groups: unprivileged::Groups) -> Result<(), model::Report> {
    unprivileged::enter(&home::Home::discover()?, groups)
}

fn failed(report: &model::Report) -> ExitCode {
    eprintln!("{report}");
    ExitCode::from(report.kind.exit_code())
}

fn hooks() -> cli::Hooks {
    cli::Hooks {
        daemon: daemon::main,
        lacks: wire::lacks,
        make: images::alone::make,
        inside: unprivileged::again,
    }
}

fn gateway_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut take_over = false;
    let mut inside = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some(router::TAKE_OVER) => take_over = true,
            Some(router::INSIDE) => inside = arguments.next().map(std::path::PathBuf::from),
            _ => {
                eprintln!("error: `{}` is nothing the gateway understands", argument.to_string_lossy());
                eprintln!("hint: it is started by the daemon, alone or with {}", router::TAKE_OVER);
                return ExitCode::from(model::ErrorKind::Usage.exit_code());
            }
        }
    }
    let home = match home::Home::discover() {
        Ok(home) => home,
        Err(report) => return failed(&report),
    };
    let mut options = GatewayOptions::new(router::socket(&home), home.join("routes.json"));
    options.access_log = Some(home.join("access.log"));
    options.certificates = router::certificates(&home);
    options.take_over = take_over;
    options.inside = inside;
    gateway::main(options)
}
