//! What the control plane sees: processes that ended, ports that closed, starts that nobody asked for.

use super::ask::{Input, Overrides, input};
use super::catalogue::{INSTANCES, NOTIFICATIONS, PORTS, RESTARTS};
use model::InstanceId;
use model::range::Bounds;
use run::control::Watched;
use signals::incident::Subject;
use std::collections::{BTreeMap, BTreeSet};

/// The signals that are seen rather than measured.
pub const NAMES: [&str; 4] = ["instances", "ports", "restarts", "notifications"];

/// A start counts for so long.
const RESTART_MS: i64 = 10 * 60_000;

/// What was seen of instances before.
#[derive(Debug, Default)]
pub struct Live {
    starts: BTreeMap<InstanceId, u32>,
    /// Starts that nobody asked for, by service and when.
    restarts: BTreeMap<Subject, Vec<i64>>,
    /// Ports that were open in the present run of an instance.
    open: BTreeSet<(InstanceId, u32, u16)>,
}

impl Live {
    /// The signals of all services now, and of the receivers that cannot be told.
    pub fn look(
        &mut self,
        now_ms: i64,
        watched: &[Watched],
        troubled: usize,
        overrides: &Overrides,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        let mut present = BTreeSet::new();
        for service in watched {
            let subject = Subject::service(service.stack.clone(), service.service.clone());
            let restarts = self.restarts_of(now_ms, &subject, service);
            let closed = self.closed_of(service);
            present.extend(service.instances.iter().map(|instance| instance.id.clone()));
            if service.is_changing || service.is_off {
                continue;
            }
            let mut put = |kind, signal: &str, value: f64| {
                inputs.extend(input(
                    kind,
                    signal.to_owned(),
                    subject.clone(),
                    value,
                    Some(service),
                    overrides,
                ));
            };
            put(&INSTANCES, NAMES[0], f64::from(service.ready));
            put(&PORTS, NAMES[1], closed as f64);
            put(&RESTARTS, NAMES[2], restarts as f64);
            for one in
                inputs.iter_mut().filter(|one| one.name.signal == NAMES[0] && one.name.subject == subject)
            {
                // What is wanted changes with the file; what is declared for the signal wins.
                one.rule.bounds =
                    one.rule.bounds.or(Bounds::new(Some(f64::from(service.replicas)), None).ok());
                one.source = run::ranges::BoundsSource::Kind;
            }
        }
        self.starts.retain(|id, _| present.contains(id));
        self.open.retain(|(id, ..)| present.contains(id));
        inputs.extend(input(
            &NOTIFICATIONS,
            NAMES[3].to_owned(),
            Subject::MACHINE,
            troubled as f64,
            None,
            overrides,
        ));
        inputs
    }

    fn restarts_of(&mut self, now_ms: i64, subject: &Subject, service: &Watched) -> usize {
        let times = self.restarts.entry(subject.clone()).or_default();
        for instance in &service.instances {
            let before = self.starts.insert(instance.id.clone(), instance.starts);
            let more = before.map_or(0, |before| instance.starts.saturating_sub(before));
            if !service.is_changing && !service.is_off {
                times.extend((0..more).map(|_| now_ms));
            }
        }
        // What lies ahead was before the clock was set back.
        times.retain(|at| *at <= now_ms && now_ms - at < RESTART_MS);
        let count = times.len();
        if count == 0 {
            self.restarts.remove(subject);
        }
        count
    }

    /// Ports that were open in this run and are not any more.
    fn closed_of(&mut self, service: &Watched) -> usize {
        let mut closed = 0;
        for instance in service.instances.iter().filter(|instance| instance.is_running) {
            for (port, is_open) in &instance.ports {
                let key = (instance.id.clone(), instance.starts, *port);
                match is_open {
                    true => drop(self.open.insert(key)),
                    false => closed += usize::from(self.open.contains(&key)),
                }
            }
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ServiceName, StackName};
    use run::control::WatchedInstance;

    fn web(starts: u32, ready: u32, is_open: bool) -> Watched {
        Watched {
            stack: StackName::new("shop").expect("valid"),
            service: ServiceName::new("web").expect("valid"),
            release: None,
            is_off: false,
            is_changing: false,
            replicas: 1,
            ready,
            memory_limit: None,
            ranges: BTreeMap::new(),
            objectives: Default::default(),
            depends_on: Vec::new(),
            instances: vec![WatchedInstance {
                id: InstanceId::new("web1").expect("valid"),
                starts,
                is_running: true,
                ports: vec![(80, is_open)],
                ended: None,
            }],
        }
    }

    /// Which signals are beyond their bounds.
    fn outside(live: &mut Live, now_ms: i64, service: Watched) -> Vec<String> {
        let inputs = live.look(now_ms, &[service], 0, &Overrides::new());
        let is_out = |input: &&Input| {
            let bounds = input.rule.bounds.expect("seen signals have bounds");
            input.value.is_some_and(|value| !bounds.contains(value))
        };
        inputs.iter().filter(is_out).map(|input| input.name.signal.clone()).collect()
    }

    #[test]
    fn ends_closed_ports_and_restarts_are_seen() {
        let mut live = Live::default();
        assert!(outside(&mut live, 0, web(1, 1, false)).is_empty(), "it never was open");
        assert!(outside(&mut live, 1, web(1, 1, true)).is_empty());
        assert_eq!(outside(&mut live, 2, web(1, 1, false)), ["ports"]);
        assert_eq!(outside(&mut live, 3, web(1, 0, true)), ["instances"]);
        assert_eq!(outside(&mut live, 4, web(2, 1, true)), ["restarts"]);
        assert!(outside(&mut live, RESTART_MS + 10, web(2, 1, true)).is_empty());
    }

    #[test]
    fn what_is_changed_or_stopped_is_not_looked_at() {
        let mut live = Live::default();
        outside(&mut live, 0, web(1, 1, true));
        assert!(outside(&mut live, 1, Watched { is_changing: true, ..web(2, 0, false) }).is_empty());
        assert!(outside(&mut live, 2, Watched { is_off: true, ..web(2, 0, false) }).is_empty());
        assert!(outside(&mut live, 3, web(2, 1, true)).is_empty(), "that start was asked for");
    }
}
