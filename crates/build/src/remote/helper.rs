//! Credential helpers: programs named `docker-credential-NAME` that know a login. They are asked
//! by an argument vector; the secret passes through pipes alone, within a time limit.

use super::error::RegistryError;
use super::login::Login;
use crate::error::BuildError;
use crate::job::go_on;
use serde::Deserialize;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const TIME_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// What helpers say when they know no login; it is no failure.
const UNKNOWN: &str = "credentials not found";
/// As a name, it means that the secret is an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` about `registry`.
pub fn get(name: &str, registry: &str, cancel: &AtomicBool) -> Result<Option<Login>, BuildError> {
    let program = format!("docker-credential-{name}");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !name.bytes().all(plain) {
        let reason = "has a name with other characters than letters, digits, `-`, `_` and `.`".to_owned();
        return Err(RegistryError::Helper { program, reason }.into());
    }
    ask(&mut Command::new(&program), &program, registry, TIME_LIMIT, cancel)
}

fn ask(
    command: &mut Command,
    program: &str,
    registry: &str,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<Option<Login>, BuildError> {
    let failed =
        |reason: String| BuildError::from(RegistryError::Helper { program: program.to_owned(), reason });
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().map_err(|e| failed(format!("cannot be started: {e}")))?;
    let mut child = Ended(child);
    // A helper that does not read what it is asked says so by its answer.
    let _ = child.0.stdin.take().expect("it is a pipe").write_all(format!("{registry}\n").as_bytes());
    let answer = read_within(&mut child.0, limit, cancel)?
        .ok_or_else(|| failed(format!("did not answer within {} seconds", limit.as_secs())))?;
    let status = child.0.wait().map_err(|e| failed(format!("was lost: {e}")))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer).trim().to_owned();
        return match said.contains(UNKNOWN) {
            true => Ok(None),
            false => Err(failed(format!("failed with {status}"))),
        };
    }
    // What does not parse may still be a secret: it is not shown.
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed("answered something else than a login".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN => Login::Identity(answer.secret),
        user => Login::of_password(user, &answer.secret),
    }))
}

/// Everything the helper says until it closes its output; `None` when the time is over.
fn read_within(
    child: &mut Child,
    limit: Duration,
    cancel: &AtomicBool,
) -> Result<Option<Vec<u8>>, BuildError> {
    let out = child.stdout.take().expect("it is a pipe");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
        // Who waited may have given up.
        let _ = sender.send(bytes);
    });
    let began = Instant::now();
    loop {
        go_on(cancel)?;
        match receiver.recv_timeout(POLL) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(RecvTimeoutError::Timeout) if began.elapsed() < limit => {}
            Err(_) => return Ok(None),
        }
    }
}

/// Ends the helper, and what it started, however this is left.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            if let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn check(script: &str, limit: Duration) -> Result<Option<Login>, String> {
        let directory = TempDir::new();
        let path = directory.write("helper", script);
        ask(Command::new("sh").arg(path), "docker-credential-test", "reg.example", limit, &NEVER)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_helper_is_asked_by_its_input_and_answers_by_its_output() {
        let script =
            r#"read -r host; printf '{"ServerURL":"%s","Username":"%s","Secret":"s"}' "$host" "$1-$host""#;
        assert_eq!(check(script, TIME_LIMIT), Ok(Some(Login::of_password("get-reg.example", "s"))));
        let script = r#"cat >/dev/null; echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(check(script, TIME_LIMIT), Ok(Some(Login::Identity("t".to_owned()))));
        let script = "echo credentials not found in native keychain; exit 1";
        assert_eq!(check(script, TIME_LIMIT), Ok(None));
    }

    #[test]
    fn a_helper_that_fails_hangs_or_babbles_is_told_without_its_words() {
        for (script, limit, expect) in [
            ("echo s3cret; exit 3", TIME_LIMIT, "failed with exit status: 3"),
            ("echo s3cret", TIME_LIMIT, "answered something else than a login"),
            ("sleep 60 & sleep 60", Duration::from_millis(50), "did not answer within 0 seconds"),
        ] {
            let error = check(script, limit).unwrap_err();
            assert!(error.ends_with(expect) && !error.contains("s3cret"), "{error}");
        }
        let error = get("../evil", "reg.example", &NEVER).unwrap_err().to_string();
        assert!(error.contains("other characters"), "{error}");
        let error = get("juchu-test-of-none", "reg.example", &NEVER).unwrap_err().to_string();
        assert!(error.contains("cannot be started"), "{error}");
    }
}
