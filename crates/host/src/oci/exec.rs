//! `exec`: a process inside a running container, from a file or from options.

use super::arguments::{Exec, Global};
use super::bundle;
use super::stored::{Status, Stored, dir};
use crate::cgroup::{Hierarchies, UnifiedView};
use crate::console::Console;
use crate::container::{self, Streams, chain};
use crate::enter::terminal;
use crate::executor::Launch;
use crate::{durable, sys};
use serde_json::{Value, json};
use std::fs;
use std::process::ExitCode;
use std::rc::Rc;

pub fn exec(global: &Global, request: &Exec) -> Result<ExitCode, String> {
    let stored = Stored::load(global, &request.id)?;
    if stored.status() != Status::Running {
        return Err(format!("container {} is {}", request.id, stored.status().name()));
    }
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
        groups: Rc::new(stored.group()?.open_procs().map_err(|e| format!("open the control groups: {e}"))?),
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
    let entered = builder.as_tenant().with_detach(socket.is_some()).with_process(Some(&file)).build();
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
