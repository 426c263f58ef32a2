//! The fold over the whole journal: one [`StackView`] per stack that is there, and the numbers
//! that must not be used again after a stack was removed and comes back under its old name.

use crate::record::v1::Event;
use crate::view::StackView;
use model::{StackName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The highest numbers a removed stack had reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub newest: u64,
    pub last_plan: u64,
}

/// What the journal says about one stack.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StackState {
    /// `None` while it does not exist.
    pub view: Option<StackView>,
    pub retired: Option<Retired>,
}

impl StackState {
    /// Folds one event of stack `name` in.
    ///
    /// A removed stack comes back only by an event that founds one: something seen late on an
    /// instance of a removed stack does not make it appear again.
    pub fn apply(self, name: &StackName, seq: u64, at: Timestamp, actor: &str, event: &Event) -> Self {
        let Some(view) = self.view.or_else(|| founds(event).then(|| begin(name, self.retired))) else {
            return Self { view: None, retired: self.retired };
        };
        let reached = Retired { newest: view.newest, last_plan: view.last_plan };
        match view.apply(seq, at, actor, event) {
            Some(view) => Self { view: Some(view), retired: self.retired },
            None => Self { view: None, retired: Some(reached) },
        }
    }
}

fn begin(name: &StackName, retired: Option<Retired>) -> StackView {
    let mut view = StackView::new(name.clone());
    if let Some(retired) = retired {
        view.newest = retired.newest;
        view.last_plan = retired.last_plan;
    }
    view
}

const fn founds(event: &Event) -> bool {
    matches!(
        event,
        Event::ChangeAccepted { .. }
            | Event::ImageBuilt { .. }
            | Event::ReleaseMade { .. }
            | Event::ReleaseActivated { .. }
            | Event::PlanAccepted { .. }
    )
}

/// All stacks, folded from the first entry on.
#[derive(Debug, Default)]
pub struct Fold {
    pub stacks: BTreeMap<StackName, StackState>,
}

impl Fold {
    pub fn apply(&mut self, name: &StackName, seq: u64, at: Timestamp, actor: &str, event: &Event) {
        let state = self.stacks.remove(name).unwrap_or_default().apply(name, seq, at, actor, event);
        if state != StackState::default() {
            self.stacks.insert(name.clone(), state);
        }
    }

    pub fn views(&self) -> impl Iterator<Item = &StackView> {
        self.stacks.values().filter_map(|s| s.view.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::v1::{Intent, Outcome, Seen};
    use model::{Digest, InstanceId, ReleaseId, ServiceName};

    fn name() -> StackName {
        StackName::new("shop").expect("valid")
    }

    fn change(intent: Intent) -> Event {
        Event::ChangeAccepted {
            intent,
            stack: None,
            services: vec![],
            why: String::new(),
            from: None,
            again: false,
        }
    }

    fn fold(events: &[Event]) -> StackState {
        events.iter().enumerate().fold(StackState::default(), |state, (i, event)| {
            state.apply(&name(), i as u64 + 1, Timestamp(0), "root", event)
        })
    }

    fn life() -> Vec<Event> {
        let bundle = Digest::of(b"bundle");
        vec![
            change(Intent::Up),
            Event::ReleaseMade {
                release: ReleaseId(7),
                change: 1,
                bundle,
                differences: vec![],
                made_of: None,
            },
            Event::PlanAccepted { plan: 40, parent: 39, steps: vec![] },
            change(Intent::Down { volumes: false }),
            Event::Concluded {
                change: 4,
                outcome: Outcome::Kept,
                release: None,
                reason: String::new(),
                took_ms: 1,
                figures: vec![],
            },
        ]
    }

    #[test]
    fn a_removed_stack_is_gone_and_its_numbers_are_remembered() {
        let state = fold(&life());
        assert_eq!(state.view, None);
        assert_eq!(state.retired, Some(Retired { newest: 7, last_plan: 40 }));
    }

    #[test]
    fn a_stack_that_comes_back_goes_on_counting() {
        let mut events = life();
        events.push(change(Intent::Up));
        let view = fold(&events).view.expect("it was founded again");
        assert_eq!((view.newest, view.last_plan), (7, 40));
        assert!(view.releases.is_empty() && view.active.is_none());
    }

    #[test]
    fn a_late_sighting_does_not_bring_a_removed_stack_back() {
        let mut events = life();
        events.push(Event::InstanceSeen {
            service: ServiceName::new("web").expect("valid"),
            instance: InstanceId::new("a1").expect("valid"),
            what: Seen::Removed,
            detail: String::new(),
        });
        assert_eq!(fold(&events).view, None);
    }
}
