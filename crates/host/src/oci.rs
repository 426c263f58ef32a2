//! `juchu oci …`: the command line of OCI runtimes over the same code, so that other people's
//! engines and test suites can use and judge it. Must run before any thread exists.

mod arguments;
mod bundle;
mod commands;
mod exec;
mod hooks;
mod stored;

use arguments::{Global, Invocation};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The newest version of the runtime specification whose fields are understood.
const SPEC_VERSION: &str = "1.2.0";

pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(hook) = hooks::relayed(&arguments) {
        return hooks::relay(&hook).unwrap_or_else(|problem| fail(&Global::default(), &problem));
    }
    let (global, command) = match arguments::parse(arguments) {
        Ok(parsed) => parsed,
        Err(problem) => return fail(&Global::default(), &problem),
    };
    match run(&global, command) {
        Ok(code) => code,
        Err(problem) => fail(&global, &problem),
    }
}

fn run(global: &Global, command: Invocation) -> Result<ExitCode, String> {
    match command {
        Invocation::Help => print(HELP),
        Invocation::Version => print(&format!("juchu version {VERSION}\nspec: {SPEC_VERSION}\n")),
        Invocation::Features => print(&format!("{:#}\n", commands::features())),
        Invocation::Create(create) => commands::create(global, &create).map(|_| ExitCode::SUCCESS),
        Invocation::Run(create) => commands::run(global, &create),
        Invocation::Start { id } => commands::start(global, &id).map(|()| ExitCode::SUCCESS),
        Invocation::State { id } => print(&format!("{:#}\n", commands::state(global, &id)?)),
        Invocation::Kill { id, signal, all } => {
            commands::kill(global, &id, &signal, all).map(|()| ExitCode::SUCCESS)
        }
        Invocation::Delete { id, force } => commands::delete(global, &id, force).map(|()| ExitCode::SUCCESS),
        Invocation::List { json, quiet } => print(&commands::list(global, json, quiet)?),
        Invocation::Pause { id, frozen } => commands::pause(global, &id, frozen).map(|()| ExitCode::SUCCESS),
        Invocation::Exec(request) => exec::exec(global, &request),
    }
}

fn print(text: &str) -> Result<ExitCode, String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("write the answer: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn fail(global: &Global, problem: &str) -> ExitCode {
    say(global, "error", problem);
    ExitCode::FAILURE
}

/// Standard error for people; the log file, where asked for, for the engine above.
fn say(global: &Global, level: &str, problem: &str) {
    eprintln!("{level}: {problem}");
    if let Some(path) = &global.log {
        let at = crate::clock::format(crate::clock::since_epoch());
        let at = std::str::from_utf8(&at).expect("digits and letters");
        let line = match global.log_json {
            true => serde_json::json!({ "level": level, "msg": problem, "time": at }).to_string(),
            false => format!("time={at:?} level={level} msg={problem:?}"),
        };
        // The problem has been said already; a log that cannot be written is no second one.
        let _ = File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| writeln!(file, "{line}"));
    }
}

const HELP: &str = "\
Runs containers of OCI bundles, for engines such as podman (--runtime) and for test suites.

Usage: juchu oci [--root DIR] [--log FILE] [--log-format text|json] COMMAND

  create [-b BUNDLE] [--pid-file FILE] [--console-socket SOCKET] [--preserve-fds N] [--no-pivot] ID
  start ID                        run the program of a created container
  run [-d] [--keep] [create's options] ID
  state ID                        what is known of it, as JSON
  kill [-a] ID [SIGNAL]           SIGTERM unless said
  delete [-f] ID
  exec [-p FILE] [-d] [-t] [--cwd DIR] [-e K=V] [-u UID[:GID]] [--pid-file FILE]
       [--cgroup [CONTROLLER:]PATH] [--ignore-paused] ID COMMAND…
  pause ID · resume ID · list [-f json] [-q] · features · --version
";
