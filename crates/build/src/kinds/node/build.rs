//! The build script of a Node project, run in a container without network, with everything the
//! lock file names in place. What it leaves is the application.

use super::Installed;
use super::manifest::Manifest;
use crate::BuildError;
use crate::kinds::cache::Cache;
use crate::kinds::draft::{APP_DIRECTORY, Draft, file_with};
use crate::kinds::settings::Project;
use crate::kinds::tool::{self, Failed, Tool};
use crate::kinds::tree::Tree;
use crate::plan::Entry;
use model::Digest;
use std::fs;

/// Stands for npm and its likes, and hands the result over.
const DRIVER: &str = include_str!("build.cjs");
const DRIVER_PLACE: &str = "/juchu/build.cjs";
const BUILT: &str = "node-builds";
/// What scripts use beside Node.
const PACKAGES: &[&str] = &["nodejs", "dash", "coreutils", "sed", "grep", "findutils", "ca-certificates"];

pub fn is_needed(manifest: &Manifest) -> bool {
    manifest.script("build").is_some()
}

/// The project after its build; the result is kept for as long as no input changes.
pub fn run(project: &Project, manifest: &Manifest, installed: Installed) -> Result<Tree, BuildError> {
    let key = Digest::of(format!("{} {:?}", project.fingerprint, installed.inputs).as_bytes());
    let cache = Cache::of(project.ctx);
    let root = cache.directory(BUILT, key.hex(), |into| build(project, manifest, installed, into))?;
    let root = root.canonicalize().map_err(BuildError::io(format!("read {}", root.display())))?;
    Tree::everything(&root)
}

fn build(
    project: &Project,
    manifest: &Manifest,
    installed: Installed,
    into: &std::path::Path,
) -> Result<(), BuildError> {
    let scratch = Cache::of(project.ctx).scratch()?;
    let (input, output) = tool::directories(&scratch.path)?;
    let mut application = Draft::default();
    application.add_tree(project.tree()?, "", APP_DIRECTORY);
    let workspaces = workspaces(project);
    let mut environment = tool::environment(project.ctx, &[], &input)?;
    environment.extend([
        ("NODE_ENV".to_owned(), "production".to_owned()),
        ("CI".to_owned(), "true".to_owned()),
        ("JUCHU_WORKSPACES".to_owned(), workspaces.join(":")),
        ("NEXT_TELEMETRY_DISABLED".to_owned(), "1".to_owned()),
        ("ASTRO_TELEMETRY_DISABLED".to_owned(), "1".to_owned()),
    ]);
    environment.extend(project.image().environment.clone());
    let script = manifest.script("build").unwrap_or_default();
    project.ctx.say(&format!("building with `{script}`"));
    let tool = Tool {
        project,
        name: "the build script",
        packages: PACKAGES
            .iter()
            .map(|name| (*name).to_owned())
            .chain(project.image().packages.clone())
            .collect(),
        files: application.app.into_iter().chain(installed.entries).chain(driver()).collect(),
        argv: ["/usr/bin/node", DRIVER_PLACE, "build"].map(str::to_owned).to_vec(),
        environment,
        working_dir: APP_DIRECTORY,
        network: false,
        input: &input,
        output: &output,
        mounts: Vec::new(),
    };
    tool.run(&|line| line.starts_with("> ")).map_err(|failed| refused(project, script, failed))?;
    // The cache's directory is there already, empty.
    fs::remove_dir(into)
        .and_then(|()| fs::rename(output.join("app"), into))
        .map_err(BuildError::io("keep the result of the build script"))
}

/// The driver, under its own name and those of the tools it stands for.
pub fn driver() -> Vec<Entry> {
    let wrapper = "#!/usr/bin/node\nrequire('/juchu/build.cjs');\n";
    let tools = ["npm", "npx", "pnpm", "yarn"];
    let tools = tools.iter().map(|name| file_with(format!("/usr/local/bin/{name}"), wrapper, true));
    tools.chain([file_with(DRIVER_PLACE, DRIVER, false)]).collect()
}

/// Directories with a package.json of their own.
fn workspaces(project: &Project) -> Vec<String> {
    let files = project.tree().map(|tree| tree.files.as_slice()).unwrap_or_default();
    files.iter().filter_map(|file| file.path.strip_suffix("/package.json").map(str::to_owned)).collect()
}

fn refused(project: &Project, script: &str, failed: Failed) -> BuildError {
    let place = project.place();
    match failed {
        Failed::TimedOut => BuildError::input_hint(
            format!(
                "the build script of {place}, `{script}`, did not finish within {}",
                project.time_limit()
            ),
            "look what it waits for; it runs without network and without a terminal",
        ),
        Failed::Runner(error) => BuildError::input_hint(
            format!("the build script of {place} could not run in a build container: {error}"),
            "run it beforehand, remove it from package.json, and keep what it makes",
        ),
        Failed::Said(last) => BuildError::input_hint(
            format!("the build script of {place}, `{script}`, failed: {}", tool::reason(&last)),
            "it runs without network in Debian's Node with what the lock file names; \
             more Debian packages are given to it by `x-juchu: {build: {packages: […]}}`",
        ),
    }
}
