//! A Rust project: compiled by the host's own cargo, with its output kept in the cache and never in
//! the project; the program gets the Debian packages of the libraries it names.

use super::binary::add_packages;
use super::cache::Cache;
use super::draft::{APP_DIRECTORY, Draft, directory, file_from};
use super::libraries::packages_for;
use super::settings::Project;
use super::tree::file_digest;
use crate::BuildError;
use model::Digest;
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Directories beside a program that it usually reads while running.
const ASSET_DIRECTORIES: &[&str] = &["static", "templates", "assets", "migrations", "public", "config"];
const DIAGNOSTIC_LINES_KEPT: usize = 40;
const MESSAGE_LINE_LIMIT: u64 = 64 << 20;

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
    let (binaries, said) = std::thread::scope(|scope| {
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
        (binaries, listener.join().unwrap_or_default())
    });
    let status = child.wait().map_err(BuildError::io("wait for cargo"))?;
    if status.success() {
        return Ok(binaries);
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
