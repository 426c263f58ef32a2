//! Requirements that leave a choice are resolved by pip itself, in a build container of its own
//! with the suite's Python. What it chose is kept, so that the next build is the same.

use super::Wheel;
use super::index::{configuration_files, wheel_path};
use super::requirements::Requirements;
use crate::kinds::cache::Cache;
use crate::kinds::runner::RunMount;
use crate::kinds::settings::Project;
use crate::kinds::tool::{self, Failed, Tool};
use crate::kinds::tree::file_digest;
use crate::{BuildError, durable};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What of the packages that the requirements need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependencies {
    Followed,
    LeftOut,
}

/// What a package written in C takes to be built; none of it is in the image.
const COMPILERS: [&str; 6] = ["gcc", "g++", "libc6-dev", "make", "pkgconf", "python3-dev"];

/// Has pip make wheels of the requirements; where that takes a compiler, once more with one.
pub fn wheels(
    project: &Project,
    requirements: &Requirements,
    dependencies: Dependencies,
) -> Result<Vec<Wheel>, BuildError> {
    match run(project, requirements, dependencies, &[])? {
        Ok(wheels) => Ok(wheels),
        Err(last) if needs_compiler(&last) => {
            project.ctx.say("a package has to be compiled; trying again with a compiler");
            run(project, requirements, dependencies, &COMPILERS)?.map_err(|last| refused(project, &last))
        }
        Err(last) => Err(refused(project, &last)),
    }
}

fn needs_compiler(last: &VecDeque<String>) -> bool {
    let words = ["gcc", "cc: ", "Python.h", "Failed building wheel", "compiler", "cmake"];
    last.iter().any(|line| words.iter().any(|word| line.contains(word)))
}

/// One run of pip; the inner error is what it said last.
fn run(
    project: &Project,
    requirements: &Requirements,
    dependencies: Dependencies,
    more_packages: &[&str],
) -> Result<Result<Vec<Wheel>, VecDeque<String>>, BuildError> {
    let scratch = Cache::of(project.ctx).scratch()?;
    let (input, output) = (scratch.path.join("in"), scratch.path.join("out"));
    for path in [&input, &output] {
        durable::create_directories(path)?;
    }
    tool::open_to_all(&output)?;
    durable::write(&input.join("requirements.txt"), requirements.flattened().as_bytes())?;
    durable::write(&input.join("constraints.txt"), requirements.flattened_constraints().as_bytes())?;
    let (environment, mounts) = surroundings(project, &input)?;
    project
        .ctx
        .say(&format!("resolving {} requirements with pip in a build container", requirements.lines.len()));
    let pip = Tool {
        project,
        name: "pip",
        packages: packages(project, requirements, more_packages),
        files: Vec::new(),
        argv: arguments(dependencies),
        environment,
        working_dir: "/tmp",
        network: true,
        input: &input,
        output: &output,
        mounts,
    };
    let shown =
        |line: &str| line.trim_start().starts_with("Building wheel") || line.starts_with("Collecting");
    match pip.run(&shown) {
        Ok(()) => collect(project, &output).map(Ok),
        Err(Failed::Said(last)) => Ok(Err(last)),
        Err(Failed::TimedOut) => Err(BuildError::input_hint(
            format!("pip did not finish within {}", project.time_limit()),
            "pin the requirements with `==`, so that nothing has to be searched for",
        )),
        Err(Failed::Runner(error)) => Err(BuildError::input_hint(
            format!("pip could not run in a build container: {error}"),
            "pin every requirement and what it needs with `==` (`pip freeze`, `pip-compile`, `uv lock`); \
             then no container is needed",
        )),
    }
}

const ARGUMENTS: [&str; 13] = [
    "/usr/bin/python3",
    "-m",
    "pip",
    "wheel",
    "--no-cache-dir",
    "--disable-pip-version-check",
    "--no-input",
    "--progress-bar=off",
    "--wheel-dir",
    "/out",
    "--requirement",
    "/in/requirements.txt",
    "--constraint=/in/constraints.txt",
];

fn arguments(dependencies: Dependencies) -> Vec<String> {
    let more = (dependencies == Dependencies::LeftOut).then_some("--no-deps");
    ARGUMENTS.iter().copied().chain(more).map(str::to_owned).collect()
}

fn packages(project: &Project, requirements: &Requirements, more: &[&str]) -> Vec<String> {
    let mut packages = vec!["python3".to_owned(), "python3-pip".to_owned(), "ca-certificates".to_owned()];
    if requirements.lines.iter().any(|line| line.text.contains("git+")) {
        packages.push("git".to_owned());
    }
    packages
        .extend(project.image().packages.iter().cloned().chain(more.iter().map(|name| (*name).to_owned())));
    packages
}

/// The caller's pip settings made valid inside.
fn surroundings(project: &Project, input: &Path) -> Result<Surroundings, BuildError> {
    let ctx = project.ctx;
    let mut environment = tool::environment(ctx, &["PIP_"], input)?;
    let mut mounts = Vec::new();
    if let Some(links) = ctx.variable("PIP_FIND_LINKS").filter(|links| Path::new(links).is_dir()) {
        mounts.push(RunMount { source: PathBuf::from(links), target: links.to_owned(), read_only: true });
    }
    environment.remove("PIP_CONFIG_FILE");
    if let Some(file) = configuration_files(ctx).into_iter().next() {
        tool::copy(&file, &input.join("pip.conf"))?;
        environment.insert("PIP_CONFIG_FILE".to_owned(), "/in/pip.conf".to_owned());
    }
    Ok((environment, mounts))
}

type Surroundings = (BTreeMap<String, String>, Vec<RunMount>);

/// Moves what pip made into the cache, each file under its digest.
fn collect(project: &Project, output: &Path) -> Result<Vec<Wheel>, BuildError> {
    let mut wheels = Vec::new();
    for entry in fs::read_dir(output).map_err(BuildError::io(format!("read {}", output.display())))? {
        let entry = entry.map_err(BuildError::io(format!("read {}", output.display())))?;
        let (Some(name), Ok(kind)) = (entry.file_name().to_str().map(str::to_owned), entry.file_type())
        else {
            continue;
        };
        if !name.ends_with(".whl") || !kind.is_file() {
            continue;
        }
        let sha256 = file_digest(&entry.path())?.hex().to_owned();
        let target = wheel_path(project.ctx, &sha256, &name)?;
        fs::set_permissions(entry.path(), Permissions::from_mode(0o644))
            .and_then(|()| fs::rename(entry.path(), &target))
            .map_err(BuildError::io(format!("write {}", target.display())))?;
        wheels.push(Wheel::at(target, &sha256)?);
    }
    wheels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(wheels)
}

fn refused(project: &Project, last: &VecDeque<String>) -> BuildError {
    let reason = tool::reason(last);
    let hint = match needs_compiler(last) {
        true => {
            "name the Debian packages with the headers it needs with `x-juchu: {build: {packages: [libpq-dev]}}`"
        }
        false => {
            "try the same with `pip wheel -r requirements.txt`; PIP_* settings and proxies of this shell are passed on"
        }
    };
    BuildError::input_hint(
        format!("pip could not get the requirements of {}: {reason}", project.place()),
        hint,
    )
}
