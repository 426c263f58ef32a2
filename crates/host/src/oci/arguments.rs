//! The command line of OCI runtimes, as far as engines use it.

mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use words::Words;

#[derive(Debug, PartialEq)]
pub struct Global {
    pub root: PathBuf,
    pub log: Option<PathBuf>,
    pub log_json: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self { root: "/run/juchu-oci".into(), log: None, log_json: false }
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Create {
    pub id: String,
    pub bundle: PathBuf,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub preserve_fds: i32,
    pub no_pivot: bool,
    pub detach: bool,
    pub keep: bool,
}

#[derive(Debug, Default, PartialEq)]
pub struct Exec {
    pub id: String,
    pub process: Option<PathBuf>,
    pub detach: bool,
    pub tty: bool,
    pub pid_file: Option<PathBuf>,
    pub console_socket: Option<PathBuf>,
    pub cwd: Option<String>,
    pub environment: Vec<String>,
    pub user: Option<String>,
    pub groups: Vec<u32>,
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    pub preserve_fds: i32,
    /// Below the container's own group: `PATH`, or `CONTROLLER,…:PATH` on hosts with v1.
    pub cgroups: Vec<String>,
    /// Also into a container that is paused; it begins when that ends.
    pub ignore_paused: bool,
    pub argv: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub enum Invocation {
    Help,
    Version,
    Features,
    Create(Create),
    Run(Create),
    Start { id: String },
    State { id: String },
    Kill { id: String, signal: String, all: bool },
    Delete { id: String, force: bool },
    List { json: bool, quiet: bool },
    Pause { id: String, frozen: bool },
    Exec(Exec),
}

fn unknown(option: &str) -> String {
    format!("`{option}` is not an option here; `juchu oci --help` lists them")
}

pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Global, Invocation), String> {
    let all: Result<Vec<String>, _> = arguments.into_iter().map(OsString::into_string).collect();
    let all = all.map_err(|odd| format!("`{}` is not UTF-8", odd.display()))?;
    let mut words = Words::new(all);
    let mut global = Global::default();
    while let Some(option) = words.option()? {
        match option.as_str() {
            "--root" => global.root = words.value("--root")?.into(),
            "--log" | "-l" => global.log = Some(words.value("--log")?.into()),
            "--log-format" => global.log_json = words.value("--log-format")? == "json",
            "--debug" => {}
            "--rootless" => drop(words.value("--rootless")?),
            "--systemd-cgroup" if words.is_set() => {
                return Err("--systemd-cgroup is not supported; use the engine's cgroupfs manager".to_owned());
            }
            "--systemd-cgroup" => {}
            "--version" | "-v" => return Ok((global, Invocation::Version)),
            "--help" | "-h" => return Ok((global, Invocation::Help)),
            _ => return Err(unknown(&option)),
        }
    }
    let Some(command) = words.word() else { return Ok((global, Invocation::Help)) };
    let invocation = parse_command(&command, &mut words)?;
    words.end()?;
    Ok((global, invocation))
}

fn parse_command(command: &str, words: &mut Words) -> Result<Invocation, String> {
    Ok(match command {
        "create" => Invocation::Create(parse_create(words)?),
        "run" => Invocation::Run(parse_create(words)?),
        "exec" => Invocation::Exec(parse_exec(words)?),
        "start" => Invocation::Start { id: only_id(words)? },
        "state" => Invocation::State { id: only_id(words)? },
        "pause" => Invocation::Pause { id: only_id(words)?, frozen: true },
        "resume" => Invocation::Pause { id: only_id(words)?, frozen: false },
        "kill" => {
            let all = flag(words, &["-a", "--all"])?;
            let id = words.id()?;
            Invocation::Kill { id, signal: words.word().unwrap_or_else(|| "SIGTERM".to_owned()), all }
        }
        "delete" => Invocation::Delete { force: flag(words, &["-f", "--force"])?, id: words.id()? },
        "list" => parse_list(words)?,
        "features" => Invocation::Features,
        "help" => Invocation::Help,
        other => return Err(format!("`{other}` is not a command; `juchu oci --help` lists them")),
    })
}

fn only_id(words: &mut Words) -> Result<String, String> {
    match words.option_anywhere()? {
        Some(option) => Err(unknown(&option)),
        None => words.id(),
    }
}

fn flag(words: &mut Words, names: &[&str]) -> Result<bool, String> {
    let mut set = false;
    while let Some(option) = words.option_anywhere()? {
        if !names.contains(&option.as_str()) {
            return Err(unknown(&option));
        }
        set = words.is_set();
    }
    Ok(set)
}

fn parse_list(words: &mut Words) -> Result<Invocation, String> {
    let (mut json, mut quiet) = (false, false);
    while let Some(option) = words.option_anywhere()? {
        match option.as_str() {
            "-f" | "--format" => json = words.value("--format")? == "json",
            "-q" | "--quiet" => quiet = true,
            _ => return Err(unknown(&option)),
        }
    }
    Ok(Invocation::List { json, quiet })
}

fn parse_create(words: &mut Words) -> Result<Create, String> {
    let mut create = Create { bundle: ".".into(), ..Create::default() };
    while let Some(option) = words.option_anywhere()? {
        match option.as_str() {
            "-b" | "--bundle" => create.bundle = words.value("--bundle")?.into(),
            "--pid-file" => create.pid_file = Some(words.value("--pid-file")?.into()),
            "--console-socket" => create.console_socket = Some(words.value("--console-socket")?.into()),
            "--preserve-fds" => create.preserve_fds = words.number("--preserve-fds")?,
            "--no-pivot" => create.no_pivot = true,
            // Sessions of kernel keys are not made, so there is none to leave out.
            "--no-new-keyring" => {}
            "-d" | "--detach" => create.detach = true,
            "--keep" => create.keep = true,
            _ => return Err(unknown(&option)),
        }
    }
    create.id = words.id()?;
    Ok(create)
}

fn parse_exec(words: &mut Words) -> Result<Exec, String> {
    let mut exec = Exec::default();
    while let Some(option) = words.option()? {
        match option.as_str() {
            "-p" | "--process" => exec.process = Some(words.value("--process")?.into()),
            "-d" | "--detach" => exec.detach = true,
            "-t" | "--tty" => exec.tty = true,
            "--pid-file" => exec.pid_file = Some(words.value("--pid-file")?.into()),
            "--console-socket" => exec.console_socket = Some(words.value("--console-socket")?.into()),
            "--cwd" => exec.cwd = Some(words.value("--cwd")?),
            "-e" | "--env" => exec.environment.push(words.value("--env")?),
            "-u" | "--user" => exec.user = Some(words.value("--user")?),
            "-g" | "--additional-gids" => exec.groups.push(words.number("--additional-gids")? as u32),
            "-c" | "--cap" => exec.capabilities.push(words.value("--cap")?),
            "--cgroup" => exec.cgroups.push(words.value("--cgroup")?),
            "--ignore-paused" => exec.ignore_paused = words.is_set(),
            "--no-new-privs" => exec.no_new_privileges = true,
            "--preserve-fds" => exec.preserve_fds = words.number("--preserve-fds")?,
            _ => return Err(unknown(&option)),
        }
    }
    exec.id = words.id()?;
    exec.argv = words.remaining();
    if exec.argv.first().is_some_and(|word| word == "--") {
        exec.argv.remove(0);
    }
    if exec.argv.is_empty() && exec.process.is_none() {
        return Err("the command is missing".to_owned());
    }
    Ok(exec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(Global, Invocation), String> {
        parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_lines_of_engines_are_understood() {
        let (global, create) = parsed(
            "--log-format=json --log /l --root /r create --bundle /b --pid-file /p --console-socket=/c --no-pivot abc.1",
        )
        .unwrap();
        assert_eq!(global, Global { root: "/r".into(), log: Some("/l".into()), log_json: true });
        let Invocation::Create(create) = create else { panic!() };
        assert_eq!(
            (create.id.as_str(), create.bundle.to_str(), create.no_pivot),
            ("abc.1", Some("/b"), true)
        );
        assert_eq!(create.console_socket, Some("/c".into()));
        let kill = || Invocation::Kill { id: "a".into(), signal: "9".into(), all: true };
        assert_eq!(parsed("kill --all a 9").unwrap().1, kill());
        assert_eq!(parsed("kill a 9 --all").unwrap().1, kill());
        let Invocation::Create(create) = parsed("create a --bundle /b --no-pivot").unwrap().1 else {
            panic!()
        };
        assert_eq!((create.id.as_str(), create.bundle.to_str(), create.no_pivot), ("a", Some("/b"), true));
        let Invocation::Exec(exec) = parsed("exec -u 1:2 -e A=b a ls -l --x").unwrap().1 else { panic!() };
        assert_eq!(exec.argv, ["ls", "-l", "--x"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expect) in [
            ("nope", "`nope` is not a command"),
            ("create", "the container's id is missing"),
            ("create ../x", "`../x` is not a container id"),
            ("start --x a", "`--x` is not an option here"),
            ("start a b", "`b` is one word too many"),
            ("create --preserve-fds -1 a", "--preserve-fds takes a number"),
            ("--systemd-cgroup create a", "--systemd-cgroup is not supported"),
            ("exec a", "the command is missing"),
        ] {
            let problem = parsed(text).expect_err(text);
            assert!(problem.starts_with(expect), "{text}: {problem}");
        }
    }
}
