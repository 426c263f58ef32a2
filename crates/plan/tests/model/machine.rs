//! The machine: which instances there are and what their programs do, whether a daemon looks or not.
//!
//! An instance is kept as the planner sees it, so that looking costs nothing; what a daemon adds by
//! itself (health, since when it is ready) is forgotten with the daemon.

use crate::program::Program;
use model::instance::{Exit, Health, InstanceSpec, InstanceState, Observed};
use model::{InstanceId, Timestamp};
use plan::InstanceView;

/// The port on which every program listens.
pub const PORT: u16 = 80;
/// Runs that end sooner count as quick failures, as the engine counts them.
const QUICK_MS: u64 = 10_000;

/// What is true of an instance beside what the engine shows.
pub struct Truth {
    pub program: Program,
    /// The step that is starting it.
    pub starting: Option<u64>,
    /// The step that starts, stops or removes it; only steps of one daemon wait for each other.
    pub lock: Option<Lock>,
    /// The run that was told to end, and by which daemon.
    pub told_to_end: Option<(u32, u32)>,
    /// It would pass its health check.
    pub is_well: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    pub operation: u64,
    pub epoch: u32,
}

#[derive(Default)]
pub struct Machine {
    pub views: Vec<InstanceView>,
    truths: Vec<Truth>,
}

impl Machine {
    pub fn position(&self, id: &InstanceId) -> Option<usize> {
        self.views.iter().position(|v| v.observed.spec.id == *id)
    }

    pub fn view(&self, id: &InstanceId) -> Option<&InstanceView> {
        self.position(id).map(|at| &self.views[at])
    }

    pub fn truth(&self, id: &InstanceId) -> Option<&Truth> {
        self.position(id).map(|at| &self.truths[at])
    }

    /// Its program does its work, as far as anybody knows.
    pub fn is_good(&self, id: &InstanceId) -> bool {
        self.truth(id).is_none_or(|t| t.program.is_good())
    }

    pub fn truth_mut(&mut self, id: &InstanceId) -> Option<&mut Truth> {
        self.position(id).map(|at| &mut self.truths[at])
    }

    pub fn create(&mut self, spec: InstanceSpec, program: Program) {
        let observed = Observed {
            is_preparing: false,
            spec,
            state: InstanceState::Created,
            starts: 0,
            quick_failures: 0,
            listening_udp: Vec::new(),
            listening: Vec::new(),
        };
        let view =
            InstanceView { observed, health: Health::Unchecked, unhealthy_restarts: 0, ready_since: None };
        self.views.push(view);
        let (starting, lock, told_to_end) = (None, None, None);
        self.truths.push(Truth { program, starting, lock, told_to_end, is_well: false });
    }

    /// A start begins: the engine counts it before the program runs.
    pub fn begin_start(&mut self, id: &InstanceId, operation: u64) {
        if let Some(at) = self.position(id) {
            self.views[at].observed.starts += 1;
            self.truths[at].starting = Some(operation);
        }
    }

    /// Its program runs now.
    pub fn run(&mut self, id: &InstanceId, now: Timestamp) {
        if let Some(at) = self.position(id) {
            let observed = &mut self.views[at].observed;
            observed.starts = observed.starts.max(1);
            observed.state = InstanceState::Running { pid: 1, since: now };
            self.truths[at].starting = None;
        }
    }

    /// Its supervisor ended before the program ran.
    pub fn give_up(&mut self, id: &InstanceId) {
        if let Some(at) = self.position(id) {
            self.views[at].observed.state = InstanceState::Lost;
            self.truths[at].starting = None;
        }
    }

    /// Its program could not be started.
    pub fn refuse(&mut self, id: &InstanceId, now: Timestamp) {
        let Some(at) = self.position(id) else { return };
        self.truths[at].starting = None;
        let observed = &mut self.views[at].observed;
        observed.quick_failures += 1;
        observed.state = InstanceState::Exited(Exit {
            start_error: Some("no such file".to_owned()),
            ..exit(127, false, now, now)
        });
    }

    /// It begins or ceases to listen and to pass its health check.
    pub fn set_well(&mut self, id: &InstanceId, is_well: bool) {
        let Some(at) = self.position(id).filter(|at| self.views[*at].is_running()) else { return };
        self.views[at].observed.listening = if is_well { vec![PORT] } else { Vec::new() };
        self.truths[at].is_well = is_well;
    }

    /// The program of a running instance ends.
    pub fn end(&mut self, id: &InstanceId, code: i32, now: Timestamp) {
        let Some(at) = self.position(id) else { return };
        let (view, truth) = (&mut self.views[at], &mut self.truths[at]);
        let Some(since) = view.running_since() else { return };
        let observed = &mut view.observed;
        let requested = truth.told_to_end.is_some_and(|(run, _)| run == observed.starts);
        let quick = now.since(since).0 < QUICK_MS && !requested;
        observed.quick_failures = if quick { observed.quick_failures + 1 } else { 0 };
        observed.listening.clear();
        observed.state = InstanceState::Exited(exit(code, requested, since, now));
        truth.is_well = false;
    }

    pub fn remove(&mut self, id: &InstanceId) {
        if let Some(at) = self.position(id) {
            self.views.remove(at);
            self.truths.remove(at);
        }
    }

    /// What a daemon knew by itself goes with it.
    pub fn forget(&mut self) {
        for view in &mut self.views {
            view.health = Health::Unchecked;
            view.unhealthy_restarts = 0;
            view.ready_since = None;
        }
        self.truths.iter_mut().for_each(|t| t.lock = None);
    }
}

fn exit(code: i32, requested: bool, started: Timestamp, finished: Timestamp) -> Exit {
    Exit { code, signal: None, oom: false, requested, start_error: None, started, finished }
}
