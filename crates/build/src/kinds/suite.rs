//! What recipes must know about a suite before its index is read. (Debian and Ubuntu package indexes.)

/// Facts of one release; `names` are its code name and what it is called this year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    pub names: &'static [&'static str],
    pub glibc: (u32, u32),
    pub python: (u32, u32),
    /// Major version of the package `nodejs`.
    pub node: u64,
    /// The newest release of Java that is kept for all of the suite's time.
    pub java: u32,
    /// Libraries whose time type grew carry `t64` in their package names.
    pub t64: bool,
}

const SUITES: &[Suite] = &[
    Suite {
        names: &["bullseye", "oldoldstable"],
        glibc: (2, 31),
        python: (3, 9),
        node: 12,
        java: 17,
        t64: false,
    },
    Suite {
        names: &["bookworm", "oldstable"],
        glibc: (2, 36),
        python: (3, 11),
        node: 18,
        java: 17,
        t64: false,
    },
    Suite { names: &["trixie", "stable"], glibc: (2, 41), python: (3, 13), node: 20, java: 21, t64: true },
    Suite { names: &["jammy"], glibc: (2, 35), python: (3, 10), node: 12, java: 17, t64: false },
    Suite { names: &["noble"], glibc: (2, 39), python: (3, 12), node: 18, java: 21, t64: true },
];

impl Suite {
    pub fn find(name: &str) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.names.contains(&name))
    }

    /// Code names, for hints.
    pub fn names() -> String {
        SUITES.iter().map(|suite| suite.names[0]).collect::<Vec<_>>().join(", ")
    }
}
