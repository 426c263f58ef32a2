//! Finds the daemon, and starts it for those commands that need one.

use super::screen::Screen;
use crate::home::Home;
use console::client::{Client, ClientError};
use model::Report;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A daemon that has not answered by then does not start.
const START_LIMIT: Duration = Duration::from_secs(15);
const START_POLL: Duration = Duration::from_millis(10);
/// When our child ends at once, perhaps another one was quicker; it gets so long to answer.
const OTHER_LIMIT: Duration = Duration::from_secs(2);
/// Of the log, when the start fails.
const LOG_LINES: usize = 10;
const LOG_TAIL: u64 = 16 << 10;

/// A daemon that runs.
pub async fn running(home: &Home) -> Result<Client, ClientError> {
    Ok(Client::connect(&home.socket()).await?.on_behalf_of(sudo_user()))
}

/// A daemon that runs, started if need be.
pub async fn started(home: &Home, screen: &Screen) -> Result<Client, Report> {
    match running(home).await {
        Ok(client) => Ok(client),
        Err(ClientError::NotRunning) => {
            let client = start(home, &Options::default()).await?;
            screen.note("the daemon was started; it goes on when this command ends");
            Ok(client)
        }
        Err(error) => Err(error.into()),
    }
}

fn sudo_user() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|login| login.bytes().all(|b| b.is_ascii_graphic()))
}

/// How a daemon is to be started, beyond its environment: its own arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<OsString>);

impl Options {
    /// Those that say where the console of a running daemon listens; none when they cannot be read.
    pub fn of(pid: u32) -> Self {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        Self::from_process(&read("cmdline"), &read("environ"))
    }

    /// Each text is closed by a zero. What was typed wins over the environment.
    fn from_process(command_line: &[u8], environment: &[u8]) -> Self {
        let mut words = command_line.split(|byte| *byte == 0).skip(1);
        while let Some(word) = words.next() {
            let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            match word {
                b"--no-console" => return Self(vec![own(word)]),
                b"--console" => {
                    return Self(words.next().map(|at| vec![own(word), own(at)]).unwrap_or_default());
                }
                _ if word.starts_with(b"--console=") => return Self(vec![own(word)]),
                _ => {}
            }
        }
        let mut variables = environment.split(|byte| *byte == 0);
        let address = variables.find_map(|variable| variable.strip_prefix(b"JUCHU_CONSOLE="));
        Self(address.map(|at| vec!["--console".into(), OsStr::from_bytes(at).to_owned()]).unwrap_or_default())
    }
}

/// Starts the daemon of this program; somebody else's that is there first will do, too.
pub async fn start(home: &Home, options: &Options) -> Result<Client, Report> {
    let (log, written) = open_log(home)?;
    let mut child = spawn(log, options)?;
    let mut until = Instant::now() + START_LIMIT;
    let mut ended = None;
    loop {
        match running(home).await {
            Ok(client) => return Ok(client),
            Err(ClientError::NotRunning) => {}
            Err(error) => return Err(error.into()),
        }
        if ended.is_none() {
            ended = child.try_wait().map_err(|e| Report::internal(format!("wait for the daemon: {e}")))?;
            if ended.is_some() {
                until = until.min(Instant::now() + OTHER_LIMIT);
            }
        }
        if Instant::now() >= until {
            return Err(not_started(home, ended, written));
        }
        sleep(START_POLL).await;
    }
}

/// The log, and where it ended before.
fn open_log(home: &Home) -> Result<(File, u64), Report> {
    let path = home.daemon_log();
    let open = || -> io::Result<(File, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&home.state)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let written = file.metadata()?.len();
        Ok((file, written))
    };
    open().map_err(|error| {
        Report::environment(format!("the daemon's log {} cannot be written: {error}", path.display()))
            .hint("the directory must be writable; JUCHU_HOME names another")
    })
}

/// The same program in its daemon role; it leaves our session itself.
fn spawn(log: File, options: &Options) -> Result<Child, Report> {
    let failed = |error: io::Error| Report::environment(format!("the daemon cannot be run: {error}"));
    let program = crate::program::path().map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["daemon", "--detached"]).args(&options.0);
    if !options.0.is_empty() {
        // Said twice, it would be a mistake.
        command.env_remove("JUCHU_CONSOLE");
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(failed)
}

fn not_started(home: &Home, ended: Option<ExitStatus>, written: u64) -> Report {
    let why = match ended {
        Some(status) => format!("it ended at once ({status})"),
        None => format!("it does not answer after {} s", START_LIMIT.as_secs()),
    };
    let path = home.daemon_log();
    let said = last_lines(&path, written).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!("; it said:\n{said}") };
    Report::environment(format!("the daemon could not be started: {why}{said}"))
        .hint(format!("its log is {}; `juchu daemon` runs it in the foreground", path.display()))
}

/// The last lines written after a place in the file.
fn last_lines(path: &std::path::Path, after: u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(after.max(length.saturating_sub(LOG_TAIL)).min(length)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_of_a_daemon_is_read_from_its_process() {
        let zeros = |text: &str| text.replace(' ', "\0").into_bytes();
        let check = |line: &str, environment: &str| {
            let options = Options::from_process(&zeros(line), &zeros(environment));
            options.0.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let variables = "PATH=/bin JUCHU_CONSOLE=127.0.0.1:0 ";
        assert_eq!(check("juchu daemon --detached ", variables), "--console 127.0.0.1:0");
        assert_eq!(check("juchu daemon --console 127.0.0.1:9 ", variables), "--console 127.0.0.1:9");
        assert_eq!(check("juchu daemon --console=127.0.0.1:9 ", ""), "--console=127.0.0.1:9");
        assert_eq!(check("juchu daemon --no-console ", variables), "--no-console");
        assert_eq!(check("juchu daemon ", "PATH=/bin "), "");
        assert_eq!(check("", ""), "", "a process that cannot be read");
    }
}
