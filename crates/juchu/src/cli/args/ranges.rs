//! What can be typed about ranges, incidents and who is told.

use super::{Output, Read};
use clap::{Args, Subcommand, ValueEnum};
use model::DurationMs;

#[derive(Debug, Args)]
pub struct Range {
    #[command(subcommand)]
    pub command: RangeCommand,
}

#[derive(Debug, Subcommand)]
pub enum RangeCommand {
    /// All signals: where they stand, their values and what is normal; those outside first.
    Ls(RangeLs),
    /// One signal: its range, how it came about, since when it stands as it does.
    Show(RangeShow),
    /// Declare bounds of a signal beside what its file says, or take that back.
    Set(RangeSet),
    /// What a signal is now is normal from now on.
    Accept(RangeAccept),
}

#[derive(Debug, Args)]
pub struct RangeLs {
    /// Only what begins so: `shop`, `shop/web`, `machine`.
    #[arg(value_name = "WHAT")]
    pub what: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct RangeShow {
    /// `shop/web/p95`, `machine/cpu`, as `juchu range ls` says it.
    #[arg(value_name = "SIGNAL")]
    pub signal: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct RangeSet {
    /// `shop/web/p95`, `machine/cpu`, as `juchu range ls` says it.
    #[arg(value_name = "SIGNAL")]
    pub signal: String,
    /// It is never below: `5`, `1%`, `400ms`, `512mb`.
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub min: Option<String>,
    /// It is never above.
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub max: Option<String>,
    /// Learn no band; the bounds alone count.
    #[arg(long)]
    pub no_learn: bool,
    /// How urgent it is when it is outside.
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<LevelArg>,
    /// Do not watch it.
    #[arg(long, conflicts_with_all = ["min", "max", "no_learn", "level"])]
    pub off: bool,
    /// What was set before counts no more; the file does.
    #[arg(long, conflicts_with_all = ["min", "max", "no_learn", "level", "off"])]
    pub reset: bool,
    /// Why, for the journal.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct RangeAccept {
    #[arg(value_name = "SIGNAL", required = true)]
    pub signals: Vec<String>,
    /// Why, for the journal.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LevelArg {
    Information,
    Important,
    Urgent,
}

impl From<LevelArg> for model::range::Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Information => Self::Information,
            LevelArg::Important => Self::Important,
            LevelArg::Urgent => Self::Urgent,
        }
    }
}

#[derive(Debug, Args)]
pub struct Incidents {
    /// One incident, with all of its signals.
    #[arg(value_name = "NUMBER")]
    pub number: Option<u64>,
    /// Those that are over as well.
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Report {
    /// As `juchu incidents --all` says it.
    #[arg(value_name = "INCIDENT")]
    pub number: u64,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Objectives {
    /// Only what begins so: `shop`, `shop/web`.
    #[arg(value_name = "WHAT")]
    pub what: Option<String>,
    #[command(flatten)]
    pub output: Output,
}

/// Days of measures at most.
const DAYS_MAX: i64 = 366;

#[derive(Debug, Args)]
pub struct Dora {
    /// A stack or a service, `shop` or `shop/web`; all stacks when absent.
    #[arg(value_name = "WHAT")]
    pub what: Option<String>,
    /// The last so many days.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=DAYS_MAX))]
    pub days: u32,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Incident {
    #[command(subcommand)]
    pub command: IncidentCommand,
}

#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Say that somebody knows; it is not told again when it comes again.
    Ack(IncidentAck),
    /// Tell nobody for a while: of an incident, a stack, a service, a signal, or anything.
    Silence(IncidentSilence),
}

#[derive(Debug, Args)]
pub struct IncidentAck {
    #[arg(value_name = "NUMBER")]
    pub number: u64,
    /// Why, for the journal.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
}

#[derive(Debug, Args)]
pub struct IncidentSilence {
    /// The number of an incident, or `shop`, `shop/web`, `shop/web/p95`, `machine`; all when absent.
    #[arg(value_name = "WHAT")]
    pub what: Option<String>,
    /// For how long: `30m`, `2h`, up to 30 days.
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = DurationMs::parse)]
    pub lasting: DurationMs,
    /// Why.
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub message: String,
}

#[derive(Debug, Args)]
pub struct Notify {
    #[command(subcommand)]
    pub command: NotifyCommand,
}

#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// Tell somebody about incidents. The address is read from standard input, since it is a secret.
    Add(NotifyAdd),
    /// Who is told, how many messages went out and which wait, what went wrong.
    Ls(Read),
    /// Tell somebody no longer.
    Rm(NotifyName),
    /// Tell somebody something now, and say whether it was taken.
    Test(NotifyName),
}

#[derive(Debug, Args)]
pub struct NotifyAdd {
    /// Letters, digits, `-` and `_`.
    #[arg(value_name = "NAME")]
    pub name: String,
    #[arg(value_name = "KIND")]
    pub kind: ReceiverKind,
    /// Only what is at least so urgent.
    #[arg(long, value_name = "LEVEL", default_value = "important")]
    pub least: LevelArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ReceiverKind {
    /// A POST with the message as JSON.
    Webhook,
    /// A hook as Slack, Mattermost and others have it.
    Slack,
    /// The root of an Alertmanager, which is spoken to by its API version 2.
    Alertmanager,
    /// Mail by SMTP.
    Mail,
}

impl ReceiverKind {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
            Self::Mail => "mail",
        }
    }
}

#[derive(Debug, Args)]
pub struct NotifyName {
    #[arg(value_name = "NAME")]
    pub name: String,
}
