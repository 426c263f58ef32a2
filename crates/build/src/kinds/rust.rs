//! A Rust project: compiled by the host's own cargo, with its output kept in the cache and never in
//! the project; the program gets the Debian packages of the libraries it names.

use super::binary::add_packages;
use super::cache::Cache;
use super::draft::{APP_DIRECTORY, Draft, directory, file_from};
use super::libraries::packages_for;
use super::settings::Project;
use super::tree::file_digest;
use crate::BuildError;
use crate::job::go_on;
use model::Digest;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Directories beside a program that it usually reads while running.
pub const ASSET_DIRECTORIES: &[&str] = &["static", "templates", "assets", "migrations", "public", "config"];
const DIAGNOSTIC_LINES_KEPT: usize = 40;
const MESSAGE_LINE_LIMIT: u64 = 64 << 20;
const CANCEL_CHECK: Duration = Duration::from_millis(100);
/// Crates outside the context that a project may name by path, directly or through others.
const OUTSIDE_LIMIT: usize = 64;

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let built = compile(project)?;
    let name = built.name.clone();
    let target = format!("/usr/local/bin/{name}");
    let kept = keep(project, &built.path)?;
    let mut draft = Draft::default();
    let beside = |_: &str| false;
    add_packages(&mut draft, packages_for(project, &kept.path, &name, &beside)?.unwrap_or_default());
    draft.inputs.push((name, kept.digest));
    draft.app.push(directory(APP_DIRECTORY));
    for asset in ASSET_DIRECTORIES.iter().filter(|asset| tree.below(asset).next().is_some()) {
        draft.add_tree(tree, asset, &format!("{APP_DIRECTORY}/{asset}"));
    }
    draft.app.push(file_from(target.clone(), kept.path, true));
    draft.command = vec![target];
    if !tree.has("Cargo.lock") {
        draft.note("cargo wrote Cargo.lock; keep it with the project, so that every build compiles the same versions");
    }
    Ok(draft)
}

/// The program under a name of its own: the next compilation overwrites cargo's copy.
struct Kept {
    path: PathBuf,
    digest: Digest,
}

fn keep(project: &Project, built: &Path) -> Result<Kept, BuildError> {
    let digest = file_digest(built)?;
    let path = Cache::of(project.ctx).place("programs", digest.hex())?;
    if !path.is_file() {
        let temporary = crate::durable::temporary_beside(&path);
        fs::copy(built, &temporary).map_err(BuildError::io(format!("copy {}", built.display())))?;
        crate::durable::publish(&temporary, &path)?;
    }
    Ok(Kept { path, digest })
}

struct Built {
    name: String,
    path: PathBuf,
}

fn compile(project: &Project) -> Result<Built, BuildError> {
    let tree = project.tree()?;
    let place = Digest::of(tree.root.as_os_str().as_encoded_bytes());
    let target = Cache::of(project.ctx).place("cargo", place.short())?;
    project.ctx.say("compiling with cargo");
    let mut command = Command::new("cargo");
    command.current_dir(&tree.root).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    if tree.has("Cargo.lock") {
        command.arg("--locked");
    }
    if let Some(binary) = project.spec.target.as_deref() {
        command.args(["--bin", binary]);
    }
    // A group of its own, so that giving up also ends the compilers it started.
    command.process_group(0);
    command.env_clear().envs(project.ctx.environment).env("CARGO_TARGET_DIR", &target);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BuildError::input_hint(
            format!("{} is a Rust project, and this machine has no cargo", project.place()),
            "install Rust (`apt install cargo`, or rustup), or build the program elsewhere and use `kind: binary`",
        ),
        _ => BuildError::io("run cargo")(error),
    })?;
    let binaries = follow(project, child)?;
    choose(project, binaries)
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    target: Option<MessageTarget>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
    kind: Vec<String>,
}

/// Reads cargo's messages to the end; answers the programs it made.
fn follow(project: &Project, mut child: Child) -> Result<Vec<Built>, BuildError> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let (done, is_done) = mpsc::channel::<()>();
    let group = Pid::from_raw(child.id().cast_signed());
    let cancel = project.ctx.job.cancel;
    let (binaries, said) = std::thread::scope(|scope| {
        scope.spawn(move || end_when_cancelled(is_done, cancel, group));
        let listener = scope.spawn(move || last_lines(stderr));
        let mut binaries = Vec::new();
        for line in BufReader::new(stdout.take(MESSAGE_LINE_LIMIT)).lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
            if let ("compiler-artifact", Some(target), Some(path)) =
                (message.reason.as_str(), message.target, message.executable)
                && target.kind.iter().any(|kind| kind == "bin")
            {
                binaries.push(Built { name: target.name, path });
            }
        }
        drop(done);
        (binaries, listener.join().unwrap_or_default())
    });
    let status = child.wait().map_err(BuildError::io("wait for cargo"))?;
    go_on(cancel)?;
    if status.success() {
        return Ok(binaries);
    }
    if said.iter().any(|line| line.contains("--locked was passed")) {
        return Err(BuildError::input_hint(
            format!(
                "Cargo.lock does not match Cargo.toml in {}: cargo would have to change it",
                project.place()
            ),
            "run `cargo update --workspace` and keep both files",
        ));
    }
    let first = said.iter().find(|line| line.starts_with("error")).map_or("no message", |line| line.as_str());
    let place = said
        .iter()
        .skip_while(|line| !line.starts_with("error"))
        .find(|line| line.trim_start().starts_with("-->"));
    let place =
        place.map_or(String::new(), |line| format!(" ({})", line.trim_start().trim_start_matches("--> ")));
    Err(BuildError::input_hint(
        format!("cargo could not build {}: {}{place}", project.place(), first.trim_start_matches("error: ")),
        format!("run `cargo build --release` in {} to see everything", project.place()),
    ))
}

/// Returns when cargo has said everything; kills it when somebody gives up before.
fn end_when_cancelled(is_done: mpsc::Receiver<()>, cancel: &AtomicBool, group: Option<Pid>) {
    while is_done.recv_timeout(CANCEL_CHECK) == Err(mpsc::RecvTimeoutError::Timeout) {
        if let (true, Some(group)) = (cancel.load(Ordering::Relaxed), group) {
            // It may have ended by itself in the meantime.
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
    }
}

fn last_lines(stream: impl Read) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        // The first error matters most: what came before it is forgotten, what follows is cut.
        if kept.len() < DIAGNOSTIC_LINES_KEPT || !kept.iter().any(|l: &String| l.starts_with("error")) {
            kept.push_back(line);
        }
        if kept.len() > DIAGNOSTIC_LINES_KEPT {
            kept.pop_front();
        }
    }
    kept
}

/// One program, or the one with the package's name.
fn choose(project: &Project, mut binaries: Vec<Built>) -> Result<Built, BuildError> {
    let own = package_name(project)?;
    if let Some(at) =
        binaries.iter().position(|b| Some(&b.name) == own.as_ref()).filter(|_| binaries.len() > 1)
    {
        return Ok(binaries.swap_remove(at));
    }
    match binaries.len() {
        1 => Ok(binaries.remove(0)),
        0 => Err(BuildError::input_hint(
            format!("{} makes no program, only a library", project.place()),
            "add src/main.rs, or build a package that has one",
        )),
        _ => {
            let names: Vec<&str> = binaries.iter().map(|b| b.name.as_str()).collect();
            Err(BuildError::input_hint(
                format!("{} makes several programs: {}", project.place(), names.join(", ")),
                "choose one with `build: {target: NAME}`",
            ))
        }
    }
}

fn package_name(project: &Project) -> Result<Option<String>, BuildError> {
    let text = project.tree()?.text("Cargo.toml")?.unwrap_or_default();
    let manifest: toml::Table = toml::from_str(&text)
        .map_err(|error| BuildError::input(format!("{}/Cargo.toml: {}", project.place(), error.message())))?;
    Ok(manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).map(str::to_owned))
}

/// What a Rust project reads outside its context: crates named by path, and the manifest and lock
/// of a workspace above it. Their bytes are inputs too.
pub fn outside_inputs(root: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = BTreeSet::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for path in path_dependencies(&directory) {
            if !path.starts_with(root) && found.insert(path.clone()) {
                queue.push(path);
            }
        }
        if found.len() > OUTSIDE_LIMIT {
            return Err(BuildError::input_hint(
                format!("{} names more than {OUTSIDE_LIMIT} crates outside it by path", root.display()),
                "make the directory above them the build context",
            ));
        }
    }
    let manifests =
        root.ancestors().skip(1).flat_map(|above| [above.join("Cargo.toml"), above.join("Cargo.lock")]);
    found.extend(manifests.filter(|path| path.is_file()));
    Ok(found.into_iter().collect())
}

/// Directories that a manifest names with `path = …`, also for targets and the workspace; a
/// manifest that cannot be read is cargo's to complain about.
fn path_dependencies(directory: &Path) -> Vec<PathBuf> {
    fn collect(value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                found.extend(table.get("path").and_then(|path| path.as_str()).map(str::to_owned));
                table.values().for_each(|value| collect(value, found));
            }
            toml::Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    let Ok(manifest) = toml::from_str::<toml::Table>(&text) else { return Vec::new() };
    let mut found = Vec::new();
    collect(&toml::Value::Table(manifest), &mut found);
    found
        .iter()
        .filter_map(|path| directory.join(path).canonicalize().ok())
        .filter(|path| path.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::Fixture;

    fn project(main: &str) -> Fixture {
        let mut fixture = Fixture::new()
            .file(
                "Cargo.toml",
                "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n",
            )
            .file("src/main.rs", main)
            .file("static/a.css", "a");
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"] {
            if let Ok(value) = std::env::var(name) {
                fixture = fixture.variable(name, &value);
            }
        }
        fixture
    }

    #[test]
    fn a_program_is_compiled_outside_the_project() {
        let fixture = project("fn main() { println!(\"hi\") }");
        let before = fixture.fingerprint();
        let plan = fixture.plan().unwrap().plan;
        assert_eq!(plan.config.command, ["/usr/local/bin/hello"]);
        assert!(plan.packages.contains(&"libc6".to_owned()), "{:?}", plan.packages);
        assert!(plan.app.iter().any(|entry| entry.path == "/app/static/a.css"));
        assert!(!fixture.root().join("target").exists());
        // cargo itself wrote Cargo.lock, which is an input like every other file.
        assert!(fixture.root().join("Cargo.lock").exists());
        assert_ne!(fixture.fingerprint(), before);
        let again = fixture.plan().unwrap();
        assert_eq!((again.plan.inputs, again.fingerprint), (plan.inputs, fixture.fingerprint()));
    }

    #[test]
    fn crates_beside_the_project_are_inputs() {
        let fixture = Fixture::new()
            .file("app/Cargo.toml", "[dependencies]\nb = { path = \"../b\" }\n")
            .file("b/Cargo.toml", "[dependencies]\nc = { path = \"../c\" }\n")
            .file("b/src/lib.rs", "")
            .file("c/Cargo.toml", "[package]\nname = \"c\"\n")
            .file("Cargo.toml", "[workspace]\n");
        let root = fixture.root().canonicalize().unwrap();
        let outside = super::outside_inputs(&root.join("app")).unwrap();
        assert_eq!(outside, [root.join("Cargo.toml"), root.join("b"), root.join("c")]);
        let app = fixture.in_directory("app");
        let before = app.fingerprint();
        let app = app.file("b/src/lib.rs", "// changed");
        assert_ne!(app.fingerprint(), before);
    }

    #[test]
    fn giving_up_ends_the_compiler() {
        let fixture = project("fn main() {}").file("build.rs", "fn main() { loop { std::thread::park() } }");
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let target = fixture.cache().join("cargo");
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                testkit::wait_until(std::time::Duration::from_secs(60), "cargo to start", || target.is_dir());
                cancel.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            fixture.plan_until(&cancel).unwrap_err()
        });
        assert!(matches!(error, crate::BuildError::Cancelled), "{error}");
    }

    #[test]
    fn a_lock_of_another_manifest_is_an_error_that_names_both() {
        let lock = "version = 4\n\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\n";
        let error = project("fn main() {}").file("Cargo.lock", lock).plan().unwrap_err().to_string();
        assert!(error.starts_with("Cargo.lock does not match Cargo.toml in "), "{error}");
    }

    #[test]
    fn an_error_of_the_compiler_is_one_sentence() {
        let error = project("fn main() { let x: u8 = \"no\"; }").plan().unwrap_err().to_string();
        assert!(error.contains("mismatched types") && error.contains("src/main.rs:1"), "{error}");
    }

    #[test]
    fn without_cargo_the_message_says_how_to_get_it() {
        let mut fixture = project("fn main() {}");
        fixture.environment.insert("PATH".into(), "/nonexistent".into());
        let error = fixture.plan().unwrap_err();
        assert!(error.to_string().contains("this machine has no cargo"), "{error}");
        assert!(error.report().hints[0].contains("install"));
    }
}
