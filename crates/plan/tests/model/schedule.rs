//! What happens in a case from outside: wishes of people, failures of programs, deaths of the daemon.

use crate::random::Random;
use std::fmt;

/// A change of the Compose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    NewVersions,
    Configuration,
    Replicas,
    Policies,
    Add,
    Remove,
    Rename,
    Nothing,
}

/// Where in its turn a daemon dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Accepted,
    Planned,
    Routed,
    /// After so many steps of a plan were begun.
    Begun(u32),
    Concluded,
}

/// `salt` decides what is left open, so that a shorter schedule changes nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Up {
        salt: u64,
        edit: Edit,
        twice: bool,
    },
    /// A new version of one service, by its name.
    Deploy {
        salt: u64,
    },
    Rollback {
        salt: u64,
    },
    RollbackTo {
        salt: u64,
    },
    RollbackOne {
        salt: u64,
    },
    Restart {
        salt: u64,
    },
    Stop {
        salt: u64,
    },
    Start {
        salt: u64,
    },
    Crash {
        salt: u64,
        all: bool,
    },
    /// Programs cease to do their work for a while.
    Flap {
        salt: u64,
    },
    Kill {
        down_ms: u64,
        point: Option<Point>,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Scheduled {
    /// After the one before.
    pub gap_ms: u64,
    pub happening: Happening,
}

pub struct Schedule {
    /// Of everything that is no happening.
    pub seed: u64,
    pub faults_per_mille: u64,
    pub happenings: Vec<Scheduled>,
}

impl Schedule {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let faults = random.weighted(&[(5, 0), (3, 15), (2, 80)]);
        let first = Scheduled {
            gap_ms: 0,
            happening: Happening::Up { salt: random.next(), edit: Edit::NewVersions, twice: false },
        };
        let count = random.between(3, 12);
        let rest =
            (0..count).map(|_| Scheduled { gap_ms: gap(&mut random), happening: happening(&mut random) });
        let happenings = std::iter::once(first).chain(rest).collect();
        Self { seed: random.next(), faults_per_mille: faults, happenings }
    }
}

fn gap(random: &mut Random) -> u64 {
    let (low, high) = random.weighted(&[
        (15, (0, 400)),
        (35, (400, 8_000)),
        (35, (8_000, 60_000)),
        (10, (60_000, 200_000)),
        (5, (200_000, 400_000)),
    ]);
    random.between(low, high)
}

fn happening(random: &mut Random) -> Happening {
    let salt = random.next();
    let down_ms = random.mostly_low(20, 6_000);
    let point = match random.below(8) {
        0 => Some(Point::Accepted),
        1 => Some(Point::Planned),
        2 => Some(Point::Routed),
        3 => Some(Point::Begun(random.below(3) as u32 + 1)),
        4 => Some(Point::Concluded),
        _ => None,
    };
    let edit = random.weighted(&[
        (10, Edit::NewVersions),
        (4, Edit::Configuration),
        (3, Edit::Replicas),
        (3, Edit::Policies),
        (2, Edit::Add),
        (2, Edit::Remove),
        (3, Edit::Rename),
        (1, Edit::Nothing),
    ]);
    random.weighted(&[
        (32, Happening::Up { salt, edit, twice: salt.is_multiple_of(7) }),
        (8, Happening::Deploy { salt }),
        (12, Happening::Rollback { salt }),
        (3, Happening::RollbackTo { salt }),
        (3, Happening::RollbackOne { salt }),
        (4, Happening::Restart { salt }),
        (3, Happening::Stop { salt }),
        (3, Happening::Start { salt }),
        (10, Happening::Crash { salt, all: false }),
        (4, Happening::Crash { salt, all: true }),
        (6, Happening::Flap { salt }),
        (14, Happening::Kill { down_ms, point }),
    ])
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Up { edit, twice, .. } => {
                write!(f, "up with {edit:?}{}", if *twice { ", by two people" } else { "" })
            }
            Happening::Deploy { .. } => write!(f, "deploy of one service"),
            Happening::Rollback { .. } => write!(f, "rollback"),
            Happening::RollbackTo { .. } => write!(f, "rollback to a release"),
            Happening::RollbackOne { .. } => write!(f, "rollback of one service"),
            Happening::Restart { .. } => write!(f, "restart"),
            Happening::Stop { .. } => write!(f, "stop"),
            Happening::Start { .. } => write!(f, "start"),
            Happening::Crash { all, .. } => write!(f, "crash of {}", if *all { "all" } else { "one" }),
            Happening::Flap { .. } => write!(f, "a program ceases to work for a while"),
            Happening::Kill { point: None, .. } => write!(f, "kill of the daemon"),
            Happening::Kill { point: Some(point), .. } => write!(f, "kill of the daemon ({point:?})"),
        }
    }
}
