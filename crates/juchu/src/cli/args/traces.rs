//! What can be typed about traces.

use super::Output;
use clap::Args;
use model::DurationMs;

#[derive(Debug, Args)]
pub struct Trace {
    /// The 32 digits of a trace; without them the newest are listed.
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Those with a span of this service.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub service: Option<String>,
    /// … of a service of this stack.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    pub stack: Option<String>,
    /// … with this in its name: `/checkout`.
    #[arg(long, value_name = "TEXT", conflicts_with = "id")]
    pub name: Option<String>,
    /// … that took at least so long: `200ms`.
    #[arg(long, value_name = "TIME", value_parser = DurationMs::parse, conflicts_with = "id")]
    pub min: Option<DurationMs>,
    /// … that took at most so long.
    #[arg(long, value_name = "TIME", value_parser = DurationMs::parse, conflicts_with = "id")]
    pub max: Option<DurationMs>,
    /// … that failed.
    #[arg(long, conflicts_with = "id")]
    pub errors: bool,
    /// … that began since: a time, or how long ago (`10m`).
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    pub since: Option<String>,
    /// … and before.
    #[arg(long, value_name = "TIME", conflicts_with = "id")]
    pub until: Option<String>,
    /// How many are listed, at most 200.
    #[arg(short = 'n', long = "limit", value_name = "NUMBER", default_value_t = 20, conflicts_with = "id")]
    pub limit: usize,
    #[command(flatten)]
    pub output: Output,
}
