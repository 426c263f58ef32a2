//! What can be typed about what passes through the gateway.

use super::Output;
use clap::{Args, Subcommand};
use model::DurationMs;
use std::net::IpAddr;

#[derive(Debug, Args)]
pub struct Top {
    /// Only these services; with their stack before them (`shop/web`) only those of that stack.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Time over which is counted: `1s` to `1m`.
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: DurationMs,
    /// Show it once and end, as without a terminal.
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub output: Output,
}

const INTERVALS: std::ops::RangeInclusive<u64> = 100..=60_000;

fn interval(text: &str) -> Result<DurationMs, String> {
    let interval = DurationMs::parse(text).map_err(|error| error.to_string())?;
    match INTERVALS.contains(&interval.0) {
        true => Ok(interval),
        false => Err("from 100ms to 1m is possible".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct Route {
    #[command(subcommand)]
    pub command: RouteCommand,
}

#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// Say where a request would go and why; nothing is sent.
    ///
    /// The gateway that runs thinks it through with the rules, instances and breakers of this moment.
    Test(RouteTest),
}

#[derive(Debug, Args)]
pub struct RouteTest {
    /// `http://shop.example.org/path`, whatever its name means elsewhere; the names of services are
    /// known as well.
    #[arg(value_name = "URL")]
    pub url: String,
    /// The request's method.
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// A header field, `Name: value`; repeatable.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub headers: Vec<String>,
    /// The address of this machine at which it would arrive, where there are several.
    #[arg(long, value_name = "ADDRESS")]
    pub at: Option<IpAddr>,
    #[command(flatten)]
    pub output: Output,
}
