//! Arguments of `config`.

use super::*;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("listed"))]
pub struct Config {
    /// A directory (`.`, `..`, with a `/`, or where no Compose file is here), then services; they
    /// and what they depend on are printed, their profiles switched on. All when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// Say only whether it is valid and can be run here.
    #[arg(long)]
    pub check: bool,
    /// Where a value came from: `SERVICE.KEY`, `networks.NAME.KEY` and so on.
    #[arg(long, value_name = "PATH", conflicts_with = "check")]
    pub explain: Option<String>,
    /// How it is printed; `--variables` is a table unless asked otherwise.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ConfigFormat>,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Write to this file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub listed: Listed,
    #[command(flatten)]
    pub skipped: Skipped,
    #[command(flatten)]
    pub stack: StackArgs,
}

/// Lists instead of the whole file.
#[derive(Debug, Args)]
pub struct Listed {
    /// The services, each after those it depends on.
    #[arg(long, group = "listed")]
    pub services: bool,
    /// The volumes that services use.
    #[arg(long, group = "listed")]
    pub volumes: bool,
    /// The networks that services use.
    #[arg(long, group = "listed")]
    pub networks: bool,
    /// The image of each service.
    #[arg(long, group = "listed")]
    pub images: bool,
    /// The models that services use.
    #[arg(long, group = "listed")]
    pub models: bool,
    /// The profiles of all services.
    #[arg(long, id = "listed_profiles", group = "listed")]
    pub profiles: bool,
    /// The variables that the files ask for, with their defaults.
    #[arg(long, group = "listed")]
    pub variables: bool,
    /// What variables are filled in from. Secrets in the environment are shown.
    #[arg(long, group = "listed")]
    pub environment: bool,
    /// A hash of the configuration of these services, separated by commas; `*` is all of them.
    #[arg(long, value_name = "SERVICE", group = "listed")]
    pub hash: Option<String>,
}

/// Stages that are left out.
#[derive(Debug, Clone, Copy, Args)]
pub struct Skipped {
    /// Leave variables as they are written.
    #[arg(long)]
    pub no_interpolate: bool,
    /// Leave out names and defaults that no file gives.
    #[arg(long)]
    pub no_normalize: bool,
    /// Leave relative paths relative.
    #[arg(long)]
    pub no_path_resolution: bool,
    /// Do not check that everything fits together.
    #[arg(long)]
    pub no_consistency: bool,
    /// Changes nothing, as in Docker Compose 2.40: what environment files say is shown.
    #[arg(long)]
    pub no_env_resolution: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConfigFormat {
    Yaml,
    Json,
}
