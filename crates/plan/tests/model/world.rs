//! One case: a machine, a daemon that may be killed, people who want things, and a clock that jumps
//! from one occurrence to the next.

use crate::daemon::Daemon;
use crate::journal::{Declared, Entry, Event, View};
use crate::machine::Machine;
use crate::operation::Operation;
use crate::program::Programs;
use crate::random::Random;
use crate::schedule::{Happening, Point};
use crate::watch::{Violation, Watch};
use model::route::RouteTable;
use model::{DurationMs, InstanceId, StackName, Timestamp};
use plan::Settings;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Turns of one case; more of them means that the loop runs hot.
const MOST_TURNS: u32 = 20_000;
/// When a case begins.
pub const START: Timestamp = Timestamp(1_000_000);

/// Something that happens at a time.
pub enum Occurrence {
    /// A line of the schedule.
    Happens(Happening),
    /// A step has come to its next point.
    Step(u64),
    /// A program begins to do its work.
    Well {
        id: InstanceId,
        run: u32,
    },
    /// A program ceases to, for so long or for good.
    Sick {
        id: InstanceId,
        run: u32,
        ms: Option<u64>,
    },
    Ends {
        id: InstanceId,
        run: u32,
        code: i32,
    },
    /// Enough probes have been made to tell.
    Probed {
        id: InstanceId,
        run: u32,
        epoch: u32,
    },
    Made {
        epoch: u32,
        change: u64,
    },
    Measured {
        epoch: u32,
        change: u64,
    },
    Look {
        epoch: u32,
    },
    DaemonStarts,
}

pub struct World {
    pub now: Timestamp,
    pub random: Random,
    /// Of a thousand steps so many fail.
    pub faults_per_mille: u64,
    queue: BTreeMap<(Timestamp, u64), Occurrence>,
    queued: u64,
    pub machine: Machine,
    pub operations: BTreeMap<u64, Operation>,
    pub operations_begun: u64,
    pub programs: Programs,
    pub journal: Vec<Entry>,
    /// What the Compose file says.
    pub file: Rc<Declared>,
    pub daemon: Option<Daemon>,
    /// Counts daemons.
    pub epoch: u32,
    /// What the gateway has, with a daemon or without.
    pub table: RouteTable,
    pub watch: Watch,
    pub stack: StackName,
    pub settings: Settings,
    pub turns: u32,
    story: Option<RefCell<Vec<String>>>,
}

impl World {
    pub fn new(seed: u64, faults_per_mille: u64, is_told: bool) -> Self {
        let stack = StackName::new("shop").expect("valid");
        Self {
            now: START,
            random: Random::new(seed),
            faults_per_mille,
            queue: BTreeMap::new(),
            queued: 0,
            machine: Machine::default(),
            operations: BTreeMap::new(),
            operations_begun: 0,
            programs: Programs::default(),
            journal: Vec::new(),
            file: Rc::default(),
            daemon: Some(Daemon::new(0, View::default())),
            epoch: 0,
            table: RouteTable::empty(),
            watch: Watch::default(),
            stack,
            settings: Settings { files: "/files".into() },
            turns: 0,
            story: is_told.then(RefCell::default),
        }
    }

    /// A line of the story, if anybody reads it.
    pub fn tell(&self, text: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let at = self.now.since(START).0;
            story.borrow_mut().push(format!("{:>5}.{:03} {}", at / 1000, at % 1000, text()));
        }
    }

    pub fn story(&self) -> Vec<String> {
        self.story.as_ref().map(|s| s.borrow().clone()).unwrap_or_default()
    }

    /// `web#1 r2 (1a2b)` for people.
    pub fn name_of(&self, id: &InstanceId) -> String {
        match self.machine.view(id) {
            Some(view) => {
                let spec = &view.observed.spec;
                format!("{}#{} {} ({})", spec.service, spec.slot, spec.release, &id.as_str()[..4])
            }
            None => format!("({})", &id.as_str()[..4]),
        }
    }

    pub fn occurs_in(&mut self, ms: u64, occurrence: Occurrence) {
        self.queued += 1;
        self.queue.insert((self.now.plus(DurationMs(ms)), self.queued), occurrence);
    }

    /// Writes an entry down; its number. Nothing is done by a daemon that is not written before.
    pub fn record(&mut self, event: Event) -> u64 {
        let entry = Entry { at: self.now, event };
        let number = self.journal.len() as u64 + 1;
        if let Some(daemon) = &mut self.daemon {
            daemon.fold(number, &entry);
        }
        self.watch.recorded(&entry.event);
        self.journal.push(entry);
        number
    }

    /// Lets time pass up to `end`.
    pub fn pass_until(&mut self, end: Timestamp) -> Result<(), Violation> {
        loop {
            let wake = self.daemon.as_ref().and_then(|d| d.wake_at);
            let wake = wake.map(|at| at.max(self.now.plus(DurationMs(1))));
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let at = match (next, wake) {
                (Some(next), Some(wake)) => next.min(wake),
                (next, wake) => match next.or(wake) {
                    Some(at) => at,
                    None => break,
                },
            };
            if at > end {
                break;
            }
            self.now = at;
            let mut is_seen = wake == Some(at);
            while let Some(occurrence) = self.next_until(at) {
                is_seen |= self.occurs(occurrence)?;
                self.watch.machine(self.now, &self.machine)?;
            }
            if is_seen {
                self.turn_until_quiet()?;
            }
        }
        self.now = end;
        Ok(())
    }

    fn next_until(&mut self, at: Timestamp) -> Option<Occurrence> {
        let entry = self.queue.first_entry().filter(|e| e.key().0 <= at)?;
        Some(entry.remove())
    }

    fn turn_until_quiet(&mut self) -> Result<(), Violation> {
        while self.daemon.is_some() {
            self.turns += 1;
            if self.turns > MOST_TURNS {
                return Err(Violation::new("the loop rests", format!("{MOST_TURNS} turns")));
            }
            if !self.turn()? {
                break;
            }
        }
        Ok(())
    }

    /// Says whether a daemon would hear of it.
    fn occurs(&mut self, occurrence: Occurrence) -> Result<bool, Violation> {
        let is_run = |world: &Self, id: &InstanceId, run: u32| {
            world.machine.view(id).is_some_and(|v| v.is_running() && v.observed.starts == run)
        };
        Ok(match occurrence {
            Occurrence::Happens(happening) => self.happens(happening),
            Occurrence::Step(number) => self.advance(number),
            Occurrence::Well { id, run } if is_run(self, &id, run) => {
                self.tell(|| format!("{} does its work", self.name_of(&id)));
                self.machine.set_well(&id, true);
                self.is_noticed(&id, 40)
            }
            Occurrence::Sick { id, run, ms } if is_run(self, &id, run) => {
                self.tell(|| format!("{} ceases to do its work", self.name_of(&id)));
                self.machine.set_well(&id, false);
                if let Some(ms) = ms {
                    self.occurs_in(ms, Occurrence::Well { id: id.clone(), run });
                }
                self.is_noticed(&id, 5_000)
            }
            Occurrence::Ends { id, run, code } if is_run(self, &id, run) => {
                self.tell(|| format!("{} ends with code {code}", self.name_of(&id)));
                self.machine.end(&id, code, self.now);
                true
            }
            Occurrence::Probed { id, run, epoch } if epoch == self.epoch => self.probed(&id, run),
            Occurrence::Made { epoch, change } if epoch == self.epoch => self.made(change),
            Occurrence::Measured { epoch, change } if epoch == self.epoch => self.measured(change),
            Occurrence::Look { epoch } => epoch == self.epoch,
            Occurrence::DaemonStarts => {
                self.tell(|| "a daemon starts".to_owned());
                self.daemon = Some(Daemon::new(self.epoch, View::of(&self.journal)));
                true
            }
            _ => false,
        })
    }

    /// Nobody announces an open port: a daemon sees it when it looks, or by its probes.
    fn is_noticed(&mut self, id: &InstanceId, within_ms: u64) -> bool {
        let epoch = self.epoch;
        let look = self.random.between(1, within_ms);
        self.occurs_in(look, Occurrence::Look { epoch });
        self.begin_probes(id);
        false
    }

    /// What the program does once it runs.
    pub fn runs(&mut self, id: &InstanceId) {
        let (Some(truth), Some(view)) = (self.machine.truth(id), self.machine.view(id)) else { return };
        let (program, run) = (truth.program, view.observed.starts);
        self.tell(|| format!("{} runs: {}", self.name_of(id), program.describe()));
        if let Some(ms) = program.ready_ms {
            self.occurs_in(ms, Occurrence::Well { id: id.clone(), run });
        }
        if let Some((ms, code)) = program.ends {
            self.occurs_in(ms, Occurrence::Ends { id: id.clone(), run, code });
        }
        if let Some(ms) = program.sick_ms {
            self.occurs_in(ms, Occurrence::Sick { id: id.clone(), run, ms: None });
        }
    }

    /// The daemon is gone, and everything that it remembered.
    pub fn kill(&mut self, down_ms: u64) {
        if self.daemon.take().is_none() {
            return;
        }
        self.tell(|| format!("the daemon is killed; another starts in {down_ms} ms"));
        let epoch = self.epoch;
        self.epoch += 1;
        self.watch.troubles += 1;
        self.orphan_operations(epoch);
        self.machine.forget();
        self.occurs_in(down_ms, Occurrence::DaemonStarts);
    }

    /// Whether the daemon dies at this point of its turn, as the schedule has it.
    pub fn dies_at(&mut self, point: Point) -> bool {
        let Some(daemon) = &self.daemon else { return true };
        match daemon.dies_at {
            Some((at, down_ms, until)) if at == point && self.now <= until => {
                self.kill(down_ms);
                true
            }
            _ => false,
        }
    }
}
