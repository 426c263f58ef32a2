//! The command line: parsed before anything is started, then carried out over the daemon's socket.

pub mod args;
mod screen;

mod load;
mod no_effect;
mod reach;
mod signals;
mod target;
mod targets;

mod build;
mod change;
mod config;
mod ending;
mod explain;
mod image;
mod image_text;
mod promote;
mod registry;
mod up;
mod upgrade;
mod watch;

mod ca;
mod dora;
mod history;
mod incidents;
mod logs;
mod logs_search;
mod machine;
mod map;
mod notify;
mod objectives;
mod plan;
mod probe;
mod ps;
mod query;
mod range;
mod releases;
mod report;
mod route;
mod token;
mod top;
mod trace;
mod visitors;

mod progress;
mod reference;
mod table;

pub use build::{BUILDS_DIRECTORY, BuildOrder};
pub use reference::reference;

use crate::home::Home;
use args::{Cli, Command, Completions};
use change::RESTART;
use clap::{CommandFactory, Parser};
use model::{ErrorKind, Report};
use run::engine::Lack;
use screen::{Ended, Outcome, Paint, Screen, hint_line};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use store::record::v1::Intent;

/// What the command line needs from the rest of the program.
pub struct Hooks {
    /// Is the daemon until it ends.
    pub daemon: fn(DaemonOptions) -> ExitCode,
    /// What this machine lacks beyond what a daemon says, if one runs.
    pub lacks: fn(&Home, bool) -> Vec<Lack>,
    /// Makes one image without a daemon; blocks until it is there.
    pub make: build::Make,
    /// Does what the command line says once more, as root of this user's name spaces; returns where
    /// there can be none.
    pub inside: fn(&Home),
}

impl Hooks {
    /// Files of other users than this one are made and removed only inside.
    fn go_inside(&self, home: &Home) {
        if !rustix::process::geteuid().is_root() {
            (self.inside)(home);
        }
    }
}

/// How the daemon was asked to run.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    pub home: Home,
    /// Where the console listens, on loopback; absent without a console.
    pub console: Option<SocketAddr>,
    /// Nobody sits before it; its output is the log.
    pub detached: bool,
}

/// Carries out one command line, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>, hooks: Hooks) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let screen = Screen::of_process(cli.quiet);
    match carry_out(&screen, cli, &hooks) {
        Ok(code) => code,
        Err(Ended::Failed(report)) => {
            screen.report(&report);
            ExitCode::from(report.kind.exit_code())
        }
        Err(Ended::Code(code)) => ExitCode::from(code),
        Err(Ended::Closed) => ExitCode::SUCCESS,
    }
}

fn carry_out(screen: &Screen, cli: Cli, hooks: &Hooks) -> Outcome<ExitCode> {
    let before = cli.stack;
    match cli.command {
        Command::Completions(args) => completions(screen, &args)?,
        Command::Config(args) => config::config(screen, &args, &args.stack.clone().over(&before))?,
        Command::Daemon(args) => return daemon(args, hooks),
        Command::Registry(args) => registry::registry(screen, &Home::discover()?, args)?,
        command => {
            let home = Home::discover()?;
            runtime()?.block_on(ask(screen, &home, command, &before, hooks))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that talks to the daemon.
async fn ask(
    screen: &Screen,
    home: &Home,
    command: Command,
    before: &args::StackArgs,
    hooks: &Hooks,
) -> Outcome {
    let over = |stack: &args::StackArgs| stack.clone().over(before);
    match command {
        Command::Up(args) => {
            let stack = over(&args.stack);
            up::up(screen, home, args, stack).await
        }
        Command::Deploy(args) => {
            let stack = over(&args.stack);
            change::deploy(screen, home, args, stack).await
        }
        Command::Rollback(args) => {
            let stack = over(&args.stack);
            change::rollback(screen, home, args, stack).await
        }
        Command::Promote(args) => {
            let stack = over(&args.stack);
            promote::promote(screen, home, args, stack).await
        }
        Command::Releases(args) => {
            let stack = over(&args.stack);
            releases::releases(screen, home, args, stack).await
        }
        Command::Diff(args) => {
            let stack = over(&args.stack);
            releases::diff(screen, home, args, stack).await
        }
        Command::Watch(args) => {
            let stack = over(&args.stack);
            watch::watch(screen, home, args, stack).await
        }
        Command::Upgrade(args) => upgrade::upgrade(screen, home, args).await,
        Command::Build(args) => {
            let stack = over(&args.stack);
            build::build(screen, home, args, stack, hooks).await
        }
        Command::Image(args) => image::image(screen, home, args, before, hooks).await,
        Command::Plan(args) => {
            let stack = over(&args.stack);
            plan::plan(screen, home, args, stack).await
        }
        Command::Ps(args) => {
            let stack = over(&args.stack);
            ps::ps(screen, home, args, stack).await
        }
        Command::Top(args) => top::top(screen, home, args).await,
        Command::Query(args) => query::query(screen, home, args).await,
        Command::Trace(args) => trace::trace(screen, home, args).await,
        Command::Token(args) => token::token(screen, home, args).await,
        Command::Range(args) => range::range(screen, home, args).await,
        Command::Incidents(args) => incidents::incidents(screen, home, args).await,
        Command::Report(args) => report::report(screen, home, args).await,
        Command::Objectives(args) => objectives::objectives(screen, home, args).await,
        Command::Dora(args) => dora::dora(screen, home, args).await,
        Command::Incident(args) => incidents::incident(screen, home, args).await,
        Command::Notify(args) => notify::notify(screen, home, args).await,
        Command::Probe(args) => probe::probe(screen, args).await,
        Command::Map(args) => map::map(screen, home, args).await,
        Command::Visitors(args) => visitors::visitors(screen, home, args).await,
        Command::Route(args) => route::route(screen, home, args).await,
        Command::Logs(args) => {
            let stack = args::StackArgs::from(args.stack.clone()).over(before);
            logs::logs(screen, home, args, stack).await
        }
        Command::Exec(args) => {
            let stack = over(&args.stack);
            machine::exec(screen, home, args, stack).await
        }
        Command::Stop(args) => motion(screen, home, Intent::Stop, args, before).await,
        Command::Start(args) => motion(screen, home, Intent::Start, args, before).await,
        Command::Restart(args) => motion(screen, home, RESTART, args, before).await,
        Command::Down(args) => {
            let stack = over(&args.stack);
            change::down(screen, home, args, stack).await
        }
        Command::History(args) => {
            let stack = over(&args.stack);
            history::history(screen, home, args, stack).await
        }
        Command::Why(args) => {
            let stack = over(&args.stack);
            history::why(screen, home, args, stack).await
        }
        Command::Doctor(args) => machine::doctor(screen, home, args, hooks).await,
        Command::Verify(args) => machine::verify(screen, home, args).await,
        Command::Ca(args) => ca::ca(screen, home, &args),
        Command::Console(args) => machine::console(screen, home, args).await,
        Command::Config(_) | Command::Daemon(_) | Command::Completions(_) | Command::Registry(_) => Ok(()),
    }
}

async fn motion(
    screen: &Screen,
    home: &Home,
    intent: Intent,
    args: args::Motion,
    before: &args::StackArgs,
) -> Outcome {
    let stack = args.stack.clone().over(before);
    change::motion(screen, home, intent, args, stack).await
}

fn daemon(args: args::Daemon, hooks: &Hooks) -> Outcome<ExitCode> {
    if args.detached {
        // Fails only for the leader of a process group, which then has a session of its own already.
        let _ = rustix::process::setsid();
    }
    let console = (!args.no_console).then_some(args.console);
    let home = Home::discover()?;
    Ok((hooks.daemon)(DaemonOptions { home, console, detached: args.detached }))
}

fn completions(screen: &Screen, args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "juchu", &mut script);
    screen.print(&String::from_utf8_lossy(&script))
}

fn runtime() -> Result<tokio::runtime::Runtime, Report> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Report::environment(format!("the command cannot be started: {error}")))
}

/// Help and version go to standard output; a mistake is one sentence and its hints.
fn not_parsed(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as Kind;
    let screen = Screen::of_process(false);
    match error.kind() {
        Kind::DisplayHelp | Kind::DisplayVersion => {
            // Nobody reads it: nothing is lost.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Kind::DisplayHelpOnMissingArgumentOrSubcommand => {
            screen.say(&error.render().to_string());
            ExitCode::from(ErrorKind::Usage.exit_code())
        }
        _ => {
            screen.say(&mistake(&error.render().to_string(), screen.err));
            ExitCode::from(ErrorKind::Usage.exit_code())
        }
    }
}

/// The parser's message in the form of every other error.
fn mistake(rendered: &str, paint: Paint) -> String {
    let mut sentence = String::new();
    let mut hints = Vec::new();
    for line in rendered.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            hints.push(format!("usage: `{usage}`"));
        } else if !line.starts_with("For more information") {
            let part = line.strip_prefix("error: ").unwrap_or(line);
            sentence.push_str(if sentence.is_empty() { "" } else { " " });
            sentence.push_str(part);
        }
    }
    hints.push("`juchu --help` and `juchu COMMAND --help` explain".to_owned());
    let mut text = screen::report_text(&Report::usage(sentence), paint);
    hints.iter().for_each(|hint| text.push_str(&hint_line(paint, hint)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    fn check(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).expect_err("a mistake");
        mistake(&error.render().to_string(), Paint(false))
    }

    #[test]
    fn a_mistake_is_a_sentence_and_hints() {
        insta::assert_snapshot!(check("juchu lgos"), @"
        error: unrecognized subcommand 'lgos'
        hint: a similar subcommand exists: 'logs'
        hint: usage: `juchu [OPTIONS] <COMMAND>`
        hint: `juchu --help` and `juchu COMMAND --help` explain
        ");
        insta::assert_snapshot!(check("juchu logs --folow"), @"
        error: unexpected argument '--folow' found
        hint: a similar argument exists: '--follow'
        hint: usage: `juchu logs --follow [SERVICE|QUERY]...`
        hint: `juchu --help` and `juchu COMMAND --help` explain
        ");
        insta::assert_snapshot!(check("juchu exec web"), @"
        error: the following required arguments were not provided: <COMMAND>...
        hint: usage: `juchu exec <SERVICE> <COMMAND>...`
        hint: `juchu --help` and `juchu COMMAND --help` explain
        ");
        insta::assert_snapshot!(check("juchu up -d --on-interrupt keep"), @"
        error: the argument '--detach' cannot be used with '--on-interrupt <WHAT>'
        hint: usage: `juchu up --detach [DIR|SERVICE]...`
        hint: `juchu --help` and `juchu COMMAND --help` explain
        ");
    }

    #[test]
    fn arguments_before_and_after_the_command_are_one() {
        let cli = Cli::try_parse_from([
            "juchu", "-f", "a.yaml", "-p", "x", "logs", "-f", "--file", "b.yaml", "web",
        ]);
        let cli = cli.expect("valid");
        let Command::Logs(logs) = cli.command else { panic!("another command") };
        assert!(logs.follow);
        assert_eq!(logs.services, ["web"]);
        let stack = args::StackArgs::from(logs.stack).over(&cli.stack);
        assert_eq!(stack.files, [std::path::PathBuf::from("b.yaml")]);
        assert_eq!(stack.rest.project_name.as_deref(), Some("x"));
    }

    #[test]
    fn a_command_to_run_inside_keeps_its_own_dashes() {
        let cli = Cli::try_parse_from(["juchu", "exec", "-T", "web", "ls", "-la", "--color"]).expect("valid");
        let Command::Exec(exec) = cli.command else { panic!("another command") };
        assert_eq!((exec.no_tty, exec.command), (true, ["ls", "-la", "--color"].map(str::to_owned).to_vec()));
    }
}
