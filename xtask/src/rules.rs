//! Which crate may use which: the arrows of ARCHITECTURE.md as data.

/// Crates that are pure: no files, sockets, clock, randomness, threads or async.
pub const CORE: &[&str] = &["model", "compose", "signals", "plan"];

/// What each crate may depend on among ours. A new crate gets a row, or the test fails.
pub const ARROWS: &[(&str, &[&str])] = &[
    // core
    ("model", &[]),
    ("compose", &["model"]),
    ("signals", &["model"]),
    ("plan", &["model", "signals"]),
    // the journal
    ("store", &["model"]),
    // functions
    ("run", &["model", "signals", "plan", "store"]),
    ("build", &["model", "store", "run"]),
    ("catalog", &["model", "build"]),
    ("registry", &["model", "build"]),
    ("gateway", &["model", "signals"]),
    ("certs", &["model"]),
    ("formats", &[]),
    ("observe", &["formats"]),
    ("alerts", &["model"]),
    ("net", &["model"]),
    ("host", &["model", "run", "net"]),
    // rim
    ("engines", &["model", "build", "formats"]),
    ("console", &["model", "compose", "signals", "plan", "store", "run", "build", "catalog"]),
    (
        "juchu",
        &[
            "model", "compose", "signals", "plan", "store", "run", "build", "catalog", "gateway", "certs",
            "net", "host", "console", "registry", "engines", "observe", "formats", "alerts",
        ],
    ),
    // development only
    ("testkit", &[]),
    ("traffic", &[]),
    ("xtask", &["model", "traffic", "testkit"]),
];

/// What tests may use beside the arrows of their crate (and the crate itself, with other features).
pub const FOR_TESTS: &[&str] = &["testkit", "traffic", "model"];

/// All that the core may depend on from outside: data, text and arithmetic.
pub const CORE_EXTERNAL: &[&str] =
    &["serde", "serde_json", "indexmap", "granit-parser", "thiserror", "sha2", "base64"];

/// Text that has no place in the sources of the core, and why.
pub const CORE_FORBIDDEN: &[(&str, &str)] = &[
    ("std::fs", "files are read by the caller"),
    ("std::net::Tcp", "no sockets"),
    ("std::net::Udp", "no sockets"),
    ("std::os::unix::net", "no sockets"),
    ("std::process", "no processes"),
    ("std::thread", "no threads"),
    ("std::env::var", "the environment is an argument"),
    ("SystemTime", "the time is an argument"),
    ("Instant::now", "the time is an argument"),
    ("thread_rng", "randomness is an argument"),
    (".canonicalize(", "files are looked at by the caller"),
    (".metadata(", "files are looked at by the caller"),
    (".read_dir(", "files are looked at by the caller"),
    (".exists()", "files are looked at by the caller"),
    (".is_file()", "files are looked at by the caller"),
    (".is_dir()", "files are looked at by the caller"),
    ("async fn", "the core is synchronous"),
    (".await", "the core is synchronous"),
];

/// Text that has no place in any source of the product, tests excepted, and why.
pub const FORBIDDEN: &[(&str, &str)] = &[
    ("Command::new(\"sh\")", "argument vectors only"),
    ("Command::new(\"bash\")", "argument vectors only"),
    ("Command::new(\"/bin/sh\")", "argument vectors only"),
    ("Command::new(\"/bin/bash\")", "argument vectors only"),
];

pub fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(of, _)| *of == name).map(|(_, arrows)| *arrows)
}

pub fn is_ours(name: &str) -> bool {
    allowed(name).is_some()
}

/// Whether `from` may depend on `to`, a crate of ours.
pub fn may_use(from: &str, to: &str, in_tests: bool) -> bool {
    let arrows = allowed(from).unwrap_or(&[]);
    arrows.contains(&to) || in_tests && (from == to || FOR_TESTS.contains(&to))
}
