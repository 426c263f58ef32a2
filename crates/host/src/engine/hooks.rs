//! Commands run inside an instance at turns of its life: `post_start` before it counts as ready,
//! `pre_stop` before its stop signal. Each run of an instance has its own; after a daemon that died in
//! between, all of them are run again.

use super::instance::Instance;
use super::{HostEngine, command};
use crate::durable;
use crate::layout::Layout;
use crate::record::Ended;
use model::DurationMs;
use model::service::Hook;
use run::engine::{EngineError, ExecRequest};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long one command may take.
const HOOK_LIMIT: DurationMs = DurationMs::from_secs(300);
/// Bytes of a command's output that are kept to say why it failed.
const OUTPUT_LIMIT: usize = 4096;

/// A run that was ended because a command after its start failed.
#[derive(Serialize, Deserialize)]
struct Unprepared {
    run: u32,
    reason: String,
}

impl HostEngine {
    /// Runs what is to be run after the start, once for each run. When a command fails, the instance
    /// is ended, and its end says why: what follows from that is decided where ends are looked at.
    pub(super) async fn prepare(&self, instance: &Arc<Instance>) -> Result<(), EngineError> {
        let _one_at_a_time = instance.preparing.lock().await;
        let run = instance.now().starts;
        if !instance.is_preparing() {
            return Ok(());
        }
        for hook in &instance.spec.hooks.post_start {
            let Err(reason) = self.run_hook(instance, "post_start", hook).await else { continue };
            return self.give_up(instance, run, reason).await;
        }
        durable::write_volatile(&instance.layout.prepared(), run.to_string().as_bytes())
            .map_err(EngineError::io(format!("record the start of {}", instance.spec.id)))?;
        instance.now().prepared = run;
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn give_up(&self, instance: &Arc<Instance>, run: u32, reason: String) -> Result<(), EngineError> {
        let _turn = instance.turn.lock().await;
        let id = instance.spec.id.clone();
        if instance.now().starts != run || instance.shim().is_none() {
            return Ok(());
        }
        let note = Unprepared { run, reason };
        durable::write_json(&failure_file(&instance.layout), &note)
            .map_err(EngineError::io(format!("record why {id} did not start")))?;
        self.end_now(instance, Some(DurationMs(instance.spec.stop_grace_ms))).await
    }

    /// Before the stop signal. A command that fails does not keep the instance from being stopped.
    pub(super) async fn before_stop(&self, instance: &Instance) {
        if instance.running().is_err() || instance.is_preparing() {
            return;
        }
        for hook in &instance.spec.hooks.pre_stop {
            if self.run_hook(instance, "pre_stop", hook).await.is_err() {
                return;
            }
        }
    }

    async fn run_hook(&self, instance: &Instance, what: &str, hook: &Hook) -> Result<(), String> {
        let request = ExecRequest {
            argv: hook.command.clone(),
            environment: hook.environment.clone().into_iter().collect(),
            user: hook.user.clone(),
            working_dir: hook.working_dir.clone(),
            privileged: hook.privileged,
            timeout: Some(HOOK_LIMIT),
            output_limit: OUTPUT_LIMIT,
        };
        let named = format!("{what} command `{}`", hook.command.join(" "));
        let group = self.inner.group(&instance.spec.id);
        match command::execute(&self.inner.config.executable, instance, group, request).await {
            Ok(outcome) if outcome.timed_out => Err(format!("the {named} did not end within {HOOK_LIMIT}")),
            Ok(outcome) if outcome.code == 0 => Ok(()),
            Ok(outcome) => {
                let last = outcome.output.trim().lines().last().map(|line| format!(": {line}"));
                Err(format!("the {named} ended with code {}{}", outcome.code, last.unwrap_or_default()))
            }
            Err(error) => Err(format!("the {named} could not be run: {error}")),
        }
    }

    /// After the daemon was started again: what was under way is done again.
    pub(super) fn prepare_again(&self) {
        for instance in self.inner.all().into_iter().filter(|instance| instance.is_preparing()) {
            let engine = self.clone();
            tokio::spawn(async move {
                // A failure is recorded as the end of the instance, which is seen.
                let _ = engine.prepare(&instance).await;
            });
        }
    }
}

fn failure_file(layout: &Layout) -> std::path::PathBuf {
    layout.prepared().with_extension("failed")
}

/// The record of the last end. Where commands after the start had failed, that was its reason.
pub fn read_end(layout: &Layout) -> std::io::Result<Option<Ended>> {
    let Some(mut ended) = durable::read_json::<Ended>(&layout.exit())? else { return Ok(None) };
    let note = durable::read_json::<Unprepared>(&failure_file(layout)).ok().flatten();
    if let Some(note) = note.filter(|note| note.run == ended.run) {
        ended.exit.start_error = Some(note.reason);
    }
    Ok(Some(ended))
}

/// The run for which everything after the start was done.
pub fn prepared_run(layout: &Layout) -> u32 {
    let text = std::fs::read_to_string(layout.prepared()).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
