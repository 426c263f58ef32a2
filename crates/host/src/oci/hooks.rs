//! Hooks of a bundle. The container library works on a bundle of ours, which is not what hooks
//! are to be told, and it gives some of them no process id.
//!
//! Those that it has to run in the middle of its work go through [`relay`], which corrects the
//! state on its way; the others are run from here.

use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The command of [`relay`], not for people.
pub const RELAY: &str = "relay-hook";
/// Longest state that is passed on.
const MAX_STATE: u64 = 1 << 20;
/// How often a hook with a time limit is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Hooks that only the container library can run in their moment.
const RELAYED: [&str; 3] = ["prestart", "createRuntime", "createContainer"];
/// Hooks that are run here.
const OURS: [&str; 3] = ["startContainer", "poststart", "poststop"];

/// In the configuration for the library: who is run through the relay, who is not its business.
pub fn adapt(config: &mut Value, bundle: &Path) {
    let Some(hooks) = config.get_mut("hooks").and_then(Value::as_object_mut) else { return };
    for name in OURS {
        hooks.remove(name);
    }
    for name in RELAYED {
        for hook in hooks.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            let path = hook["path"].as_str().unwrap_or_default().to_owned();
            let mut arguments = vec![json!("juchu"), json!("oci"), json!(RELAY), json!(bundle), json!(path)];
            match hook["args"].as_array().filter(|given| !given.is_empty()) {
                Some(given) => arguments.extend(given.iter().cloned()),
                None => arguments.push(json!(path)),
            }
            hook["path"] = json!("/proc/self/exe");
            hook["args"] = Value::Array(arguments);
        }
    }
}

/// Becomes the hook `[BUNDLE, PATH, ARGUMENT 0, …]` with the corrected state on standard input.
pub fn relay(arguments: &[String]) -> Result<ExitCode, String> {
    let [bundle, path, name, rest @ ..] = arguments else { return Err("a hook is not named".to_owned()) };
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_STATE).read_to_string(&mut text);
    read.map_err(|error| format!("read the state: {error}"))?;
    let mut state: Value = serde_json::from_str(&text).map_err(|error| format!("read the state: {error}"))?;
    state["bundle"] = json!(bundle);
    if state["pid"].as_i64().is_none_or(|pid| pid == 0) {
        state["pid"] = json!(parent()?);
    }
    let mut command = Command::new(path);
    command.arg0(name).args(rest);
    // Standard error is for problems; standard output is nobody's.
    let status = finish(command, &state, None).map_err(|problem| format!("hook {path}: {problem}"))?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// The process that called, as the host numbers it: it may be in a process name space of its own,
/// while `/proc` still is the host's.
fn parent() -> Result<i64, String> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc/self/status: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or_else(|| "/proc names no parent".to_owned())
}

/// Runs the hooks of one kind in order; the first that fails ends it.
pub fn run(config: &Value, kind: &str, state: &Value, environment: &[String]) -> Result<(), String> {
    of_kind(config, kind).iter().try_for_each(|hook| run_one(hook, kind, state, environment))
}

/// Runs all hooks of one kind, whatever becomes of each; answers what went wrong.
pub fn run_all(config: &Value, kind: &str, state: &Value) -> Vec<String> {
    of_kind(config, kind).iter().filter_map(|hook| run_one(hook, kind, state, &[]).err()).collect()
}

pub fn of_kind<'a>(config: &'a Value, kind: &str) -> &'a [Value] {
    config["hooks"][kind].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn run_one(hook: &Value, kind: &str, state: &Value, environment: &[String]) -> Result<(), String> {
    let path = hook["path"].as_str().unwrap_or_default();
    let failed = |problem: String| format!("{kind} hook {path}: {problem}");
    let texts = |field: &str| -> Vec<&str> {
        hook[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let mut command = Command::new(path);
    let arguments = texts("args");
    command.arg0(arguments.first().unwrap_or(&path)).args(arguments.iter().skip(1)).env_clear();
    let stated = texts("env");
    let entries =
        stated.into_iter().chain(environment.iter().map(String::as_str).filter(|_| hook["env"].is_null()));
    command.envs(entries.filter_map(|entry| entry.split_once('=')));
    let limit = hook["timeout"].as_u64().map(Duration::from_secs);
    match finish(command, state, limit).map_err(failed)? {
        status if status.success() => Ok(()),
        status => Err(failed(status.to_string())),
    }
}

/// Runs a program to its end with `state` on its standard input.
fn finish(mut command: Command, state: &Value, limit: Option<Duration>) -> Result<ExitStatus, String> {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = started.map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().expect("it was asked for");
    match input.write_all(state.to_string().as_bytes()) {
        // It need not read its state.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            end(&mut child);
            return Err(format!("tell it the state: {error}"));
        }
        _ => drop(input),
    }
    let Some(limit) = limit else { return child.wait().map_err(|error| error.to_string()) };
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => return Ok(status),
            None if Instant::now() > deadline => {
                end(&mut child);
                return Err(format!("it takes longer than {} s", limit.as_secs()));
            }
            None => std::thread::sleep(LOOK),
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself just now.
    let _ = child.kill();
    let _ = child.wait();
}

/// The arguments after the relay's own name, if it is called.
pub fn relayed(arguments: &[OsString]) -> Option<Vec<String>> {
    let (first, rest) = arguments.split_first()?;
    (first == RELAY).then(|| rest.iter().map(|text| text.to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_gets_relayed_hooks_only() {
        let mut config = json!({ "hooks": {
            "createRuntime": [{ "path": "/bin/a", "args": ["x", "y"], "env": ["A=b"] }, { "path": "/bin/b" }],
            "startContainer": [{ "path": "/bin/c" }], "poststop": [{ "path": "/bin/d" }],
        }});
        adapt(&mut config, Path::new("/bundle"));
        let expect = json!({ "createRuntime": [
            { "path": "/proc/self/exe", "env": ["A=b"],
              "args": ["juchu", "oci", "relay-hook", "/bundle", "/bin/a", "x", "y"] },
            { "path": "/proc/self/exe", "args": ["juchu", "oci", "relay-hook", "/bundle", "/bin/b", "/bin/b"] },
        ]});
        assert_eq!(config["hooks"], expect);
    }

    #[test]
    fn a_hook_that_fails_ends_the_others_unless_all_are_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let shell = |script: String| json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        let config = json!({ "hooks": { "poststart": [
            shell("exit 3".to_owned()), shell(format!("cat > {}", out.display())),
        ]}});
        let state = json!({ "id": "c1" });
        let problem = run(&config, "poststart", &state, &[]).unwrap_err();
        assert_eq!(problem, "poststart hook /bin/sh: exit status: 3");
        assert!(!out.exists());
        assert_eq!(run_all(&config, "poststart", &state), [problem]);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), state.to_string());
    }

    #[test]
    fn a_hook_has_the_time_it_is_given() {
        let config = json!({ "hooks": { "poststop": [
            { "path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 0 },
        ]}});
        let problem = run(&config, "poststop", &json!({}), &[]).unwrap_err();
        assert_eq!(problem, "poststop hook /bin/sleep: it takes longer than 0 s");
    }
}
