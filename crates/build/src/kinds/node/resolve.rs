//! A lock for a project that has none, made by npm itself in a build container. What it chose is
//! kept, so that the next build is the same.

use super::build::driver;
use super::fetch::Registry;
use super::lock::Lock;
use super::manifest::Manifest;
use super::package::{Check, Package};
use crate::kinds::cache::Cache;
use crate::kinds::draft::{APP_DIRECTORY, Draft, directory, file_with};
use crate::kinds::runner::RunMount;
use crate::kinds::settings::Project;
use crate::kinds::tool::{self, Failed, Tool};
use crate::kinds::tree::read_text_if_there;
use crate::{BuildError, durable};
use model::Digest;

/// The npm that makes locks, by its digest in the public registry.
const NPM_VERSION: &str = "10.9.4";
const NPM_INTEGRITY: &str =
    "sha512-OnUG836FwboQIbqtefDNlyR0gTHzIfwRfE3DuiNewBvnMnWEpB0VEXwBlFVgqpNzIgYo/MHh3d2Hel/pszapAA==";
const RESOLVED: &str = "resolved-node";

/// The lock that was made earlier for these manifests, or a new one.
pub fn lock(project: &Project, manifest: &Manifest, draft: &mut Draft) -> Result<Lock, BuildError> {
    let registry = Registry::new(project)?;
    let manifests = manifests(project)?;
    let key =
        Digest::of(format!("{manifests:?} {} {}", registry.address(), project.archive.suite).as_bytes());
    let path = Cache::of(project.ctx).place(RESOLVED, &format!("{}.json", key.hex()))?;
    if !path.is_file() {
        project.refuse_without_lock("package-lock.json", "npm install --package-lock-only")?;
        durable::write(&path, make(project, &registry, &manifests)?.as_bytes())?;
    }
    let text = read_text_if_there(&path)?.unwrap_or_default();
    draft.note(format!(
        "there is no lock file: npm made one, which is kept until package.json changes; for the same versions everywhere, `cp {} {}/package-lock.json`",
        path.display(),
        project.place()
    ));
    Lock::parse(project, manifest, "package-lock.json", &text, &path.display().to_string())
}

/// Every package.json of the project, with its path.
fn manifests(project: &Project) -> Result<Vec<(String, String)>, BuildError> {
    let tree = project.tree()?;
    let paths = tree.files.iter().map(|file| file.path.as_str());
    let paths = paths.filter(|path| *path == "package.json" || path.ends_with("/package.json"));
    paths.map(|path| Ok((path.to_owned(), tree.text(path)?.unwrap_or_default()))).collect()
}

fn make(
    project: &Project,
    registry: &Registry,
    manifests: &[(String, String)],
) -> Result<String, BuildError> {
    let npm = Package {
        name: "npm".to_owned(),
        version: NPM_VERSION.to_owned(),
        check: Check::Integrity(NPM_INTEGRITY.to_owned()),
        ..Package::default()
    };
    let (npm, _) = registry.fetch(&npm)?;
    let scratch = Cache::of(project.ctx).scratch()?;
    let (input, output) = tool::directories(&scratch.path)?;
    let mut environment = tool::environment(project.ctx, &["npm_config_", "NPM_CONFIG_"], &input)?;
    environment.retain(|name, _| !name.eq_ignore_ascii_case("npm_config_userconfig"));
    if let Some(own) = registry.user_settings().filter(|path| path.is_file()) {
        tool::copy(&own, &input.join("npmrc"))?;
        environment.insert("npm_config_userconfig".to_owned(), "/in/npmrc".to_owned());
    }
    environment.insert("npm_config_cache".to_owned(), "/tmp/npm".to_owned());
    let mut files = vec![directory(APP_DIRECTORY)];
    files.extend(
        manifests
            .iter()
            .map(|(path, text)| file_with(format!("{APP_DIRECTORY}/{path}"), text.as_str(), false)),
    );
    if let Some(text) = project.tree()?.text(".npmrc")? {
        durable::write(&input.join("project-npmrc"), text.as_bytes())?;
        environment.insert("npm_config_globalconfig".to_owned(), "/in/project-npmrc".to_owned());
    }
    project.ctx.say("making package-lock.json with npm in a build container");
    let tool = Tool {
        project,
        name: "npm",
        packages: ["nodejs", "ca-certificates"].map(str::to_owned).to_vec(),
        files: files.into_iter().chain(driver()).collect(),
        argv: ["/usr/bin/node", "/juchu/build.cjs", "lock"].map(str::to_owned).to_vec(),
        environment,
        working_dir: APP_DIRECTORY,
        network: true,
        input: &input,
        output: &output,
        mounts: vec![RunMount { source: npm, target: "/juchu/npm".to_owned(), read_only: true }],
    };
    tool.run(&|_| false).map_err(|failed| refused(project, failed))?;
    let made = read_text_if_there(&output.join("package-lock.json"))?;
    made.ok_or_else(|| BuildError::input(format!("npm made no package-lock.json for {}", project.place())))
}

fn refused(project: &Project, failed: Failed) -> BuildError {
    let why = match failed {
        Failed::TimedOut => format!("it did not finish within {}", project.time_limit()),
        Failed::Runner(error) => error,
        Failed::Said(last) => tool::reason(&last),
    };
    BuildError::input_hint(
        format!("{} has dependencies but no lock file, and npm could not make one: {why}", project.place()),
        "run `npm install --package-lock-only`, so that every build installs the same versions",
    )
}
