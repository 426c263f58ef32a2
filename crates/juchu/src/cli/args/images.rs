//! Arguments of `build` and `image`.

use super::*;
use build::pull::WantedPlatform;

#[derive(Debug, Args)]
pub struct Build {
    /// A directory, then services; all services that are built when none is named.
    #[arg(value_name = "DIR|SERVICE")]
    pub targets: Vec<String>,
    /// Build each image twice in other places, at other times, with files of other users and modes,
    /// and compare them byte by byte; what differs is told by file, and ends with exit code 3.
    #[arg(long)]
    pub check: bool,
    /// Let nothing be chosen: every version must stand in a lock file that agrees with its manifest.
    #[arg(long)]
    pub locked: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct Image {
    #[command(subcommand)]
    pub command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// The images in the store, with their names, sizes and who needs them.
    Ls(ImageLs),
    /// What one image holds and how it runs.
    Inspect(ImageInspect),
    /// What an image was made from, as CycloneDX 1.6 or SPDX 2.3 in JSON.
    Sbom(ImageSbom),
    /// How two images differ: files, packages and configuration.
    Diff(ImageDiff),
    /// Remove the images that no release needs; the last `juchu build` of each service stays.
    ///
    /// It can be interrupted or killed at any moment, and never removes what a release refers to.
    Gc(ImageGc),
    /// Fetch an image from a registry; its name is printed with its digest.
    Pull(ImagePull),
    /// Store an image in a registry, with the documents that belong to it.
    Push(ImagePush),
    /// Make a pair of keys for signatures: one for this machine, one for those who verify.
    Keygen(ImageKeygen),
    /// Sign an image as it is stored, and in the form in which it is pushed.
    ///
    /// The signature stands beside the image and is pushed with it; `cosign verify --key` accepts it.
    Sign(ImageSign),
    /// Look for a valid signature of an image; exit code 3 where there is none.
    Verify(ImageVerify),
    /// Write an image as an OCI layout that other tools read, its layers packed with gzip.
    Export(ImageExport),
}

#[derive(Debug, Args)]
pub struct ImageLs {
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ImageInspect {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct ImageSbom {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    /// Which form.
    #[arg(long, value_name = "FORMAT", default_value = "cyclonedx")]
    pub format: SbomFormat,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SbomFormat {
    Cyclonedx,
    Spdx,
}

#[derive(Debug, Args)]
pub struct ImageDiff {
    /// The image to begin with: a digest or its beginning, a name, a service, or `SERVICE@r3`.
    #[arg(value_name = "A")]
    pub from: String,
    /// The image to end with.
    #[arg(value_name = "B")]
    pub to: String,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct ImageGc {
    /// Say what would go and remove nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also what `juchu build` made and no release needs.
    #[arg(long)]
    pub built: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ImagePull {
    /// A name such as `redis:7`, `host:port/name:tag` or `name@sha256:…`.
    #[arg(value_name = "REFERENCE")]
    pub reference: String,
    /// For another machine: its layers are fetched and not unpacked.
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub platform: Option<WantedPlatform>,
    /// Leave out what belongs to the image: lists of what it was made from, signatures.
    #[arg(long)]
    pub no_referrers: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ImagePush {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    /// Where to: `host:port/name:tag`; the image's own name unless given.
    #[arg(value_name = "REFERENCE")]
    pub reference: Option<String>,
    /// How layers that were built here travel; others stay as they came.
    #[arg(long, value_name = "KIND", default_value = "gzip")]
    pub compression: PushCompression,
    /// Leave out what belongs to the image: lists of what it was made from, signatures.
    #[arg(long)]
    pub no_referrers: bool,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct ImageKeygen {
    /// The private key; the public one gets the same name with `.pub` at its end.
    #[arg(default_value = "juchu.key")]
    pub file: PathBuf,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ImageSign {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    /// The private key, as `juchu image keygen` makes it.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Args)]
pub struct ImageVerify {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    /// The public key of who has to have signed.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub stack: StackArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PushCompression {
    /// Read by every program; the digest is another one than here.
    Gzip,
    /// As they are stored here, with the same digest; older programs cannot read it.
    Zstd,
}

#[derive(Debug, Args)]
pub struct ImageExport {
    /// A digest or its beginning, a name, a service, or `SERVICE@r3`.
    pub image: String,
    /// A new or empty directory for the layout.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// What the image is called in the layout; its own name unless given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    #[command(flatten)]
    pub stack: StackArgs,
}
