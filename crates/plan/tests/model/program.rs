//! What the program of one version does once it runs.

use crate::random::Random;
use model::instance::InstanceSpec;
use model::{Digest, Service};
use std::collections::BTreeMap;

/// The environment variable by which a change of configuration is a new release.
pub const CONFIGURATION: &str = "CONFIGURATION";

/// The longest that a program takes that is as it should be.
pub const SLOWEST_MS: u64 = 15_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// When it begins to listen and passes its health check; never when absent.
    pub ready_ms: Option<u64>,
    /// When it ends by itself, and with which code.
    pub ends: Option<(u64, i32)>,
    /// When its health check begins to fail for good.
    pub sick_ms: Option<u64>,
    /// The engine cannot start it at all.
    pub cannot_start: bool,
    /// It is a job: its end is what it is for.
    pub is_job: bool,
}

impl Program {
    /// A version as it should be.
    pub fn good(random: &mut Random, is_job: bool) -> Self {
        let slow = random.percent(15);
        let ready = if slow { random.between(3_000, SLOWEST_MS) } else { random.mostly_low(5, 2_500) };
        let ends = is_job.then(|| (random.mostly_low(50, 8_000), 0));
        Self { ready_ms: Some(ready), ends, sick_ms: None, cannot_start: false, is_job }
    }

    /// One with something wrong.
    pub fn bad(random: &mut Random, is_job: bool) -> Self {
        let good = Self::good(random, is_job);
        match random.below(6) {
            0 => Self { cannot_start: true, ..good },
            1 => Self { ends: Some((random.between(1, 400), 1)), ..good },
            2 => Self { ends: Some((random.between(500, 9_000), 1)), ..good },
            3 if !is_job => Self { ends: Some((random.between(9_000, 90_000), 1)), ..good },
            4 if !is_job => Self { sick_ms: Some(random.between(500, 60_000)), ..good },
            _ => Self { ready_ms: None, ends: is_job.then_some((300, 1)), ..good },
        }
    }

    pub fn is_good(&self) -> bool {
        let ends_well = self.ends.is_none_or(|(_, code)| self.is_job && code == 0);
        self.ready_ms.is_some() && ends_well && self.sick_ms.is_none() && !self.cannot_start
    }

    pub fn describe(&self) -> String {
        match (self.cannot_start, self.ready_ms, self.ends, self.sick_ms) {
            (true, ..) => "cannot start".to_owned(),
            (_, _, Some((ms, code)), _) => format!("ends after {ms} ms with {code}"),
            (_, None, ..) => "never ready".to_owned(),
            (_, _, _, Some(ms)) => format!("sick after {ms} ms"),
            (_, Some(ms), ..) => format!("ready after {ms} ms"),
        }
    }
}

/// What each image does with each configuration.
#[derive(Default)]
pub struct Programs {
    known: BTreeMap<(Digest, String), Program>,
}

impl Programs {
    pub fn learn(&mut self, service: &Service, image: &Digest, program: Program) {
        let configuration = service.environment.get(CONFIGURATION).cloned().unwrap_or_default();
        self.known.insert((image.clone(), configuration), program);
    }

    pub fn knows(&self, service: &Service, image: &Digest) -> bool {
        let configuration = service.environment.get(CONFIGURATION).cloned().unwrap_or_default();
        self.known.contains_key(&(image.clone(), configuration))
    }

    pub fn of_service(&self, service: &Service, image: &Digest) -> Program {
        let configuration = service.environment.get(CONFIGURATION).cloned().unwrap_or_default();
        self.known[&(image.clone(), configuration)]
    }

    pub fn of(&self, spec: &InstanceSpec) -> Program {
        let configuration = spec.environment.get(CONFIGURATION).cloned().unwrap_or_default();
        self.known[&(spec.image.clone(), configuration)]
    }
}
