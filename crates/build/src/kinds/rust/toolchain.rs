//! Which compiler a build container gets: the one that `rustc` of this machine stands for, mounted
//! from its own directory, or Debian's packages.

use crate::BuildError;
use crate::job::go_on;
use crate::kinds::elf::Elf;
use crate::kinds::settings::Project;
use crate::kinds::suite::Suite;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// rustup may fetch a toolchain before it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
const ANSWER_MAX: u64 = 64 << 10;
const POLL: Duration = Duration::from_millis(50);
/// Directories that hold a toolchain and everything else.
const SHARED: &[&str] = &["/", "/usr", "/usr/local"];

#[derive(Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// Complete in a directory of its own, as rustup keeps them.
    Mounted(PathBuf),
    /// `cargo` and `rustc` of the suite.
    Packages,
}

pub fn find(project: &Project) -> Result<Toolchain, BuildError> {
    let channel = channel(project)?;
    let Some(sysroot) = sysroot(project, channel.as_deref())? else {
        return match channel {
            Some(channel) => Err(missing(project, &channel)),
            None => Ok(Toolchain::Packages),
        };
    };
    if is_usable(project, &sysroot) {
        return Ok(Toolchain::Mounted(sysroot));
    }
    if let Some(channel) = channel {
        project.ctx.say(&format!("warning: the toolchain {channel} that the project names cannot be given to a build container; it is compiled by Debian's Rust"));
    }
    Ok(Toolchain::Packages)
}

/// What `rust-toolchain.toml` or `rust-toolchain` says. A directory is refused: its programs would
/// be run outside of the container to ask them.
fn channel(project: &Project) -> Result<Option<String>, BuildError> {
    let tree = project.tree()?;
    let (file, text) = match (tree.text("rust-toolchain")?, tree.text("rust-toolchain.toml")?) {
        (Some(text), _) => ("rust-toolchain", text),
        (None, Some(text)) => ("rust-toolchain.toml", text),
        (None, None) => return Ok(None),
    };
    let table: Option<toml::Table> = toml::from_str(&text).ok();
    let stated = match table.as_ref().and_then(|table| table.get("toolchain")) {
        Some(toolchain) if toolchain.get("path").is_some() => return Err(by_path(project, file)),
        Some(toolchain) => toolchain.get("channel").and_then(|channel| channel.as_str()).map(str::to_owned),
        None => Some(text.trim().to_owned()),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match stated {
        Some(channel) if channel.is_empty() || !channel.chars().all(plain) => Err(by_path(project, file)),
        stated => Ok(stated),
    }
}

fn by_path(project: &Project, file: &str) -> BuildError {
    BuildError::input_hint(
        format!("{file} in {} names no released toolchain", project.place()),
        "name one, such as `channel = \"1.90\"`, or compile outside of a container with \
         `x-juchu: {build: {host: true}}`",
    )
}

fn missing(project: &Project, channel: &str) -> BuildError {
    BuildError::input_hint(
        format!("{} names the Rust toolchain {channel}, which this machine does not have", project.place()),
        format!("run `rustup toolchain install {channel}`, or leave the choice to Juchu without that file"),
    )
}

/// What `rustc --print sysroot` answers; `None` without a rustc that answers. It is never asked
/// within the project, whose files could name another program.
fn sysroot(project: &Project, channel: Option<&str>) -> Result<Option<PathBuf>, BuildError> {
    let mut command = Command::new("rustc");
    command.args(["--print", "sysroot"]).current_dir("/").process_group(0);
    command.env_clear().envs(project.ctx.environment).env_remove("RUSTUP_TOOLCHAIN");
    if let Some(channel) = channel.or(project.ctx.variable("RUSTUP_TOOLCHAIN")) {
        command.env("RUSTUP_TOOLCHAIN", channel);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Whatever keeps it from starting, Debian's is there.
    let Ok(mut child) = command.spawn() else { return Ok(None) };
    let out = child.stdout.take().expect("standard output is piped");
    let (sender, answer) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.take(ANSWER_MAX).read_to_string(&mut text);
        // Who waited may have given up.
        let _ = sender.send(read.map(|_| text));
    });
    let began = Instant::now();
    let said = loop {
        match (answer.recv_timeout(POLL), go_on(project.ctx.job.cancel)) {
            (Ok(said), Ok(())) => break said.ok(),
            (Err(_), Ok(())) if began.elapsed() < ANSWER_LIMIT => {}
            (_, going) => {
                if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return going.map(|()| None);
            }
        }
    };
    let succeeded = child.wait().is_ok_and(|status| status.success());
    Ok(said.filter(|_| succeeded).map(|text| PathBuf::from(text.trim())).filter(|path| path.is_absolute()))
}

/// Whether it is complete, in a directory of its own, and made for the C library of the suite.
fn is_usable(project: &Project, sysroot: &Path) -> bool {
    let Ok(sysroot) = sysroot.canonicalize() else { return false };
    if SHARED.iter().any(|shared| sysroot == Path::new(shared)) {
        return false;
    }
    let glibc = Suite::find(&project.archive.suite).map(|suite| suite.glibc);
    ["cargo", "rustc"].iter().all(|name| {
        let Ok(Some(elf)) = Elf::read(&sysroot.join("bin").join(name)) else { return false };
        let is_musl = elf.interpreter.as_ref().is_none_or(|interpreter| interpreter.contains("musl"));
        elf.machine == Some(project.ctx.machine)
            && !is_musl
            && elf.glibc.zip(glibc).is_none_or(|(wanted, has)| wanted <= has)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::Fixture;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A machine whose `rustc` answers `sysroot`, for the toolchain 1.80 or without one.
    fn machine(sysroot: &Path) -> Fixture {
        let fixture = Fixture::new().file("Cargo.toml", "");
        let rustc = fixture.cache().join("rustc");
        let script = format!(
            "#!/bin/sh\ncase \"$RUSTUP_TOOLCHAIN\" in ''|1.80) echo '{}';; *) exit 1;; esac\n",
            sysroot.display()
        );
        fs::write(&rustc, script).unwrap();
        fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
        let path = fixture.cache().display().to_string();
        fixture.variable("PATH", &path)
    }

    fn found(fixture: &Fixture) -> Result<Toolchain, String> {
        fixture
            .with(|project| find(project).map_err(|error| error.to_string().replace(&project.place(), "DIR")))
    }

    #[test]
    fn a_toolchain_in_a_directory_of_its_own_is_mounted_and_others_are_debians() {
        let own = testkit::TempDir::new();
        fs::create_dir(own.path().join("bin")).unwrap();
        for name in ["cargo", "rustc"] {
            fs::copy(std::env::current_exe().unwrap(), own.path().join("bin").join(name)).unwrap();
        }
        assert_eq!(found(&machine(own.path())), Ok(Toolchain::Mounted(own.path().to_owned())));
        assert_eq!(found(&machine(Path::new("/usr"))), Ok(Toolchain::Packages));
        fs::write(own.path().join("bin/cargo"), "#!/bin/sh\n").unwrap();
        assert_eq!(found(&machine(own.path())), Ok(Toolchain::Packages));
        let none = Fixture::new().file("Cargo.toml", "").variable("PATH", "/nonexistent");
        assert_eq!(found(&none), Ok(Toolchain::Packages));
    }

    #[test]
    fn a_project_names_a_release_and_no_program() {
        let usr = Path::new("/usr");
        let named = |text: &str| found(&machine(usr).file("rust-toolchain.toml", text));
        assert_eq!(named("[toolchain]\nchannel = \"1.80\"\n"), Ok(Toolchain::Packages));
        let missing = named("[toolchain]\nchannel = \"1.2\"\n").unwrap_err();
        assert_eq!(missing, "DIR names the Rust toolchain 1.2, which this machine does not have");
        for text in ["[toolchain]\npath = \"evil\"\n", "[toolchain]\nchannel = \"../evil\"\n", "./evil"] {
            let error = named(text).unwrap_err();
            assert_eq!(error, "rust-toolchain.toml in DIR names no released toolchain");
        }
    }
}
