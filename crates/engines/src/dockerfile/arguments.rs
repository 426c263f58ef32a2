//! The command lines of the tools: from scratch every time, with what the Compose file declares.

use super::run_root::RunRoot;
use super::tool::{Kind, Tool};
use super::{Request, buildkit};
use model::{ErrorKind, Report};
use std::path::{Path, PathBuf};

/// The name of the image in the tool's own store, where it is the only one.
const NAME: &str = "juchu-build";
/// An overlay cannot lie on these.
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Where one build works.
pub struct Place {
    pub scratch: PathBuf,
    pub run: RunRoot,
    pub context: PathBuf,
    pub file: PathBuf,
    /// The Dockerfile as people know it.
    pub shown: String,
    pub text: String,
    pub registries: Option<PathBuf>,
    /// Where the image is written to.
    pub out: PathBuf,
}

/// Arguments, and variables that they read, which no process list shows.
pub struct Line {
    pub arguments: Vec<String>,
    pub variables: Vec<(String, String)>,
}

/// Variables of a tool's own, which no build argument may change.
pub const OWN_VARIABLES: [&str; 5] =
    ["PATH", "HOME", "TMPDIR", "CONTAINERS_REGISTRIES_CONF", "BUILDAH_ISOLATION"];

pub fn build(tool: &Tool, request: &Request<'_>, place: &Place) -> Result<Line, Report> {
    let spec = request.spec;
    let mut line = Line { arguments: of_store(place), variables: Vec::new() };
    let verb = match tool.kind {
        Kind::Buildah => "bud",
        Kind::Podman => "build",
        Kind::BuildKit => return buildkit::build(request, place),
    };
    // From scratch: no layer of an earlier build, and bases as they are now.
    line.add([verb, "--no-cache", "--pull-always", "--layers=false", "--force-rm"]);
    line.option("--timestamp", epoch(request)?);
    line.option("--tag", NAME);
    line.option("--file", place.file.display());
    isolate(&mut line, tool, request)?;
    if let Some(target) = &spec.target {
        line.option("--target", target);
    }
    if let Some(platform) = spec.platform.as_deref().or(request.platform) {
        line.option("--platform", platform);
    }
    for (name, value) in &spec.args {
        if OWN_VARIABLES.contains(&name.as_str()) || name.contains('=') {
            line.option("--build-arg", format!("{name}={value}"));
        } else {
            line.option("--build-arg", name);
            line.variables.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in &spec.labels {
        line.option("--label", format!("{name}={value}"));
    }
    for (id, path) in &request.secrets {
        line.option("--secret", format!("id={id},src={}", path.display()));
    }
    for (id, path) in &spec.ssh {
        line.option("--ssh", key(id, path, request)?);
    }
    for (name, from) in &spec.additional_contexts {
        line.option("--build-context", format!("{name}={from}"));
    }
    line.arguments.push(place.context.display().to_string());
    Ok(line)
}

/// Writes the image out as a layout; `None` where building did that already.
pub fn write_out(tool: &Tool, place: &Place) -> Option<Line> {
    if tool.kind == Kind::BuildKit {
        return None;
    }
    let mut line = Line { arguments: of_store(place), variables: Vec::new() };
    line.add(["push", "--quiet"]);
    if tool.kind == Kind::Podman {
        line.option("--format", "oci");
    }
    line.arguments.extend([NAME.to_owned(), format!("oci:{}:latest", place.out.display())]);
    Some(line)
}

impl Line {
    pub fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.arguments.extend(words.map(str::to_owned));
    }
    pub fn option(&mut self, name: &str, value: impl std::fmt::Display) {
        self.arguments.extend([name.to_owned(), value.to_string()]);
    }
}

/// A store of its own, so that nothing of an earlier build is seen and nothing stays.
fn of_store(place: &Place) -> Vec<String> {
    let at = |name: &str| place.scratch.join(name).display().to_string();
    let driver = if holds_overlay(&place.scratch) { "overlay" } else { "vfs" };
    let run = place.run.path().display().to_string();
    ["--root", &at("root"), "--runroot", &run, "--storage-driver", driver].map(str::to_owned).to_vec()
}

fn holds_overlay(directory: &Path) -> bool {
    rustix::fs::statfs(directory).is_ok_and(|stat| {
        let kind = stat.f_type;
        kind != OVERLAYFS_MAGIC && kind != TMPFS_MAGIC
    })
}

fn isolate(line: &mut Line, tool: &Tool, request: &Request<'_>) -> Result<(), Report> {
    let network = request.spec.limits.network.unwrap_or(true);
    let Some(runtime) = &tool.runtime else {
        if !network {
            return Err(Report::new(
                ErrorKind::Build,
                "without runc, the commands of a Dockerfile cannot be kept off the network",
            )
            .hint("apt install runc"));
        }
        line.option("--isolation", "chroot");
        return Ok(());
    };
    match tool.kind {
        Kind::Buildah => line.option("--runtime", runtime.display()),
        // There it is an option of the program, not of the command.
        Kind::Podman => {
            let words = [
                "--runtime".to_owned(),
                runtime.display().to_string(),
                "--cgroup-manager=cgroupfs".to_owned(),
            ];
            line.arguments.splice(0..0, words);
        }
        Kind::BuildKit => unreachable!("its line is made elsewhere"),
    }
    line.option("--isolation", "oci");
    line.option("--network", if network { "host" } else { "none" });
    if let Some(group) = request.group {
        line.option("--cgroup-parent", group);
    }
    Ok(())
}

/// The time of every file and of the image.
pub fn epoch(request: &Request<'_>) -> Result<u32, Report> {
    let Some(text) = request.environment.get("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        Report::usage(format!("SOURCE_DATE_EPOCH is `{text}`, which is not a number of seconds since 1970"))
            .hint("unset it, or set it to the time of the commit: `git log -1 --format=%ct`")
    })
}

pub fn key(id: &str, path: &str, request: &Request<'_>) -> Result<String, Report> {
    if !path.is_empty() {
        return Ok(format!("{id}={path}"));
    }
    match request.environment.get("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()) {
        Some(socket) => Ok(format!("{id}={socket}")),
        None => Err(Report::usage(format!("the build wants the key `{id}` of an agent, and there is none"))
            .hint("start one (`eval $(ssh-agent)`), use `juchu build`, or name a file: `ssh: [default=~/.ssh/id_ed25519]`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::image::BuildSpec;
    use std::collections::BTreeMap;

    fn place(scratch: &Path) -> Place {
        Place {
            scratch: scratch.to_owned(),
            run: RunRoot::new(scratch).expect("it can be made"),
            context: "/srv/app".into(),
            file: "/srv/app/Dockerfile".into(),
            shown: "/srv/app/Dockerfile".to_owned(),
            text: String::new(),
            registries: None,
            out: scratch.join("out"),
        }
    }

    fn tool(kind: Kind, runtime: bool) -> Tool {
        Tool { kind, path: "/usr/bin/x".into(), runtime: runtime.then(|| "/usr/sbin/runc".into()) }
    }

    fn line(spec: &BuildSpec, tool: &Tool, environment: &[(&str, &str)]) -> Result<(String, Line), Report> {
        let scratch = tempfile::tempdir().expect("a directory");
        let environment: BTreeMap<_, _> =
            environment.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let request = Request {
            spec,
            platform: Some("linux/amd64"),
            scratch: scratch.path(),
            secrets: vec![("tok", Path::new("/run/tok"))],
            group: Some("/juchu/b1/run"),
            environment: &environment,
        };
        let line = build(tool, &request, &place(scratch.path()))?;
        Ok((line.arguments.join(" "), line))
    }

    #[test]
    fn what_is_declared_is_on_the_line_and_values_of_arguments_are_not() {
        let mut spec = BuildSpec { target: Some("prod".into()), ..BuildSpec::default() };
        spec.args = BTreeMap::from([("VERSION".into(), "hidden-value".into()), ("HOME".into(), "/x".into())]);
        spec.labels.insert("a".into(), "b c".into());
        spec.additional_contexts.insert("lib".into(), "/srv/lib".into());
        spec.ssh.insert("k".into(), "/key".into());
        let (text, line) =
            line(&spec, &tool(Kind::Buildah, true), &[("SOURCE_DATE_EPOCH", "7")]).expect("a line");
        for expected in [
            "bud --no-cache --pull-always --layers=false",
            "--timestamp 7",
            "--target prod",
            "--platform linux/amd64",
            "--build-arg VERSION",
            "--build-arg HOME=/x",
            "--label a=b c",
            "--secret id=tok,src=/run/tok",
            "--ssh k=/key",
            "--build-context lib=/srv/lib",
            "--isolation oci --network host --cgroup-parent /juchu/b1/run",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("hidden-value") && text.ends_with(" /srv/app"), "{text}");
        assert_eq!(line.variables, [("VERSION".to_owned(), "hidden-value".to_owned())]);
    }

    #[test]
    fn without_a_runtime_a_build_is_not_cut_off_and_says_so() {
        let mut spec = BuildSpec::default();
        let (text, _) = line(&spec, &tool(Kind::Podman, false), &[]).expect("a line");
        assert!(text.contains("--isolation chroot") && !text.contains("--network"), "{text}");
        spec.limits.network = Some(false);
        assert!(line(&spec, &tool(Kind::Podman, false), &[]).is_err());
        let (text, _) = line(&spec, &tool(Kind::Podman, true), &[]).expect("a line");
        assert!(text.starts_with("--runtime /usr/sbin/runc") && text.contains("--network none"), "{text}");
    }

    #[test]
    fn what_cannot_be_is_told() {
        let mut spec = BuildSpec::default();
        let said = |spec: &BuildSpec, environment: &[(&str, &str)]| {
            line(spec, &tool(Kind::Buildah, true), environment).map(|_| ()).expect_err("refused").error
        };
        assert!(said(&spec, &[("SOURCE_DATE_EPOCH", "soon")]).contains("`soon`"));
        spec.ssh.insert("default".into(), String::new());
        assert!(said(&spec, &[]).contains("the key `default` of an agent"));
    }
}
