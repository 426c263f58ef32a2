//! What a recipe is given: the declared build, the project's files, and the caller's surroundings.

use super::detect::Kind;
use super::runner::Runner;
use super::tree::{Tree, file_digest, frame};
use crate::archive::ArchiveChoice;
use crate::job::Job;
use crate::{BuildError, ImagePlan};
use model::image::{BuildSpec, NativeImage};
use model::{Digest, DurationMs, Timestamp};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A variable of the caller that `juchu build --locked` sets.
pub const LOCKED: &str = "JUCHU_LOCKED";
/// Raised when a recipe decides differently for the same input, so that images are made anew.
const RECIPES_VERSION: u32 = 3;

/// The caller's side of a build.
pub struct Context<'a> {
    /// Directory for downloads, resolved lists and compiler output; made when missing.
    pub cache: &'a Path,
    /// Of the person who builds: `PIP_*`, `npm_config_*`, proxies, `SOURCE_DATE_EPOCH`, `PATH`, `HOME`.
    pub environment: &'a BTreeMap<String, String>,
    pub runner: &'a dyn Runner,
    /// Where to tell what takes time, and when to give up.
    pub job: &'a Job<'a>,
    /// Where packages come from unless the project says otherwise.
    pub archive: ArchiveChoice,
    pub machine: Machine,
    /// The service states its own command or entry point, so that none has to be found.
    pub states_command: bool,
}

impl Context<'_> {
    pub fn say(&self, line: &str) {
        self.job.say(line);
    }

    /// A variable of the caller; empty counts as absent.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn home(&self) -> Option<&Path> {
        self.variable("HOME").map(Path::new)
    }
}

/// Processor families an image can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// The one this program was made for.
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }
    /// As the kernel and Python say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// What the project becomes.
#[derive(Debug)]
pub struct Planned {
    pub plan: ImagePlan,
    pub kind: Kind,
    /// Sentences for people: what was chosen, and what they may want to change.
    pub notes: Vec<String>,
    /// The lock file whose packages are compiled into the program, when the recipe knows it.
    pub lock: Option<PathBuf>,
    /// As `fingerprint` gives it.
    pub fingerprint: Digest,
}

/// A build with its files read and hashed.
pub struct Project<'a> {
    pub spec: &'a BuildSpec,
    pub ctx: &'a Context<'a>,
    pub archive: ArchiveChoice,
    pub fingerprint: Digest,
    tree: Option<Tree>,
}

impl<'a> Project<'a> {
    pub fn open(spec: &'a BuildSpec, ctx: &'a Context<'a>) -> Result<Self, BuildError> {
        let tree = match &spec.context {
            Some(root) => Some(Tree::read(root, kind_patterns(root))?),
            None => None,
        };
        let archive = match &spec.image.archive {
            Some(declared) => ArchiveChoice {
                keyring: ctx.archive.keyring.clone(),
                ..ArchiveChoice::from_spec(Some(declared))
            },
            None => ctx.archive.clone(),
        };
        let fingerprint = fingerprint(spec, ctx, &archive, tree.as_ref())?;
        Ok(Self { spec, ctx, archive, fingerprint, tree })
    }

    /// `x-juchu.image`.
    pub fn image(&self) -> &NativeImage {
        &self.spec.image
    }

    pub fn tree(&self) -> Result<&Tree, BuildError> {
        self.tree.as_ref().ok_or_else(|| {
            BuildError::input_hint(
                "there is no directory to build from",
                "name it with `build: ./DIRECTORY` beside `x-juchu.image`",
            )
        })
    }

    pub fn has_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// There is a `.env`, which often holds secrets, and `.dockerignore` does not take it back.
    pub fn leaves_out_env_file(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| tree.root.join(".env").is_file() && !tree.has(".env"))
    }

    /// How long a build command may take.
    pub fn time_limit(&self) -> DurationMs {
        self.spec.limits.timeout()
    }

    /// Somebody already said what to run.
    pub fn start_is_stated(&self) -> bool {
        self.ctx.states_command || self.image().entrypoint.is_some() || self.image().command.is_some()
    }

    /// With `--locked`, what would be chosen now and not by a lock file is an error.
    pub fn refuse_without_lock(&self, lock: &str, command: &str) -> Result<(), BuildError> {
        match self.ctx.variable(LOCKED) {
            None => Ok(()),
            Some(_) => Err(BuildError::input_hint(
                format!(
                    "{} has no {lock} that fixes every version, and `--locked` lets nothing be chosen",
                    self.place()
                ),
                format!("run `{command}` and keep the file, or build without `--locked`"),
            )),
        }
    }

    /// The context as people know it.
    pub fn place(&self) -> String {
        self.spec
            .context
            .as_ref()
            .map_or_else(|| "x-juchu.image".to_owned(), |path| path.display().to_string())
    }

    pub fn created(&self) -> Result<Timestamp, BuildError> {
        let Some(text) = self.ctx.variable("SOURCE_DATE_EPOCH") else { return Ok(Timestamp(0)) };
        let seconds: u32 = text.parse().map_err(|_| {
            BuildError::input_hint(
                format!("SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds since 1970"),
                "unset it, or set it to the time of the commit: `git log -1 --format=%ct`",
            )
        })?;
        Ok(Timestamp(i64::from(seconds) * 1000))
    }
}

/// What a Rust project reads beside its context.
fn hash_outside(root: &Path, hasher: &mut Sha256) -> Result<(), BuildError> {
    for path in super::rust::outside_inputs(root)? {
        if path.is_dir() {
            Tree::read(&path, &["target"])?.hash_into(hasher)?;
        } else {
            frame(hasher, file_digest(&path)?.as_str().as_bytes());
        }
    }
    Ok(())
}

/// What compilers leave in a project is never input.
pub fn kind_patterns(root: &Path) -> &'static [&'static str] {
    if root.join("Cargo.toml").is_file() { &["target"] } else { &[] }
}

fn fingerprint(
    spec: &BuildSpec,
    ctx: &Context,
    archive: &ArchiveChoice,
    tree: Option<&Tree>,
) -> Result<Digest, BuildError> {
    let mut hasher = Sha256::new();
    hasher.update(RECIPES_VERSION.to_le_bytes());
    // Where the project lies and what the build may take does not matter, only what it holds.
    let settings = BuildSpec {
        context: spec.context.as_ref().map(|_| "/".into()),
        limits: Default::default(),
        ..spec.clone()
    };
    frame(&mut hasher, &serde_json::to_vec(&settings).expect("a build spec is plain data"));
    for text in [&archive.mirror, &archive.suite] {
        frame(&mut hasher, text.as_bytes());
    }
    frame(&mut hasher, archive.security.as_deref().unwrap_or("").as_bytes());
    frame(&mut hasher, ctx.machine.name().as_bytes());
    hasher.update([u8::from(ctx.states_command)]);
    for name in ["SOURCE_DATE_EPOCH", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        frame(&mut hasher, ctx.variable(name).unwrap_or("").as_bytes());
    }
    if let Some(tree) = tree {
        tree.hash_into(&mut hasher)?;
        if tree.has("Cargo.toml") {
            hash_outside(&tree.root, &mut hasher)?;
        }
    }
    Ok(Digest::from_raw(hasher.finalize().into()))
}
