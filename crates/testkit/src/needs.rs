//! What a test needs from its machine. Where it is missing the test is skipped aloud, and on a
//! build server (the variable `CI` is set) it fails: there nothing may be skipped in silence.

use std::env;
use std::path::PathBuf;

/// Whether the test runs as root. Use: `if !testkit::require_root("name of the test") { return; }`.
#[must_use = "return from the test when this is false"]
pub fn require_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        missing(test, "root", "run the tests as root, for example `sudo -E cargo test`");
    }
    is_root
}

/// Where `binary` is, looked for in `PATH` and the directories of system tools; `package` is the
/// Debian package that has it. Use: `let Some(psql) = testkit::needs("psql", "postgresql-client")
/// else { return };`.
#[must_use = "return from the test when this is None"]
pub fn needs(binary: &str, package: &str) -> Option<PathBuf> {
    let path = find(binary);
    if path.is_none() {
        missing(&current_test(), binary, &format!("apt-get install {package}"));
    }
    path
}

/// A Python with the validators that `cargo xtask test` installs below `target`.
#[must_use = "return from the test when this is None"]
pub fn python_with_validators() -> Option<PathBuf> {
    python_with("validators")
}

/// A Python with clients and servers of HTTP/2 and gRPC and the client library of Prometheus, from
/// the same place.
#[must_use = "return from the test when this is None"]
pub fn python_with_peers() -> Option<PathBuf> {
    python_with("peers")
}

fn python_with(what: &str) -> Option<PathBuf> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let python = PathBuf::from(root).join("target/xtask").join(what).join("bin/python3");
    if python.is_file() {
        return Some(python);
    }
    missing(&current_test(), &format!("{what} from PyPI"), "cargo xtask test");
    None
}

pub(crate) fn find(binary: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(binary)).find(|path| path.is_file())
}

/// Panics on a build server, else says that the test is skipped and what would change that.
pub(crate) fn missing(test: &str, what: &str, hint: &str) {
    let text = format!("{test} needs {what}: {hint}");
    assert!(env::var_os("CI").is_none(), "{text}");
    eprintln!("skipped: {text}");
}

/// Test threads carry the name of their test.
pub(crate) fn current_test() -> String {
    std::thread::current().name().unwrap_or("this test").to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_binary_is_found_where_it_is() {
        let shell = super::needs("sh", "dash").expect("every machine that builds this has a shell");
        assert!(shell.is_absolute() && shell.is_file());
        assert_eq!(super::find("no-such-binary-anywhere"), None);
    }
}
