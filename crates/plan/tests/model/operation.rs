//! Steps as an engine carries them out: they take time, may fail, and survive a killed daemon or not.

use crate::machine::Lock;
use crate::world::{Occurrence, World};
use model::instance::{InstanceSpec, InstanceState};
use model::{DurationMs, InstanceId};
use plan::Step;

/// How long a step waits before it looks again whether another has let go of its instance.
const LOCKED_MS: u64 = 10;
/// Of a hundred starts that a killed daemon had begun, so many complete without it.
const COMPLETES: u64 = 65;

/// A step under way.
pub struct Operation {
    pub epoch: u32,
    pub key: String,
    pub step: Step,
    stage: u8,
    fails: bool,
}

/// How a step failed.
#[derive(Debug, Clone)]
pub struct StepFailure {
    pub text: &'static str,
    /// Trying again cannot help.
    pub is_lasting: bool,
}

enum Next {
    After(u64),
    Done,
    Failed(StepFailure),
}

fn failed(text: &'static str) -> Next {
    Next::Failed(StepFailure { text, is_lasting: false })
}

fn id_of(step: &Step) -> Option<&InstanceId> {
    match step {
        Step::Create(spec) => Some(&spec.id),
        Step::Start { id, .. } | Step::Stop { id, .. } | Step::Remove { id, .. } => Some(id),
        _ => None,
    }
}

impl World {
    pub fn begin_operation(&mut self, step: Step, drain: DurationMs) {
        let fails = self.random.below(1000) < self.faults_per_mille;
        let operation = Operation { epoch: self.epoch, key: step.key(), step, stage: 0, fails };
        let first = match &operation.step {
            Step::Create(_) => self.random.mostly_low(1, 300),
            Step::Start { .. } | Step::RemoveVolume { .. } => self.random.between(0, 5),
            Step::Remove { .. } => self.random.mostly_low(2, 500),
            Step::EnsureNetwork(_) | Step::RemoveNetwork { .. } => self.random.mostly_low(2, 400),
            // Often nothing is under way.
            Step::Stop { .. } if self.random.percent(60) => self.random.between(0, 50.min(drain.0)),
            Step::Stop { .. } => self.random.between(0, drain.0),
        };
        self.operations_begun += 1;
        let number = self.operations_begun;
        self.operations.insert(number, operation);
        self.occurs_in(first, Occurrence::Step(number));
    }

    /// Takes a step to its next point; says whether there is something to be seen.
    pub fn advance(&mut self, number: u64) -> bool {
        let Some(mut operation) = self.operations.remove(&number) else { return false };
        let next = match operation.step.clone() {
            Step::EnsureNetwork(_) | Step::RemoveNetwork { .. } | Step::RemoveVolume { .. } => {
                if operation.fails { failed("the network could not be made") } else { Next::Done }
            }
            Step::Create(spec) => self.advance_create(number, &mut operation, *spec),
            Step::Start { id, .. } => self.advance_start(number, &mut operation, &id),
            Step::Stop { id, grace, .. } => self.advance_stop(number, &mut operation, &id, grace),
            Step::Remove { id, .. } => self.advance_remove(number, &operation, &id),
        };
        let result = match next {
            Next::After(ms) => {
                self.operations.insert(number, operation);
                self.occurs_in(ms, Occurrence::Step(number));
                return true;
            }
            Next::Done => Ok(()),
            Next::Failed(failure) => Err(failure),
        };
        if let Some(truth) = id_of(&operation.step).and_then(|id| self.machine.truth_mut(id)) {
            truth.lock = truth.lock.filter(|lock| lock.operation != number);
        }
        if let Err(failure) = &result {
            self.tell(|| format!("step failed: {}: {}", operation.step.describe(), failure.text));
        }
        if operation.epoch == self.epoch {
            self.step_ended(&operation.step, &operation.key, result);
        }
        true
    }

    /// Whether another step of the same daemon holds the instance; takes hold of it if not.
    fn is_locked(&mut self, id: &InstanceId, operation: u64, epoch: u32) -> bool {
        let Some(truth) = self.machine.truth_mut(id).filter(|_| epoch == self.epoch) else { return false };
        let by_other = truth.lock.is_some_and(|l| l.operation != operation && l.epoch == epoch);
        if !by_other {
            truth.lock = Some(Lock { operation, epoch });
        }
        by_other
    }

    fn advance_create(&mut self, number: u64, operation: &mut Operation, spec: InstanceSpec) -> Next {
        let id = spec.id.clone();
        match operation.stage {
            0 if operation.fails && self.random.percent(40) => failed("the instance could not be recorded"),
            0 => {
                let program = self.programs.of(&spec);
                self.machine.create(spec, program);
                operation.stage = 1;
                Next::After(self.random.between(0, 3))
            }
            _ => self.advance_start(number, operation, &id),
        }
    }

    /// Stage 1 of a creation, stage 0 of a start: the start begins. The one after: it runs.
    fn advance_start(&mut self, number: u64, operation: &mut Operation, id: &InstanceId) -> Next {
        let begins = operation.stage == u8::from(matches!(operation.step, Step::Create(_)));
        let Some(view) = self.machine.view(id) else { return failed("no such instance") };
        let is_running = view.is_running();
        if begins {
            if self.is_locked(id, number, operation.epoch) {
                return Next::After(LOCKED_MS);
            }
            if is_running {
                return Next::Done;
            }
            if self.machine.truth(id).is_some_and(|t| t.starting.is_some()) {
                return failed("it has a supervisor already");
            }
            self.machine.begin_start(id, number);
            operation.stage += 1;
            return Next::After(self.random.mostly_low(10, 3_000));
        }
        if self.machine.truth(id).is_none_or(|t| t.starting != Some(number)) {
            return failed("it was removed while it started");
        }
        if operation.fails {
            self.machine.give_up(id);
            return failed("the supervisor gave up");
        }
        if self.machine.truth(id).is_some_and(|t| t.program.cannot_start) {
            self.machine.refuse(id, self.now);
            return Next::Failed(StepFailure { text: "no such file", is_lasting: true });
        }
        self.machine.run(id, self.now);
        self.runs(id);
        Next::Done
    }

    fn advance_stop(
        &mut self,
        number: u64,
        operation: &mut Operation,
        id: &InstanceId,
        grace: DurationMs,
    ) -> Next {
        if self.is_locked(id, number, operation.epoch) {
            return Next::After(LOCKED_MS);
        }
        let Some(view) = self.machine.view(id) else { return failed("no such instance") };
        if !view.is_running() {
            return Next::Done;
        }
        if operation.stage == 0 {
            if operation.fails {
                return failed("the signal could not be sent");
            }
            let (run, epoch) = (view.observed.starts, operation.epoch);
            if let Some(truth) = self.machine.truth_mut(id) {
                truth.told_to_end = Some((run, epoch));
            }
            operation.stage = 1;
            return Next::After(self.random.mostly_low(1, grace.0));
        }
        let is_told =
            |run| self.machine.truth(id).is_some_and(|t| t.told_to_end.is_some_and(|(r, _)| r == run));
        if !is_told(view.observed.starts) {
            // It was started again in the meantime by another daemon.
            return Next::Done;
        }
        self.tell(|| format!("{} ends as asked", self.name_of(id)));
        self.machine.end(id, 143, self.now);
        Next::Done
    }

    fn advance_remove(&mut self, number: u64, operation: &Operation, id: &InstanceId) -> Next {
        if self.is_locked(id, number, operation.epoch) {
            return Next::After(LOCKED_MS);
        }
        if operation.fails {
            return failed("its files could not be removed");
        }
        self.machine.remove(id);
        Next::Done
    }

    /// The daemon is killed: what its steps leave behind.
    pub fn orphan_operations(&mut self, epoch: u32) {
        let numbers: Vec<u64> =
            self.operations.iter().filter(|(_, o)| o.epoch == epoch).map(|(n, _)| *n).collect();
        for number in numbers {
            let Some(operation) = self.operations.get(&number) else { continue };
            let (step, stage) = (operation.step.clone(), operation.stage);
            let goes_on = match &step {
                Step::Create(spec) => stage == 2 && self.orphan_start(&spec.id),
                Step::Start { id, .. } => stage == 1 && self.orphan_start(id),
                // Told to end, it may still ignore that, and nobody is there to insist.
                Step::Stop { .. } => stage == 1 && self.random.percent(80),
                Step::Remove { .. } => self.random.percent(50),
                _ => false,
            };
            if !goes_on {
                self.operations.remove(&number);
            }
        }
    }

    /// A start that was begun shows as one that nobody knows the end of; says whether it completes.
    fn orphan_start(&mut self, id: &InstanceId) -> bool {
        let completes = self.random.percent(COMPLETES);
        let shows_nothing = self.random.percent(50);
        let Some(at) = self.machine.position(id) else { return false };
        let observed = &mut self.machine.views[at].observed;
        if observed.starts == 1 && shows_nothing {
            observed.starts = 0;
            observed.state = InstanceState::Created;
        } else {
            observed.state = InstanceState::Lost;
        }
        if let Some(truth) = self.machine.truth_mut(id).filter(|_| !completes) {
            truth.starting = None;
        }
        completes
    }
}
