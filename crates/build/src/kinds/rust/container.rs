//! Compiling in a build container: the project as a copy, the crates fetched beforehand by a command
//! of its own with the network, the toolchain read-only, no network, no cargo of this machine.
//!
//! ```text
//! CACHE/cargo-builds/PLACE/source → /src      copy of what is read
//!                         /home   → /cargo    fetched crates; read-only while compiling
//!                         /target → /target   what was compiled
//! ```

use super::messages::{self, Diagnostics};
use super::outside::{outside_inputs, workspace};
use super::toolchain::{self, Toolchain};
use super::{Built, arguments, crates};
use crate::BuildError;
use crate::durable::create_directories;
use crate::kinds::cache::Cache;
use crate::kinds::draft::Draft;
use crate::kinds::runner::RunMount;
use crate::kinds::settings::{Project, kind_patterns};
use crate::kinds::stage::{Stage, made_by_command};
use crate::kinds::tool::{self, Failed, Tool};
use crate::kinds::tree::Tree;
use model::Digest;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

pub const AREA: &str = "cargo-builds";
const SOURCE: &str = "/src";
const HOME: &str = "/cargo";
const TARGET: &str = "/target";
const TOOLCHAIN: &str = "/rust";
/// What compiling takes beside Rust itself.
const PACKAGES: &[&str] = &["gcc", "libc6-dev", "make", "pkgconf", "ca-certificates"];
const DEBIANS_RUST: &[&str] = &["cargo", "rustc"];
/// Variables of the caller that count as inputs.
const PASSED_ON: &[&str] = &["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];
/// Variables of the caller that say how crates are fetched.
const FETCHING: &[&str] = &["CARGO_NET_", "CARGO_HTTP_"];

/// Where one project is compiled.
pub struct Workplace<'a> {
    pub project: &'a Project<'a>,
    toolchain: Toolchain,
    pub directory: PathBuf,
    /// The project's directory, and that of its lock, below `source`.
    pub own: PathBuf,
    pub lock: PathBuf,
}

/// A run of cargo.
pub struct Run<'a> {
    pub arguments: Vec<String>,
    pub fetches: bool,
    pub verb: &'a str,
    pub hint: String,
}

pub fn compile(project: &Project, draft: &mut Draft) -> Result<Vec<Built>, BuildError> {
    let toolchain = toolchain::find(project)?;
    let tree = project.tree()?;
    let place = Digest::of(tree.root.as_os_str().as_encoded_bytes());
    let directory = Cache::of(project.ctx).place(AREA, place.short())?;
    let (mut stage, own, top) = stage(project)?;
    let mut at = Workplace { project, toolchain, directory, own, lock: top.join("Cargo.lock") };
    for part in ["source", "home", "target"] {
        create_directories(&at.directory.join(part))?;
    }
    draft.lock = Some(crates::prepare(&mut at, &mut stage, draft)?);
    at.build()
}

/// Everything that cargo reads; the project's directory in it, and the one of its workspace.
fn stage(project: &Project) -> Result<(Stage, PathBuf, PathBuf), BuildError> {
    let tree = project.tree()?;
    let top = workspace(&tree.root);
    let outside = outside_inputs(&tree.root)?;
    let crates: Vec<&PathBuf> = outside.iter().filter(|path| path.is_dir()).collect();
    let all = crates.iter().map(|path| path.as_path()).chain([tree.root.as_path(), top.as_path()]);
    let common = all.fold(tree.root.clone(), |common, path| common_ancestor(&common, path));
    let below = |path: &Path| path.strip_prefix(&common).unwrap_or(Path::new("")).to_owned();
    let mut stage = Stage::default();
    if top != tree.root {
        // Cargo reads the manifests of all members.
        stage.add_tree(&Tree::read(&top, kind_patterns(&top))?, &below(&top));
    }
    for path in crates {
        stage.add_tree(&Tree::read(path, &["target"])?, &below(path));
    }
    stage.add_tree(tree, &below(&tree.root));
    Ok((stage, below(&tree.root), below(&top)))
}

fn common_ancestor(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

impl Workplace<'_> {
    pub fn part(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn build(&self) -> Result<Vec<Built>, BuildError> {
        self.project.ctx.say(match self.toolchain {
            Toolchain::Mounted(_) => "compiling with this machine's Rust in a build container",
            Toolchain::Packages => "compiling with Debian's Rust in a build container",
        });
        let mut arguments = arguments(self.project, true);
        arguments.push("--offline".to_owned());
        let hint = format!(
            "it compiles without network and without this machine's libraries; more Debian packages are given to it by \
             `x-juchu: {{build: {{packages: [libssl-dev]}}}}`; run `cargo build --release` in {} to see everything",
            self.project.place()
        );
        let programs = self.run(Run { arguments, fetches: false, verb: "build", hint })?;
        let target = self.part("target");
        let found = programs.into_iter().map(|(name, path)| {
            let below = path.strip_prefix(TARGET).unwrap_or(&path);
            let path = made_by_command(&target, below)
                .map_err(BuildError::io(format!("read the program {name} that cargo made")))?;
            Ok(Built { name, path })
        });
        found.collect()
    }

    /// Runs cargo in a container of its own; answers the programs that it made.
    pub fn run(&self, run: Run<'_>) -> Result<Vec<(String, PathBuf)>, BuildError> {
        let project = self.project;
        let scratch = Cache::of(project.ctx).scratch()?;
        let (input, output) = tool::directories(&scratch.path)?;
        let mut environment =
            tool::environment(project.ctx, if run.fetches { FETCHING } else { &[] }, &input)?;
        if let Some(bundle) = environment.get("SSL_CERT_FILE").cloned() {
            environment.insert("CARGO_HTTP_CAINFO".to_owned(), bundle);
        }
        let passed = PASSED_ON.iter().filter_map(|name| Some((*name, project.ctx.variable(name)?)));
        let path = format!("{TOOLCHAIN}/bin:/usr/local/bin:/usr/bin:/bin");
        let own = [
            ("PATH", path.as_str()),
            ("CARGO_HOME", HOME),
            ("CARGO_TARGET_DIR", TARGET),
            ("CARGO_TERM_COLOR", "never"),
            ("CARGO_INCREMENTAL", "0"),
        ];
        environment
            .extend(own.into_iter().chain(passed).map(|(name, value)| (name.to_owned(), value.to_owned())));
        let program = match self.toolchain {
            Toolchain::Mounted(_) => format!("{TOOLCHAIN}/bin/cargo"),
            Toolchain::Packages => "/usr/bin/cargo".to_owned(),
        };
        let working_dir = Path::new(SOURCE).join(&self.own);
        let tool = Tool {
            project,
            name: "cargo",
            packages: self.packages(),
            files: Vec::new(),
            argv: [program].into_iter().chain(run.arguments.iter().cloned()).collect(),
            environment,
            working_dir: working_dir.to_str().expect("paths of a project are UTF-8"),
            network: run.fetches,
            input: &input,
            output: &output,
            mounts: self.mounts(run.fetches),
        };
        let (programs, said) = (RefCell::new(Vec::new()), RefCell::new(Diagnostics::default()));
        let hear = |line: &str| {
            if line.starts_with('{') {
                programs.borrow_mut().extend(messages::program(line));
                return false;
            }
            said.borrow_mut().add(line.to_owned());
            ["Compiling ", "Downloaded "].iter().any(|word| line.trim_start().starts_with(word))
        };
        match tool.run(&hear) {
            Ok(()) => Ok(programs.into_inner()),
            Err(Failed::Said(_)) => Err(said.into_inner().refusal(project, run.verb, run.hint)),
            Err(failed) => Err(self.not_run(failed)),
        }
    }

    fn packages(&self) -> Vec<String> {
        let rust = match self.toolchain {
            Toolchain::Mounted(_) => &[],
            Toolchain::Packages => DEBIANS_RUST,
        };
        PACKAGES.iter().chain(rust).map(|name| (*name).to_owned()).collect()
    }

    fn mounts(&self, fetches: bool) -> Vec<RunMount> {
        let part = |name: &str, target: &str, read_only| RunMount {
            source: self.part(name),
            target: target.to_owned(),
            read_only,
        };
        let mut mounts =
            vec![part("source", SOURCE, false), part("home", HOME, !fetches), part("target", TARGET, false)];
        if let Toolchain::Mounted(sysroot) = &self.toolchain {
            mounts.push(RunMount { source: sysroot.clone(), target: TOOLCHAIN.to_owned(), read_only: true });
        }
        mounts
    }

    fn not_run(&self, failed: Failed) -> BuildError {
        let place = self.project.place();
        let why = match failed {
            Failed::Runner(error) => error,
            _ => format!("it did not finish within {}", self.project.time_limit()),
        };
        BuildError::input_hint(
            format!("cargo could not build {place} in a container: {why}"),
            "`x-juchu: {build: {host: true}}` compiles with this machine's cargo, outside of a container",
        )
    }
}
