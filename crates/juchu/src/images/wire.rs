//! What daemon and build worker say to each other: one JSON document per line on the worker's
//! standard input and output. Both ends are always of the same program file.

use super::secrets::SecretFile;
use build::kinds::{RunMount, RunOutcome};
use model::image::BuiltImage;
use model::{DurationMs, Report, Service};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// Longest line either side takes.
pub const MAX_LINE_BYTES: u64 = 16 << 20;

/// Everything the worker has to know; it finds the environment in its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// Root of the image store.
    pub store: PathBuf,
    pub cache: PathBuf,
    pub service: Service,
    /// The worker's own, unless stated.
    #[serde(default)]
    pub umask: Option<u32>,
    /// Empty, for tools of others; it goes away with the build.
    pub scratch: PathBuf,
    /// Absolute path of the control group below which tools of others put their containers.
    pub group: Option<String>,
    pub secrets: Vec<SecretFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Always the first.
    Build { order: Box<Order> },
    /// Nobody wants the image any more.
    Cancel,
    /// A line that the command said.
    Output { line: String },
    /// The end of the command.
    Ran { outcome: Result<RunOutcome, String> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    Progress {
        text: String,
    },
    /// Only the daemon holds the engine.
    Run {
        command: Box<ContainerCommand>,
    },
    /// The last word.
    Done {
        result: Box<Result<BuiltImage, Report>>,
    },
}

/// A build command and the image it runs in, which is in the store already.
#[derive(Debug, Serialize, Deserialize)]
pub struct ContainerCommand {
    pub image: BuiltImage,
    pub argv: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: String,
    pub mounts: Vec<RunMount>,
    pub network: bool,
    pub time_limit: DurationMs,
}

/// As one line, its end included.
pub fn to_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    match line.len() as u64 > MAX_LINE_BYTES {
        true => Err(io::Error::other(format!("a message of {} bytes is too long", line.len()))),
        false => Ok(line),
    }
}

/// The next message; `None` when the other side has closed.
pub fn read<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_one_by_one_and_half_a_line_is_no_message() {
        let said = FromWorker::Progress { text: "two\nlines".to_owned() };
        let refused = FromWorker::Done { result: Box::new(Err(Report::usage("no").hint("yes"))) };
        let mut bytes = [to_line(&said).unwrap(), to_line(&refused).unwrap()].concat();
        bytes.extend_from_slice(b"{\"type\":\"prog");
        let mut input = bytes.as_slice();
        assert!(matches!(read(&mut input), Ok(Some(FromWorker::Progress { text })) if text == "two\nlines"));
        let Ok(Some(FromWorker::Done { result })) = read(&mut input) else {
            panic!("the last word is one message");
        };
        assert_eq!(*result, Err(Report::usage("no").hint("yes")));
        assert!(read::<FromWorker>(&mut input).is_err());
        assert!(matches!(read::<FromWorker>(&mut &b""[..]), Ok(None)));
    }
}
