//! The life of a container, one call at a time.

use super::arguments::{Create, Global};
use super::stored::{Status, Stored, dir};
use super::{SPEC_VERSION, VERSION, bundle, hooks};
use crate::cgroup::{Cgroup, Hierarchies, UnifiedView};
use crate::container::{self, Streams, chain};
use crate::executor::{Launch, StartHooks};
use crate::{apart, cgroup, clock, durable, process, sys};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long killed processes may take to end before deletion gives up.
const END_LIMIT: Duration = Duration::from_secs(10);

pub fn create(global: &Global, request: &Create) -> Result<Stored, String> {
    let own = dir(global, &request.id);
    if own.exists() {
        return Err(format!("container {} exists already", request.id));
    }
    let hierarchies = Hierarchies::detect().map_err(|error| format!("find the control groups: {error}"))?;
    let origin = request
        .bundle
        .canonicalize()
        .map_err(|error| format!("bundle {}: {error}", request.bundle.display()))?;
    let bundle = bundle::read(&origin, &own, &request.id, &hierarchies)?;
    let launch = Launch {
        start_hooks: start_hooks(&bundle.original, &request.id, &origin),
        ..launch(&bundle.original)?
    };
    durable::make_private_dir(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let created = create_in(global, request, &own, &bundle, launch, origin, &hierarchies);
    if created.is_err() {
        // Nothing half-made stays behind; what resists shows when the id is used again.
        let group = hierarchies.at(&bundle.cgroup);
        let _ = group.kill();
        let _ = group.remove();
        let _ = durable::remove_tree(&own);
    }
    created
}

fn create_in(
    global: &Global,
    request: &Create,
    own: &std::path::Path,
    bundle: &bundle::Bundle,
    launch: Launch,
    origin: std::path::PathBuf,
    hierarchies: &Hierarchies,
) -> Result<Stored, String> {
    let config = serde_json::to_vec(&bundle.adapted).expect("values are plain");
    fs::write(own.join("config.json"), config).map_err(|error| format!("{}: {error}", own.display()))?;
    let group = hierarchies.at(&bundle.cgroup);
    let unenforced = |missing: cgroup::Unenforced| format!("limit {}: {}", missing.limit, missing.reason);
    let home = group.home().map_err(|error| format!("make a control group: {error}"))?;
    let make = || group.make(&bundle.resources).map_err(unenforced);
    let work = |turn: apart::Turn| {
        let is_placed = turn.is_placed;
        let built = match turn.wait() {
            true => build(global, request, own, bundle, launch, &group, is_placed),
            false => Ok(0),
        };
        serde_json::to_vec(&built).expect("records of plain fields")
    };
    let answer =
        apart::create(home.as_ref(), make, work).map_err(|error| format!("make a process: {error}"))??;
    let built: Result<i32, String> =
        serde_json::from_slice(&answer).map_err(|_| "the creation ended without an answer".to_owned())?;
    let pid = built?;
    group.complete(&bundle.resources).map_err(unenforced)?;
    let at = clock::format(clock::since_epoch());
    let stored = Stored {
        version: 1,
        id: request.id.clone(),
        bundle: origin,
        created: String::from_utf8_lossy(&at).into_owned(),
        process: process::identify(pid).ok_or("the container's process ended at once")?,
        started: false,
        cgroup: bundle.cgroup.clone(),
        config: bundle.original.clone(),
    };
    stored.save(global)?;
    Ok(stored)
}

/// In a process of its own, whose view of the file tree changes.
fn build(
    global: &Global,
    request: &Create,
    own: &std::path::Path,
    bundle: &bundle::Bundle,
    launch: Launch,
    group: &Cgroup,
    is_placed: bool,
) -> Result<i32, String> {
    let failed = |error: std::io::Error| format!("show the control groups: {error}");
    group.join_self().map_err(|error| format!("join the control groups: {error}"))?;
    sys::new_mount_namespace().map_err(failed)?;
    bundle::bind_groups(bundle, own, &group.hierarchies).map_err(failed)?;
    let _view = UnifiedView::over(group, is_placed).map_err(failed)?;
    let console = request.console_socket.as_deref();
    let builder = container::builder(&request.id, &global.root, launch, Streams::default(), console)?
        .with_preserved_fds(request.preserve_fds)
        .with_pid_file(request.pid_file.as_ref())
        .map_err(|error| chain(&error))?;
    let builder = builder.as_init(own).with_systemd(false).with_no_pivot(request.no_pivot);
    let container = builder.build().map_err(|error| chain(&error))?;
    Ok(container.pid().ok_or("the container library gave no process")?.as_raw())
}

fn launch(config: &Value) -> Result<Launch, String> {
    let process = &config["process"];
    Ok(Launch {
        filters: Rc::new(bundle::filters(config)?),
        capabilities: bundle::capability_bits(process),
        no_new_privileges: process["noNewPrivileges"] == true,
        ..Launch::default()
    })
}

/// What the executor runs inside the container, right before the program.
fn start_hooks(config: &Value, id: &str, bundle: &std::path::Path) -> Option<StartHooks> {
    if hooks::of_kind(config, "startContainer").is_empty() {
        return None;
    }
    let config = config.clone();
    let mut state = json!({
        "ociVersion": config["ociVersion"].as_str().unwrap_or(SPEC_VERSION), "id": id, "bundle": bundle,
        // Its number outside is not known in there.
        "status": Status::Created.name(), "pid": 1,
    });
    if let Some(annotations) = config.get("annotations") {
        state["annotations"] = annotations.clone();
    }
    Some(Rc::new(move |environment: &[String]| hooks::run(&config, "startContainer", &state, environment)))
}

pub fn start(global: &Global, id: &str) -> Result<(), String> {
    let mut stored = Stored::load(global, id)?;
    match stored.status() {
        Status::Created => {}
        other => return Err(format!("container {id} cannot be started, it is {}", other.name())),
    }
    container::start(&global.root.join(id))?;
    stored.started = true;
    stored.save(global)?;
    let mut state = state_of(&stored);
    // As they are to be told, even when the program has ended meanwhile.
    state["status"] = json!(Status::Running.name());
    state["pid"] = json!(stored.process.pid);
    hooks::run(&stored.config, "poststart", &state, &[]).inspect_err(|_| {
        // A container whose start did not succeed does not run on.
        let _ = stored.group().and_then(|group| group.kill().map_err(|error| error.to_string()));
        let _ = end(&stored);
    })
}

pub fn state(global: &Global, id: &str) -> Result<Value, String> {
    Ok(state_of(&Stored::load(global, id)?))
}

fn state_of(stored: &Stored) -> Value {
    let status = stored.status();
    let mut state = json!({
        "ociVersion": stored.config["ociVersion"].as_str().unwrap_or(SPEC_VERSION),
        "id": stored.id,
        "status": status.name(),
        "bundle": stored.bundle,
        "rootfs": stored.bundle.join(stored.config["root"]["path"].as_str().unwrap_or("rootfs")),
        "created": stored.created,
        "pid": if status == Status::Stopped { 0 } else { stored.process.pid },
    });
    if let Some(annotations) = stored.config.get("annotations") {
        state["annotations"] = annotations.clone();
    }
    state
}

pub fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<(), String> {
    let stored = Stored::load(global, id)?;
    let number = process::signal_number(signal).ok_or_else(|| format!("`{signal}` is not a signal"))?;
    if all {
        return stored.group()?.signal(number).map_err(|error| format!("signal {id}: {error}"));
    }
    if stored.status() == Status::Stopped {
        return Err(format!("container {id} is not running"));
    }
    let handle =
        process::open_pidfd(stored.process).ok_or_else(|| format!("container {id} is not running"))?;
    sys::signal_by_handle(&handle, number).map_err(|error| format!("signal {id}: {error}"))
}

pub fn delete(global: &Global, id: &str, force: bool) -> Result<(), String> {
    let stored = match Stored::load(global, id) {
        // Forced deletion makes sure that nothing is there.
        Err(_) if force && !dir(global, id).exists() => return Ok(()),
        other => other?,
    };
    match stored.status() {
        Status::Running | Status::Paused if !force => {
            return Err(format!(
                "container {id} is {}; stop it first, or use --force",
                stored.status().name()
            ));
        }
        _ => {}
    }
    let group = stored.group()?;
    if process::is_alive(stored.process) {
        // The pause ends with it.
        let _ = group.freeze(false);
        group.kill().map_err(|error| format!("end {id}: {error}"))?;
        end(&stored)?;
    }
    group
        .kill()
        .and_then(|()| group.remove())
        .map_err(|error| format!("remove the control group of {id}: {error}"))?;
    durable::remove_tree(&global.root.join(id))
        .and_then(|()| durable::remove_tree(&dir(global, id)))
        .map_err(|error| format!("remove {id}: {error}"))?;
    // Nothing is left that they could hold up.
    for problem in hooks::run_all(&stored.config, "poststop", &state_of(&stored)) {
        super::say(global, "warning", &problem);
    }
    Ok(())
}

/// Kills the first process and waits for its end; it may be another's child.
fn end(stored: &Stored) -> Result<(), String> {
    let Some(handle) = process::open_pidfd(stored.process) else { return Ok(()) };
    // It may have ended by the control group already.
    let _ = sys::signal_by_handle(&handle, libc::SIGKILL);
    let deadline = Instant::now() + END_LIMIT;
    while process::is_alive(stored.process) {
        if Instant::now() > deadline {
            return Err(format!("container {} does not end", stored.id));
        }
        let mut fds = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // Interrupted or timed out, the loop looks again.
        let _ = rustix::event::poll(&mut fds, Some(&pause));
    }
    Ok(())
}

/// Creates and starts; in the foreground also waits, passes signals on, and deletes.
pub fn run(global: &Global, request: &Create) -> Result<ExitCode, String> {
    if !request.detach {
        sys::become_subreaper().map_err(|error| format!("wait for the container: {error}"))?;
    }
    let stored = create(global, request)?;
    if let Err(problem) = start(global, &request.id) {
        // The first problem is the one to tell.
        let _ = delete(global, &request.id, true);
        return Err(problem);
    }
    if request.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let code = sys::wait_passing_signals(stored.process.pid);
    if !request.keep {
        delete(global, &request.id, true)?;
    }
    Ok(ExitCode::from(code as u8))
}

pub fn pause(global: &Global, id: &str, frozen: bool) -> Result<(), String> {
    let stored = Stored::load(global, id)?;
    let wanted = if frozen { Status::Running } else { Status::Paused };
    if stored.status() != wanted {
        return Err(format!("container {id} is {}", stored.status().name()));
    }
    stored.group()?.freeze(frozen).map_err(|error| format!("freeze {id}: {error}"))
}

pub fn list(global: &Global, as_json: bool, quiet: bool) -> Result<String, String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(&global.root).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "juchu") {
            all.extend(Stored::read(&entry.path())?);
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    if quiet {
        return Ok(all.iter().map(|stored| format!("{}\n", stored.id)).collect());
    }
    if as_json {
        return Ok(format!("{}\n", Value::Array(all.iter().map(state_of).collect())));
    }
    let mut text = format!("{:<24} {:<8} {:<9} BUNDLE\n", "ID", "PID", "STATUS");
    for stored in &all {
        let state = state_of(stored);
        text.push_str(&format!(
            "{:<24} {:<8} {:<9} {}\n",
            stored.id,
            state["pid"],
            stored.status().name(),
            stored.bundle.display()
        ));
    }
    Ok(text)
}

pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": ["async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "noatime",
            "nodev", "nodiratime", "noexec", "nosuid", "private", "rbind", "relatime", "remount", "ro", "rprivate",
            "rro", "rshared", "rslave", "rw", "shared", "slave", "strictatime", "suid", "sync"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": crate::capabilities::NAMES.map(|name| format!("CAP_{name}")).to_vec(),
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
            },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
        },
        "annotations": { "juchu.version": VERSION },
    })
}
