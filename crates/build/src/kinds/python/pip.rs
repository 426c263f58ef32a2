//! Requirements that leave a choice are resolved by pip itself, in a build container of its own
//! with the suite's Python. What it chose is kept, so that the next build is the same.

use super::Wheel;
use super::index::{configuration_files, wheel_path};
use super::requirements::Requirements;
use crate::archive::ArchiveChoice;
use crate::kinds::cache::Cache;
use crate::kinds::draft::{APP_UID, APP_USER, directory};
use crate::kinds::runner::{RunMount, RunRequest};
use crate::kinds::settings::Project;
use crate::kinds::tree::file_digest;
use crate::plan::{ImagePlan, User};
use crate::{BuildError, durable};
use model::image::ImageConfig;
use model::{Digest, DurationMs, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const TIME_LIMIT: DurationMs = DurationMs::from_secs(30 * 60);
/// Lines of output kept for the message of a failure.
const LINES_KEPT: usize = 60;
const PASSED_ON: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];
const CA_VARIABLES: &[&str] = &["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"];

/// Has pip make wheels of the requirements and everything they need.
pub fn wheels(project: &Project, requirements: &Requirements) -> Result<Vec<Wheel>, BuildError> {
    let scratch = Cache::of(project.ctx).scratch()?;
    let (input, output) = (scratch.path.join("in"), scratch.path.join("out"));
    for path in [&input, &output] {
        durable::create_directories(path)?;
    }
    open_to_all(&output)?;
    durable::write(&input.join("requirements.txt"), requirements.flattened().as_bytes())?;
    durable::write(&input.join("constraints.txt"), requirements.flattened_constraints().as_bytes())?;
    let request = request(project, requirements, &input, &output)?;
    project
        .ctx
        .say(&format!("resolving {} requirements with pip in a build container", requirements.lines.len()));
    let mut last: VecDeque<String> = VecDeque::new();
    let outcome = project.ctx.runner.run(&request, &mut |line| {
        if line.trim_start().starts_with("Building wheel") || line.starts_with("Collecting") {
            project.ctx.say(line.trim());
        }
        last.push_back(line.to_owned());
        if last.len() > LINES_KEPT {
            last.pop_front();
        }
    });
    match outcome {
        Ok(outcome) if outcome.timed_out => Err(BuildError::input_hint(
            format!("pip did not finish within {TIME_LIMIT}"),
            "pin the requirements with `==`, so that nothing has to be searched for",
        )),
        Ok(outcome) if outcome.code == 0 => collect(project, &output),
        Ok(_) => Err(refused(project, &last)),
        Err(error) => Err(BuildError::input_hint(
            format!("pip could not run in a build container: {error}"),
            "pin every requirement and what it needs with `==` (`pip freeze`, `pip-compile`, `uv lock`); \
             then no container is needed",
        )),
    }
}

fn request(
    project: &Project,
    requirements: &Requirements,
    input: &Path,
    output: &Path,
) -> Result<RunRequest, BuildError> {
    let mut packages = vec!["python3".to_owned(), "python3-pip".to_owned(), "ca-certificates".to_owned()];
    if requirements.lines.iter().any(|line| line.text.contains("git+")) {
        packages.push("git".to_owned());
    }
    packages.extend(project.image().packages.iter().cloned());
    let (environment, more_mounts) = surroundings(project, input)?;
    let mut mounts = vec![
        RunMount { source: input.to_owned(), target: "/in".to_owned(), read_only: true },
        RunMount { source: output.to_owned(), target: "/out".to_owned(), read_only: false },
    ];
    mounts.extend(more_mounts);
    let argv = [
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
        "--constraint",
        "/in/constraints.txt",
    ];
    Ok(RunRequest {
        image: tool_image(packages, project.archive.clone()),
        argv: argv.map(str::to_owned).to_vec(),
        environment,
        working_dir: "/tmp".to_owned(),
        mounts,
        network: true,
        time_limit: TIME_LIMIT,
    })
}

/// The image of a build tool: packages alone, run as the unprivileged user.
fn tool_image(packages: Vec<String>, archive: ArchiveChoice) -> ImagePlan {
    let inputs = Digest::of(format!("{packages:?} {archive:?}").as_bytes());
    let user = User {
        name: APP_USER.to_owned(),
        uid: APP_UID,
        gid: APP_UID,
        home: "/tmp".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
    };
    ImagePlan {
        packages,
        exclude: Vec::new(),
        archive,
        users: vec![user],
        app: vec![directory("/in"), directory("/out")],
        base_extra: Vec::new(),
        config: ImageConfig { user: format!("{APP_UID}:{APP_UID}"), ..ImageConfig::default() },
        inputs,
        origin: "build container for pip".to_owned(),
        created: Timestamp(0),
    }
}

type Surroundings = (BTreeMap<String, String>, Vec<RunMount>);

/// The caller's pip settings, proxies and certificate authorities, made valid inside: files are
/// copied into the directory that becomes `/in`.
fn surroundings(project: &Project, input: &Path) -> Result<Surroundings, BuildError> {
    let ctx = project.ctx;
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), "/tmp".to_owned()),
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("SOURCE_DATE_EPOCH".to_owned(), "315532800".to_owned()),
    ]);
    let mut mounts = Vec::new();
    let passed = |name: &str| PASSED_ON.contains(&name) || name.starts_with("PIP_");
    for (name, value) in ctx.environment.iter().filter(|(name, _)| passed(name)) {
        environment.insert(name.clone(), value.clone());
        if name == "PIP_FIND_LINKS" && Path::new(value).is_dir() {
            mounts.push(RunMount { source: PathBuf::from(value), target: value.clone(), read_only: true });
        }
    }
    let mut bundles = CA_VARIABLES.iter().filter_map(|name| ctx.variable(name));
    if let Some(bundle) = bundles.find(|path| Path::new(path).is_file()) {
        copy(Path::new(bundle), &input.join("ca.pem"))?;
        environment.extend(CA_VARIABLES.iter().map(|name| ((*name).to_owned(), "/in/ca.pem".to_owned())));
    }
    environment.remove("PIP_CONFIG_FILE");
    if let Some(file) = configuration_files(ctx).into_iter().next() {
        copy(&file, &input.join("pip.conf"))?;
        environment.insert("PIP_CONFIG_FILE".to_owned(), "/in/pip.conf".to_owned());
    }
    Ok((environment, mounts))
}

/// The copy can be read by the build container's user.
fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o644)))
        .map_err(BuildError::io(format!("copy {} for the build container", from.display())))
}

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
    let is_error =
        |line: &&String| line.trim_start().starts_with("ERROR:") || line.trim_start().starts_with("error:");
    let reason = last.iter().find(is_error).or(last.back()).map_or("no output", |line| line.trim());
    let reason = reason.trim_start_matches("ERROR: ").trim_start_matches("error: ");
    let compiles = last.iter().any(|line| {
        line.contains("gcc") || line.contains("Python.h") || line.contains("Failed building wheel")
    });
    let hint = if compiles {
        "a package has to be compiled: name what that takes with `x-juchu: {image: {packages: [gcc, python3-dev]}}`"
    } else {
        "try the same with `pip wheel -r requirements.txt`; PIP_* settings and proxies of this shell are passed on"
    };
    BuildError::input_hint(
        format!("pip could not get the requirements of {}: {reason}", project.place()),
        hint,
    )
}

fn open_to_all(path: &Path) -> Result<(), BuildError> {
    // The parent is ours alone, so nobody else on this host reaches it.
    let parent = path.parent().unwrap_or(path);
    fs::set_permissions(parent, Permissions::from_mode(0o700))
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o777)))
        .map_err(BuildError::io(format!("open {} to the build container", path.display())))
}
