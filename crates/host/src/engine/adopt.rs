//! After the daemon starts: who runs, who has ended meanwhile, who was lost.

use super::Inner;
use super::hooks::{prepared_run, read_end};
use super::instance::{Instance, Now, id_of};
use crate::record::{ProcessId, Run};
use crate::{durable, layout, process};
use model::instance::{InstanceSpec, InstanceState};
use run::engine::EngineError;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How long the kernel may take to end a killed process.
const END_LIMIT: Duration = Duration::from_secs(10);

pub fn adopt_all(inner: &Inner) -> Result<(), EngineError> {
    let dir = layout::instances(&inner.config.state);
    let entries = fs::read_dir(&dir).map_err(EngineError::io(format!("read {}", dir.display())))?;
    let mut known = BTreeSet::new();
    for entry in entries.flatten() {
        let Some(id) = id_of(&entry) else { continue };
        let layout = inner.layout(&id);
        let spec: Option<InstanceSpec> = durable::read_json(&layout.spec())
            .map_err(EngineError::io(format!("read {}", layout.spec().display())))?;
        let Some(spec) = spec else {
            // Half created or half removed.
            inner.sweep(id.as_str());
            continue;
        };
        let instance = Arc::new(Instance::new(spec, layout, recorded(inner, &id)?));
        let (is_lost, starts) = {
            let now = instance.now();
            (now.state == InstanceState::Lost, now.starts)
        };
        if is_lost && !inner.load_end(&instance, starts) {
            inner.settle(&instance);
        }
        known.insert(id.as_str().to_owned());
        inner.lock().insert(id, instance);
    }
    for entry in fs::read_dir(layout::instances(&inner.config.runtime)).into_iter().flatten().flatten() {
        if let Some(id) = id_of(&entry).filter(|id| !known.contains(id.as_str())) {
            inner.sweep(id.as_str());
        }
    }
    Ok(())
}

/// What the records say, checked against the processes that there are.
fn recorded(inner: &Inner, id: &model::InstanceId) -> Result<Now, EngineError> {
    let layout = inner.layout(id);
    let path = layout.exit();
    let ended = read_end(&layout).map_err(EngineError::io(format!("read {}", path.display())))?;
    let last_end = ended.as_ref().map_or(0, |ended| ended.run);
    let mut now = Now {
        state: InstanceState::Created,
        shim: None,
        init: None,
        starts: 0,
        quick_failures: 0,
        prepared: prepared_run(&layout),
    };
    match durable::read_json::<Run>(&layout.run()) {
        Ok(None) => {}
        Ok(Some(run)) => {
            now.starts = run.run;
            now.quick_failures = run.quick_failures;
            now.state = InstanceState::Lost;
            adopt(inner, &layout, &run, &mut now)?;
        }
        // It is written without waiting for the disk, so a power cut may have left half of it.
        Err(_) => {
            now.starts = last_end + 1;
            now.state = InstanceState::Lost;
        }
    }
    if let Some(ended) = ended.filter(|ended| ended.run >= now.starts && now.shim.is_none()) {
        now.starts = ended.run;
        now.quick_failures = ended.quick_failures;
        now.state = InstanceState::Exited(ended.exit);
    }
    Ok(now)
}

fn adopt(inner: &Inner, layout: &layout::Layout, run: &Run, now: &mut Now) -> Result<(), EngineError> {
    let is_this_boot = run.boot_id == inner.boot_id;
    if is_this_boot && process::is_locked(&layout.lock()) && process::is_alive(run.shim) {
        if inner.config.unprivileged.is_some() && !crate::rootless::is_inside_with(run.shim.pid) {
            // Of name spaces whose keeper and members were killed: nobody can enter them any more.
            return end_shim(run.shim);
        }
        now.set_running(run);
        // Whoever asked for a shim that is still starting has died, and the program must not begin
        // to run after it was found not to.
        if now.init.is_none() {
            end_shim(run.shim)?;
        }
    }
    Ok(())
}

fn end_shim(shim: ProcessId) -> Result<(), EngineError> {
    let ended = process::end(shim, END_LIMIT).and_then(|ended| match ended {
        true => Ok(()),
        false => Err(std::io::ErrorKind::TimedOut.into()),
    });
    ended.map_err(EngineError::io("end a supervisor that cannot be taken over"))
}

impl Inner {
    /// Clears what is left of an instance without a specification.
    fn sweep(&self, id: &str) {
        let layout = crate::layout::Layout::new(&self.config.state, &self.config.runtime, id);
        if let Ok(Some(run)) = durable::read_json::<Run>(&layout.run())
            && run.boot_id == self.boot_id
        {
            let _ = end_shim(run.shim);
        }
        let group = self.group_named(id);
        // Leftovers that resist are met again at the next opening.
        let _ = group.kill();
        let _ = group.remove();
        if let Ok(id) = model::InstanceId::new(id) {
            let _ = super::network::remove_instance(&self.netns(&id), &id);
        }
        let _ = durable::remove_tree(&layout.runtime);
        let _ = durable::remove_tree(&layout.state);
    }
}

/// Completes when the process has ended.
pub async fn ended(shim: ProcessId) {
    let Some(handle) = process::open_pidfd(shim) else { return };
    // SAFETY: an `OwnedFd` names one open descriptor for as long as it lives, here inside the value.
    match unsafe { AsyncFd::register_with_interest(handle, tokio::io::Interest::READABLE) } {
        Ok(handle) => {
            // An error of the reactor comes when it shuts down, and everything with it.
            let _ = handle.readable().await;
        }
        Err(_) => {
            while process::is_alive(shim) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
