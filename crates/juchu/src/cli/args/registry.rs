//! Arguments of `registry`.

use super::*;
use ::registry::Anonymous;

/// Where the registry listens unless told otherwise.
pub const REGISTRY_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);

#[derive(Debug, Args)]
pub struct Registry {
    #[command(subcommand)]
    pub command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Serve the images of this machine to others, in the foreground.
    ///
    /// What others push is kept beside the images that were built here, which are found below
    /// `juchu/`: `juchu/STACK/SERVICE:latest`, and `:r3` for release 3.
    Serve(RegistryServe),
    /// The repositories that others pushed, with their tags.
    Ls(RegistryLs),
    /// Remove a tag, a manifest or a whole repository; `juchu image gc` frees the space.
    Rm(RegistryRm),
    /// Who may pull and push.
    User(RegistryUser),
}

#[derive(Debug, Args)]
pub struct RegistryServe {
    /// Where to listen; beyond loopback it needs a certificate.
    #[arg(long, value_name = "ADDRESS", default_value_t = REGISTRY_ADDRESS)]
    pub listen: SocketAddr,
    /// The certificate in PEM, its chain after it. A renewed one counts without a restart.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond loopback without TLS, in a network that is private.
    #[arg(long, conflicts_with = "tls_cert")]
    pub plain_http: bool,
    /// What those may do who do not log in.
    #[arg(long, value_name = "WHAT", default_value = "nothing")]
    pub anonymous: AnonymousArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnonymousArg {
    Nothing,
    /// Everything that is here, the images of this machine's stacks as well.
    Pull,
    /// On loopback only.
    Push,
}

impl From<AnonymousArg> for Anonymous {
    fn from(anonymous: AnonymousArg) -> Self {
        match anonymous {
            AnonymousArg::Nothing => Self::Nothing,
            AnonymousArg::Pull => Self::Pull,
            AnonymousArg::Push => Self::Push,
        }
    }
}

#[derive(Debug, Args)]
pub struct RegistryLs {
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct RegistryRm {
    /// `REPOSITORY:TAG`, `REPOSITORY@DIGEST`, or with `--all` a `REPOSITORY`.
    #[arg(value_name = "WHAT")]
    pub what: String,
    /// Everything in the repository.
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct RegistryUser {
    #[command(subcommand)]
    pub command: RegistryUserCommand,
}

#[derive(Debug, Subcommand)]
pub enum RegistryUserCommand {
    /// Add a user and print the token to log in with, this once. It counts at once.
    Add(RegistryUserAdd),
    /// Take a user away; it counts at once.
    Rm(RegistryUserRm),
    /// The users and what they may do.
    Ls(RegistryLs),
}

#[derive(Debug, Args)]
pub struct RegistryUserAdd {
    /// Letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// May pull from this repository; `app/*` is all below `app`, `*` all. Repeatable; the default is `*`.
    #[arg(long, value_name = "REPOSITORY")]
    pub read: Vec<String>,
    /// May push, delete and pull; repeatable.
    #[arg(long, value_name = "REPOSITORY")]
    pub write: Vec<String>,
    /// Take the token from standard input instead of making one; at least 32 characters.
    #[arg(long)]
    pub token_stdin: bool,
}

#[derive(Debug, Args)]
pub struct RegistryUserRm {
    pub name: String,
}
