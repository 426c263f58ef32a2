//! `exec`: a process inside a running container, from a file or from options.

use super::arguments::{Exec, Global};
use super::bundle;
use super::stored::{Status, Stored, dir};
use crate::cgroup::{Cgroup, Hierarchies, UnifiedView};
use crate::console::Console;
use crate::container::{self, Streams, chain};
use crate::enter::terminal;
use crate::executor::Launch;
use crate::{durable, sys};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

pub fn exec(global: &Global, request: &Exec) -> Result<ExitCode, String> {
    let stored = Stored::load(global, &request.id)?;
    match stored.status() {
        Status::Running => {}
        Status::Paused if request.ignore_paused => {}
        other => return Err(format!("container {} is {}", request.id, other.name())),
    }
    let places = Places::of(&stored.group()?, &request.cgroups)?;
    let mut process = section(&stored, request)?;
    let wants_terminal = process["terminal"] == true;
    let own = dir(global, &request.id);
    let name = format!("exec-{}", std::process::id());
    let console = match (wants_terminal, &request.console_socket) {
        (true, None) if request.detach => return Err("a detached terminal needs --console-socket".to_owned()),
        (true, None) => Some(
            Console::listen(&own.join(format!("{name}.tty"))).map_err(|e| format!("make a terminal: {e}"))?,
        ),
        _ => None,
    };
    let launch = Launch {
        filters: Rc::new(bundle::filters(&stored.config)?),
        capabilities: bundle::capability_bits(&process),
        no_new_privileges: process["noNewPrivileges"] == true,
        groups: Rc::new(places.open()?),
        ..Launch::default()
    };
    if let Some(process) = process.as_object_mut() {
        process.remove("capabilities");
    }
    let file = own.join(format!("{name}.json"));
    durable::write_volatile(&file, &serde_json::to_vec(&process).expect("values are plain"))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let socket = request.console_socket.as_deref().or(console.as_ref().map(Console::path));
    let builder = container::builder(&request.id, &global.root, launch, Streams::default(), socket)?
        .with_preserved_fds(request.preserve_fds)
        .with_pid_file(request.pid_file.as_ref())
        .map_err(|error| chain(&error))?;
    let hierarchies = Hierarchies::detect().map_err(|error| format!("find the control groups: {error}"))?;
    let view = sys::new_mount_namespace().and_then(|()| UnifiedView::enter(&hierarchies));
    let view = view.map_err(|error| format!("show the control groups: {error}"))?;
    let entered = builder
        .as_tenant()
        .with_detach(socket.is_some())
        .with_sub_cgroup(places.unified)
        .with_process(Some(&file))
        .build();
    drop(view);
    // It lies in the container's own directory, which goes with it.
    let _ = fs::remove_file(&file);
    let pid = entered.map_err(|error| chain(&error))?.as_raw();
    if request.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let code = match console {
        Some(console) => {
            let inside = console.receive().map_err(|error| format!("receive the terminal: {error}"))?;
            terminal::relay(pid, &inside).map_err(|error| format!("relay the terminal: {error}"))?
        }
        None => sys::wait_passing_signals(pid),
    };
    Ok(ExitCode::from(code as u8))
}

/// Where the new process goes, below the groups of the container.
struct Places {
    /// Directories of v1, by the hierarchy's name.
    v1: BTreeMap<String, PathBuf>,
    /// In the v2 tree, relative.
    unified: Option<String>,
}

impl Places {
    /// `requests` are `PATH` or `CONTROLLER,…:PATH`.
    fn of(group: &Cgroup, requests: &[String]) -> Result<Self, String> {
        let mut places = Self { v1: group.v1_dirs(), unified: None };
        for request in requests {
            let (controllers, path) =
                request.split_once(':').map_or((None, request.as_str()), |(list, path)| (Some(list), path));
            let path = path.trim_matches('/');
            if path.split('/').any(|part| part == "..") {
                return Err(format!("`--cgroup {request}` leads upwards"));
            }
            match controllers {
                Some(list) => list.split(',').try_for_each(|name| places.move_one(name, path))?,
                None => places.move_all(path),
            }
        }
        let unified = places.unified.as_ref().and_then(|path| Some(group.unified_dir()?.join(path)));
        match places.v1.values().chain(&unified).find(|dir| !dir.is_dir()) {
            Some(missing) => Err(format!("the control group {} does not exist", missing.display())),
            None => Ok(places),
        }
    }

    fn move_one(&mut self, controller: &str, path: &str) -> Result<(), String> {
        let mut hierarchies = self.v1.iter_mut();
        let found = hierarchies.find(|(name, _)| name.split(',').any(|one| one == controller));
        let (_, dir) = found.ok_or_else(|| format!("this host has no `{controller}` control group of v1"))?;
        *dir = dir.join(path);
        Ok(())
    }

    fn move_all(&mut self, path: &str) {
        if !path.is_empty() {
            self.v1.values_mut().for_each(|dir| *dir = dir.join(path));
            self.unified = Some(path.to_owned());
        }
    }

    /// The files by which the process puts itself there.
    fn open(&self) -> Result<Vec<File>, String> {
        let paths = self.v1.values().map(|dir| dir.join("cgroup.procs"));
        let files: Result<_, _> = paths.map(|path| File::options().write(true).open(path)).collect();
        files.map_err(|error| format!("open the control groups: {error}"))
    }
}

/// The process specification: the file's, or the container's own with the options over it.
fn section(stored: &Stored, request: &Exec) -> Result<Value, String> {
    if let Some(path) = &request.process {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()));
    }
    let mut process = stored.process_section().clone();
    process["args"] = json!(request.argv);
    process["terminal"] = json!(request.tty);
    if let Some(cwd) = &request.cwd {
        process["cwd"] = json!(cwd);
    }
    if request.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(user) = &request.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("`{user}` is not UID[:GID]"));
        process["user"] = json!({ "uid": number(uid)?, "gid": number(gid)? });
    }
    if !request.groups.is_empty() {
        process["user"]["additionalGids"] = json!(request.groups);
    }
    let mut environment = process["env"].as_array().cloned().unwrap_or_default();
    for entry in &request.environment {
        let key = entry.split('=').next().unwrap_or_default();
        environment.retain(|known| known.as_str().is_none_or(|known| known.split('=').next() != Some(key)));
        environment.push(json!(entry));
    }
    process["env"] = Value::Array(environment);
    add_capabilities(&mut process, &request.capabilities);
    Ok(process)
}

fn add_capabilities(process: &mut Value, names: &[String]) {
    for name in names {
        let name = format!("CAP_{}", name.trim_start_matches("CAP_"));
        for set in ["bounding", "effective", "permitted"] {
            if let Some(set) =
                process.pointer_mut(&format!("/capabilities/{set}")).and_then(Value::as_array_mut)
            {
                set.push(json!(name));
            }
        }
    }
}
