//! What can be typed. The text here is the help, and `docs/reference/cli.md` is made from it.

mod config;
mod images;
mod measurements;
mod ranges;
mod registry;
mod releases;
mod traces;
mod traffic;

pub use config::{Config, ConfigFormat, Listed, Skipped};
pub use images::{
    Build, Image, ImageCommand, ImageDiff, ImageExport, ImageGc, ImageInspect, ImageKeygen, ImageLs,
    ImagePull, ImagePush, ImageSbom, ImageSign, ImageVerify, PushCompression, SbomFormat,
};
pub use measurements::{Map, Probe, Query, Token, TokenCommand, TokenCreate, TokenRm, Visitors};
pub use ranges::{
    Dora, Incident, IncidentAck, IncidentCommand, IncidentSilence, Incidents, LevelArg, Notify, NotifyAdd,
    NotifyCommand, NotifyName, Objectives, Range, RangeAccept, RangeCommand, RangeLs, RangeSet, RangeShow,
    ReceiverKind, Report,
};
pub use registry::{
    AnonymousArg, Registry, RegistryCommand, RegistryLs, RegistryRm, RegistryServe, RegistryUserAdd,
    RegistryUserCommand,
};
pub use releases::{Diff, Promote, Release, Releases, Rollback};
pub use traces::Trace;
pub use traffic::{Route, RouteCommand, RouteTest, Top};

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::ReleaseId;
use std::net::SocketAddr;
use std::path::PathBuf;

/// From a Compose file to a running, watched, reachable system on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "juchu",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "In a folder with a compose.yaml: `juchu up`. Exit codes: 0 done, 1 wrong input, 2 build, \
                  3 check, 4 not healthy, 5 rolled back, 6 undecided, 7 conflict, 8 this machine, 70 a fault of juchu."
)]
pub struct Cli {
    /// Print results and errors only.
    #[arg(short, long, global = true)]
    pub quiet: bool,
    #[command(flatten)]
    pub stack: StackArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Which stack, from which files.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Stack")]
pub struct StackArgs {
    /// A Compose file; repeat it to lay one over the other.
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub rest: StackRest,
}

/// The same for commands where `-f` means something else.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Stack")]
pub struct StackArgsLong {
    /// A Compose file; repeat it to lay one over the other.
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub rest: StackRest,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Stack")]
pub struct StackRest {
    /// Name of the stack, instead of the one in the file or the name of its directory.
    #[arg(short, long = "project-name", value_name = "NAME")]
    pub project_name: Option<String>,
    /// Directory that relative paths start from.
    #[arg(long, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,
    /// Switch on a profile; repeatable, `*` is all of them.
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Read variables from this file instead of `.env`; repeatable.
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what changed, start everything in order, say where it is reached.
    ///
    /// Stays in the foreground with the logs; `-d` returns when everything is ready. A second `up`
    /// without a change does nothing.
    Up(Up),
    /// Build anew and roll out; say whether the new release was kept.
    Deploy(Deploy),
    /// Go back to a release that was kept: at once while it is warm, and never with a build.
    ///
    /// Without `--to`, to the last release in which something of the services differs.
    Rollback(Rollback),
    /// Bring the images of this stack's release into another stack, with that stack's own values.
    ///
    /// The images come from the stack that `-p` or the Compose file here names. The other stack is
    /// declared by the same file under its name, or by its own with `-f` and `--env-file`.
    Promote(Promote),
    /// Follow the files: sync, restart or rebuild as `develop.watch` declares when one is saved.
    ///
    /// Starts the stack first, then stays in the foreground; Ctrl-C ends the watch and leaves the
    /// services running. `juchu up --watch` does the same together with the logs.
    Watch(Watch),
    /// Build the images of a stack, or of a directory without a Compose file; nothing is deployed.
    Build(Build),
    /// The images on this machine: what they hold, how they differ, which may go.
    Image(Image),
    /// The images of this machine for others: a registry that clients pull from and push to.
    Registry(Registry),
    /// What `up` would change, as a diff, doing nothing.
    Plan(Plan),
    /// The releases of a stack: how each came about, was judged, and whether it can be gone back to.
    Releases(Releases),
    /// What differs between two releases: images, configuration, environment, the rest of the file.
    Diff(Diff),
    /// The services with their state, ports and images.
    Ps(Ps),
    /// Requests, errors and times of each route and instance, as they pass through the gateway.
    ///
    /// Shown anew each second; `q` or Ctrl-C ends it.
    Top(Top),
    /// Ask the measurements of this machine and its services, in PromQL.
    ///
    /// Without times, what holds now; with `--range`, how it went.
    Query(Query),
    /// What became of a request on its way through the services: the newest traces, or one as a waterfall.
    ///
    /// Services send their spans by OTLP. Without an identifier, traces with a span that took long
    /// (`--min 200ms`), failed (`--errors`) or is of a service are listed, the newest first.
    Trace(Trace),
    /// How long an address takes: name, connection, TLS, first byte, download; and whether a page may
    /// take so long.
    ///
    /// Server and network have 400 ms each. Exit code 0 within that, 3 over it, 4 without an answer or
    /// with one that is a failure.
    Probe(Probe),
    /// Who calls whom: requests, failures and times between services, as they pass through the gateway.
    Map(Map),
    /// Who visits what: visitors and pages by the day, and how long the pages take.
    ///
    /// Counted by the gateway from what is asked from outside, without cookies, bots apart. Days are in
    /// UTC.
    Visitors(Visitors),
    /// Where requests go.
    Route(Route),
    /// The output of services, merged by time.
    Logs(Logs),
    /// Run a command inside a running instance.
    Exec(Exec),
    /// Stop services; their data stays.
    Stop(Motion),
    /// Start stopped services.
    Start(Motion),
    /// Start services again.
    Restart(Motion),
    /// Remove the stack; its volumes stay unless asked.
    Down(Down),
    /// What changed, when, by whom, and how it ended.
    History(History),
    /// The story of one service: its last change before and after, and what went wrong since.
    Why(Why),
    /// The resolved Compose file, as Docker Compose prints it; lists from it; where values came from.
    Config(Config),
    /// What this machine lacks, and the command that gives it.
    Doctor(Read),
    /// Recompute the journal's chain of hashes and the views made from it.
    Verify(Read),
    /// Put this program in charge: a new daemon, a new gateway; services and traffic go on.
    Upgrade(Upgrade),
    /// The certificate of this machine's own authority, and how to trust it.
    ///
    /// Services that say `x-juchu: {tls: internal}` show certificates of it. It is made when it is
    /// first asked for.
    Ca(Read),
    /// A one-time link to the web console.
    Console(Read),
    /// Tokens by which programs of others, such as Grafana, are let in.
    Token(Token),
    /// What is normal: bounds and learned bands of all signals, and where they stand.
    Range(Range),
    /// What is outside its normal range: since when, what changed before, the likely cause.
    Incidents(Incidents),
    /// All that is known of one incident: route, behaviour, log lines, trace, code line, build, commit, who
    /// and when; and what is not known.
    Report(Report),
    /// What services promise: how much of it was kept, and whether errors come too fast.
    Objectives(Objectives),
    /// The four measures of delivery: how often is deployed, how long it takes, what fails, how soon it
    /// is mended.
    Dora(Dora),
    /// Say that somebody knows of an incident, or that nobody is to be told.
    Incident(Incident),
    /// Who is told about incidents: webhooks, Slack-like hooks, Alertmanager.
    Notify(Notify),
    /// The control plane itself, in the foreground; `up` starts it when needed.
    Daemon(Daemon),
    /// A completion script for a shell.
    Completions(Completions),
}

#[derive(Debug, Args)]
pub struct Up {
    /// A directory (`.`, `..`, with a `/`, or where no Compose file is here), then services; all
    /// services when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// Return when everything is ready instead of showing the logs.
    #[arg(short, long, visible_alias = "wait")]
    pub detach: bool,
    /// Build every image anew, as `deploy` does.
    #[arg(long)]
    pub build: bool,
    /// Try what was rolled back again, although nothing of it has changed.
    #[arg(long)]
    pub again: bool,
    /// Follow the files as `develop.watch` declares, beside the logs.
    #[arg(short = 'w', long, conflicts_with = "detach")]
    pub watch: bool,
    /// What Ctrl-C does in the foreground; asks on a terminal and stops elsewhere unless given.
    #[arg(long, value_name = "WHAT", conflicts_with = "detach")]
    pub on_interrupt: Option<OnInterrupt>,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnInterrupt {
    /// Stop the services.
    Stop,
    /// Leave them running.
    Keep,
    /// Ask; without an answer within 10 s, stop.
    Ask,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// A directory, then services; all services with something to watch when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// Change nothing at the beginning: the services run already.
    #[arg(long)]
    pub no_up: bool,
    /// For scripts written for Docker Compose: what rebuilds leave behind goes with its release either
    /// way, which `x-juchu.releases.keep` decides.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub prune: bool,
    /// Print each thing done as one JSON document per line.
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Deploy {
    /// A directory, then services; all services when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// Build nothing that is unchanged, as `up` does: for changes of the environment or a config.
    #[arg(long)]
    pub no_build: bool,
    /// Try what was rolled back again, although nothing of it has changed.
    #[arg(long)]
    pub again: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Upgrade {
    /// Only the daemon; the gateway stays the one that runs.
    #[arg(long, conflicts_with = "gateway")]
    pub daemon: bool,
    /// Only the gateway, by the daemon that runs.
    #[arg(long)]
    pub gateway: bool,
    #[command(flatten)]
    pub output: Output,
}

/// For every command that changes something.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeArgs {
    /// The reason, kept in the journal.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub why: String,
    /// Print each step as one JSON document per line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// A directory, then services; all services when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// What `deploy` would do instead.
    #[arg(long)]
    pub deploy: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Output {
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Ps {
    /// Only these services.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Every stack on this machine.
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Services, then what to look for: `error timeout`, `level>=warn`, `status:503`, `/regex/`, `!x`,
    /// `a OR b`; all lines when nothing is asked for.
    #[arg(value_name = "SERVICE|QUERY")]
    pub services: Vec<String>,
    /// Go on with new lines as they come.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many lines; `all` is the default.
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<Tail>,
    /// Only lines since then: `10m`, `2h30m`, or a time such as `2026-11-22T12:00:00Z`.
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only lines until then, in the same forms; searches what is kept, of removed instances, too.
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Count lines instead: for each interval (`1m`), by a field (`level`, `status`), or both (`1m,level`).
    #[arg(long, value_name = "BY", conflicts_with = "follow")]
    pub count_by: Option<String>,
    /// Put the time before each line.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Leave out the name of the instance before each line.
    #[arg(long)]
    pub no_prefix: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgsLong,
}

/// A number of lines, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<usize>);

impl std::str::FromStr for Tail {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Tail(None)),
            number => number.parse().map(|n| Tail(Some(n))).map_err(|_| "a number of lines or `all`"),
        }
    }
}

#[derive(Debug, Args)]
pub struct Exec {
    /// The service to enter.
    pub service: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// No terminal: for scripts and pipes. The default when input or output is not a terminal.
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// User or user:group to run as.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory inside the instance.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// A variable for the command, `KEY=VALUE`, or `KEY` to pass on your own; repeatable.
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub environment: Vec<String>,
    /// Which instance, counted from 1; the first one that runs unless given.
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Motion {
    /// All services when none is named.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Down {
    /// Remove its named volumes too. The data in them is gone.
    #[arg(short, long)]
    pub volumes: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct History {
    /// Only changes of this service.
    pub service: Option<String>,
    /// The last so many changes.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub number: usize,
    /// Every stack, those that were taken down included.
    #[arg(short, long)]
    pub all: bool,
    /// Show what differed, before and after.
    #[arg(short, long)]
    pub diff: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Why {
    /// The service to tell about.
    pub service: String,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Read {
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Daemon {
    /// Where browsers find the console; loopback only. A taken port gives way to a free one.
    #[arg(long, value_name = "ADDRESS", env = "JUCHU_CONSOLE", hide_env_values = true, default_value_t = console::DEFAULT_ADDRESS)]
    pub console: SocketAddr,
    /// Without a web console.
    #[arg(long, conflicts_with = "console")]
    pub no_console: bool,
    /// In a session of its own, as `up` starts it.
    #[arg(long, hide = true)]
    pub detached: bool,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell that completes.
    pub shell: clap_complete::Shell,
}

impl StackArgs {
    /// What stands after the command wins over what stands before it.
    pub fn over(self, before: &StackArgs) -> StackArgs {
        let first = |a: Vec<_>, b: &Vec<_>| if a.is_empty() { b.clone() } else { a };
        let StackRest { project_name, project_directory, profiles, env_files } = self.rest;
        StackArgs {
            files: first(self.files, &before.files),
            rest: StackRest {
                project_name: project_name.or_else(|| before.rest.project_name.clone()),
                project_directory: project_directory.or_else(|| before.rest.project_directory.clone()),
                profiles: if profiles.is_empty() { before.rest.profiles.clone() } else { profiles },
                env_files: first(env_files, &before.rest.env_files),
            },
        }
    }
}

impl From<StackArgsLong> for StackArgs {
    fn from(args: StackArgsLong) -> Self {
        Self { files: args.files, rest: args.rest }
    }
}
