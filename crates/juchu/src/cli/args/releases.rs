//! Arguments of the commands about releases.

use super::*;

#[derive(Debug, Args)]
pub struct Rollback {
    /// Only these services; all when none is named.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The release to go back to, as `juchu releases` lists them: `r3` or `3`.
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<Release>,
    /// Show what it would do, as `plan` does, doing nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Promote {
    /// The stack that gets the images.
    pub to: String,
    /// Only these services; all when none is named.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// The release whose images are taken; the one in force unless given.
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<Release>,
    /// Show what it would do, as `plan` does, doing nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Releases {
    /// The last so many releases.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub number: usize,
    /// Show the image of each service.
    #[arg(long)]
    pub images: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The release to begin with: `r3` or `3`.
    #[arg(value_name = "RELEASE")]
    pub from: Release,
    /// The release to end with; the one in force unless given.
    #[arg(value_name = "RELEASE")]
    pub to: Option<Release>,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

/// A release as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release(pub ReleaseId);

impl std::str::FromStr for Release {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix(['r', 'R']).unwrap_or(text);
        match number.parse() {
            Ok(number) if number > 0 => Ok(Self(ReleaseId(number))),
            _ => Err("a release such as `r3` or `3`; `juchu releases` lists them"),
        }
    }
}
