//! Running a language's own tool in a build container: its image, the caller's proxies and
//! certificates made valid inside, and what it said when it failed.

use super::draft::{APP_UID, APP_USER, directory};
use super::runner::{RunMount, RunRequest};
use super::settings::{Context, Project};
use crate::BuildError;
use crate::plan::{Entry, ImagePlan, User};
use model::image::ImageConfig;
use model::{Digest, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Lines of output kept for the message of a failure.
const LINES_KEPT: usize = 60;
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];
const CA_VARIABLES: &[&str] =
    &["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];

/// One run of a tool. `/in` is read-only, what is written to `/out` is the result.
pub struct Tool<'a> {
    pub project: &'a Project<'a>,
    /// For messages: `pip`, `the build script`.
    pub name: &'a str,
    pub packages: Vec<String>,
    /// Files of its image beside the packages.
    pub files: Vec<Entry>,
    pub argv: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: &'a str,
    pub network: bool,
    pub input: &'a Path,
    pub output: &'a Path,
    pub mounts: Vec<RunMount>,
}

/// Why there is no result.
pub enum Failed {
    TimedOut,
    /// No container could be run.
    Runner(String),
    /// The tool ended with another code than 0; what it said last.
    Said(VecDeque<String>),
}

impl Tool<'_> {
    /// Runs it to its end; lines that `is_shown` lets pass are told as progress.
    pub fn run(self, is_shown: &dyn Fn(&str) -> bool) -> Result<(), Failed> {
        let ctx = self.project.ctx;
        let mut packages = self.packages;
        packages.extend(self.project.spec.tools.packages.iter().cloned());
        let mut mounts = vec![
            RunMount { source: self.input.to_owned(), target: "/in".to_owned(), read_only: true },
            RunMount { source: self.output.to_owned(), target: "/out".to_owned(), read_only: false },
        ];
        mounts.extend(self.mounts);
        let request = RunRequest {
            image: image(self.name, packages, self.files, self.project),
            argv: self.argv,
            environment: self.environment,
            working_dir: self.working_dir.to_owned(),
            mounts,
            network: self.network,
            time_limit: self.project.time_limit(),
        };
        let mut last: VecDeque<String> = VecDeque::new();
        let outcome = ctx.runner.run(&request, &mut |line| {
            if is_shown(line) {
                ctx.say(line.trim());
            }
            last.push_back(line.to_owned());
            if last.len() > LINES_KEPT {
                last.pop_front();
            }
        });
        match outcome {
            Ok(outcome) if outcome.timed_out => Err(Failed::TimedOut),
            Ok(outcome) if outcome.code == 0 => Ok(()),
            Ok(_) => Err(Failed::Said(last)),
            Err(error) => Err(Failed::Runner(error.to_string())),
        }
    }
}

/// The image of a build tool: packages, and files that its unprivileged user may change.
fn image(name: &str, packages: Vec<String>, files: Vec<Entry>, project: &Project) -> ImagePlan {
    let archive = project.archive.clone();
    let inputs = Digest::of(format!("{name} {packages:?} {archive:?} {}", project.fingerprint).as_bytes());
    let user = User {
        name: APP_USER.to_owned(),
        uid: APP_UID,
        gid: APP_UID,
        home: "/tmp".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
    };
    let own = |entry: Entry| Entry { uid: APP_UID, gid: APP_UID, ..entry };
    let app = files.into_iter().chain([directory("/in"), directory("/out")]).map(own);
    ImagePlan {
        packages,
        exclude: Vec::new(),
        archive,
        users: vec![user],
        app: app.collect(),
        base_extra: Vec::new(),
        config: ImageConfig { user: format!("{APP_UID}:{APP_UID}"), ..ImageConfig::default() },
        inputs,
        origin: format!("build container for {name}"),
        created: Timestamp(0),
    }
}

/// Variables for a tool: the caller's proxies and those that begin with one of `prefixes`;
/// certificate authorities are copied into the directory that becomes `/in`.
pub fn environment(
    ctx: &Context,
    prefixes: &[&str],
    input: &Path,
) -> Result<BTreeMap<String, String>, BuildError> {
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), "/tmp".to_owned()),
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
        ("SOURCE_DATE_EPOCH".to_owned(), "315532800".to_owned()),
    ]);
    let passed =
        |name: &str| PROXIES.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix));
    environment
        .extend(ctx.environment.iter().filter(|(name, _)| passed(name)).map(|(n, v)| (n.clone(), v.clone())));
    let mut bundles = CA_VARIABLES.iter().filter_map(|name| ctx.variable(name));
    if let Some(bundle) = bundles.find(|path| Path::new(path).is_file()) {
        copy(Path::new(bundle), &input.join("ca.pem"))?;
        environment.extend(CA_VARIABLES.iter().map(|name| ((*name).to_owned(), "/in/ca.pem".to_owned())));
    }
    Ok(environment)
}

/// The copy can be read by the build container's user.
pub fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::copy(from, to)
        .and_then(|_| fs::set_permissions(to, Permissions::from_mode(0o644)))
        .map_err(BuildError::io(format!("copy {} for the build container", from.display())))
}

/// Makes `path` writable for the build container's user. Its parent is ours alone, so nobody else
/// on this host reaches it.
pub fn open_to_all(path: &Path) -> Result<(), BuildError> {
    let parent = path.parent().unwrap_or(path);
    fs::set_permissions(parent, Permissions::from_mode(0o700))
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o777)))
        .map_err(BuildError::io(format!("open {} to the build container", path.display())))
}

/// Directories for `/in` and `/out` in a scratch directory.
pub fn directories(scratch: &Path) -> Result<(PathBuf, PathBuf), BuildError> {
    let (input, output) = (scratch.join("in"), scratch.join("out"));
    crate::durable::create_directories(&input)?;
    crate::durable::create_directories(&output)?;
    open_to_all(&output)?;
    Ok((input, output))
}

/// The line that says most: the first that begins with a word for an error, else the last.
pub fn reason(last: &VecDeque<String>) -> String {
    let is_error = |line: &&String| {
        let line = line.trim_start().to_ascii_lowercase();
        ["error", "npm error", "[error", "✘ [error"].iter().any(|word| line.starts_with(word))
    };
    let line = last.iter().find(is_error).or(last.iter().rev().find(|line| !line.trim().is_empty()));
    line.map_or("no output", |line| line.trim())
        .trim_start_matches("ERROR: ")
        .trim_start_matches("error: ")
        .to_owned()
}
