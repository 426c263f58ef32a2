//! What can be typed about measurements and who may ask for them.

use super::Output;
use clap::{Args, Subcommand};
use console::calls::MINUTES_MAX;
use model::DurationMs;

#[derive(Debug, Args)]
pub struct Query {
    /// `rate(node_cpu_seconds_total{mode!="idle"}[1m])`
    #[arg(value_name = "PROMQL", required_unless_present = "targets")]
    pub expression: Option<String>,
    /// The time that is asked about, `2026-11-23T07:00:00Z` or seconds since 1970; now when absent.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// How it went over so long, up to that time: `15m`, `1d`.
    #[arg(short, long, value_name = "TIME", value_parser = DurationMs::parse)]
    pub range: Option<DurationMs>,
    /// The distance of two values of a range; chosen to give some 60 of them when absent.
    #[arg(long, value_name = "TIME", requires = "range", value_parser = DurationMs::parse)]
    pub step: Option<DurationMs>,
    /// Instead: whose own metrics are read, and how that went.
    #[arg(long, conflicts_with_all = ["expression", "at", "range"])]
    pub targets: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Visitors {
    /// Today and so many days before but one.
    #[arg(long, value_name = "NUMBER", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=91))]
    pub days: u32,
    /// All pages instead of the most viewed.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Map {
    /// Only what these services call or are called for: `web` or `shop/web`; all when absent.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// How long to look back, from `1m` to `6h`.
    #[arg(short, long, value_name = "TIME", default_value = "5m", value_parser = minutes)]
    pub range: u32,
    #[command(flatten)]
    pub output: Output,
}

/// Whole minutes.
fn minutes(text: &str) -> Result<u32, String> {
    let DurationMs(ms) = DurationMs::parse(text).map_err(|error| error.to_string())?;
    let minutes = u32::try_from(ms.div_ceil(60_000)).unwrap_or(u32::MAX);
    match minutes {
        1..=MINUTES_MAX => Ok(minutes),
        _ => Err("a map looks back from 1m to 6h".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct Probe {
    /// `https://example.org/page`; where it leads to is not followed.
    #[arg(value_name = "URL")]
    pub url: String,
    /// For all of it together.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = DurationMs::parse)]
    pub timeout: DurationMs,
    /// Take any certificate.
    #[arg(long)]
    pub insecure: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once.
    ///
    /// A program shows it as `Authorization: Bearer TOKEN`, or as the password of any user.
    Create(TokenCreate),
    /// The tokens that are let in.
    Ls(super::Read),
    /// Let a token in no longer.
    Rm(TokenRm),
}

#[derive(Debug, Args)]
pub struct TokenCreate {
    /// What it is for: letters, digits, `-`, `_`, `.`.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// It may send measurements, too.
    #[arg(long)]
    pub send: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct TokenRm {
    #[arg(value_name = "NAME")]
    pub name: String,
}
