//! `cargo xtask registry-suite`: the conformance program of the distribution specification over
//! `juchu registry` and over Debian's registry.

use crate::bench::table::Table;
use crate::{Failure, Outcome, process, workspace};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::{ProcessGuard, TempDir, free_port};

/// The program in the suite's directory, as `go build -o conformance .` makes it there.
const PROGRAM: &str = "conformance";
const START_LIMIT: Duration = Duration::from_secs(20);
/// What the suite counts, by the words of its summary.
const COUNTS: [&str; 5] = ["Pass", "FAIL", "Error", "Skip", "Disabled"];

/// What can be said after `registry-suite`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    suite: PathBuf,
    /// The build of juchu that is judged; without it one is made.
    program: Option<PathBuf>,
    /// The version of the specification; the suite's own choice without it.
    version: Option<String>,
}

impl Options {
    fn take(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match *argument {
                "--suite" => options.suite = value()?.into(),
                "--program" => options.program = Some(value()?.into()),
                "--version" => options.version = Some((*value()?).to_owned()),
                other => return Err(format!("no option `{other}`").into()),
            }
        }
        if options.suite.as_os_str().is_empty() {
            return Err(
                "say where the suite is built: `--suite DIR`, which holds the program `conformance`".into()
            );
        }
        Ok(options)
    }

    fn program(&self) -> Result<PathBuf, Failure> {
        match &self.program {
            Some(program) => {
                Ok(program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?)
            }
            None => {
                process::run(&workspace::root(), "cargo", &["build", "--quiet", "-p", "juchu"])?;
                Ok(workspace::root().join("target/debug/juchu"))
            }
        }
    }
}

/// A registry that runs until it is dropped.
struct Judged {
    name: &'static str,
    address: String,
    _process: ProcessGuard,
    _directory: TempDir,
}

fn ours(program: &Path) -> Result<Judged, Failure> {
    let directory = TempDir::new();
    let mut command = Command::new(program);
    command
        .args(["--quiet", "registry", "serve", "--listen", "127.0.0.1:0", "--anonymous", "push"])
        .env("JUCHU_HOME", directory.path())
        .stdout(Stdio::piped());
    let mut process = ProcessGuard::spawn(&mut command);
    let mut line = String::new();
    BufReader::new(process.child.stdout.take().expect("it was asked for")).read_line(&mut line)?;
    let address = line.trim().strip_prefix("http://").ok_or("juchu registry did not say its address")?;
    Ok(Judged { name: "juchu", address: address.to_owned(), _process: process, _directory: directory })
}

/// Debian's, with deletion switched on; `None` where it is not installed.
fn debian() -> Result<Option<Judged>, Failure> {
    if !process::answers("docker-registry", &["--version"]) {
        eprintln!("docker-registry is not there; the table goes without it");
        return Ok(None);
    }
    let directory = TempDir::new();
    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{delete: {{enabled: true}}, filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: '{address}'}}\n",
        directory.path().join("storage").display()
    );
    let path = directory.path().join("config.yml");
    fs::write(&path, config)?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let process = ProcessGuard::spawn(&mut command);
    let started = Instant::now();
    while TcpStream::connect(&address).is_err() {
        if started.elapsed() > START_LIMIT {
            return Err("docker-registry does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Some(Judged { name: "docker-registry", address, _process: process, _directory: directory }))
}

/// What the suite says about one registry.
fn judge(options: &Options, judged: &Judged) -> Result<String, Failure> {
    let directory = TempDir::new();
    let report = directory.path().join("report");
    let mut command = Command::new(options.suite.join(PROGRAM));
    command
        .current_dir(directory.path())
        .env("OCI_REGISTRY", &judged.address)
        .env("OCI_TLS", "disabled")
        .env("OCI_RESULTS_DIR", directory.path())
        .stdout(File::create(&report)?)
        .stderr(Stdio::null());
    if let Some(version) = &options.version {
        command.env("OCI_VERSION", version);
    }
    // It ends with a failure when a check fails, which is what is counted here.
    command.status().map_err(|error| format!("{}: {error}", options.suite.join(PROGRAM).display()))?;
    Ok(fs::read_to_string(report)?)
}

/// The numbers at the end of a report, in the order of `COUNTS`.
fn counts(report: &str) -> Option<[u32; COUNTS.len()]> {
    let (_, summary) = report.split_once("OCI Conformance Result:")?;
    let count = |word: &str| -> Option<u32> {
        let line = summary.lines().find(|line| line.trim_start().starts_with(&format!("{word}..")))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let mut found = [0; COUNTS.len()];
    for (word, found) in COUNTS.iter().zip(&mut found) {
        *found = count(word)?;
    }
    Some(found)
}

pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::take(arguments)?;
    let program = options.program()?;
    let mut table = Table::new(&["registry", "passed", "failed", "errors", "skipped", "switched off"]);
    let mut failed = String::new();
    for judged in [Some(ours(&program)?), debian()?].into_iter().flatten() {
        eprintln!("conformance over {}", judged.name);
        let report = judge(&options, &judged)?;
        let found = counts(&report).ok_or("the suite ended without a summary")?;
        let [passed, failures, errors, skipped, off] = found.map(|number| number.to_string());
        table.row([judged.name.to_owned(), passed, failures, errors, skipped, off]);
        if judged.name == "juchu" {
            let lines = report.lines().filter(|line| line.ends_with(": FAIL") || line.ends_with(": Error"));
            failed = lines.map(|line| format!("{}\n", line.trim())).collect();
        }
    }
    println!("{}{failed}", table.to_text());
    if failed.is_empty() { Ok(()) } else { Err("ours fails some checks".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let report = "Test results\n  x/Pass..: 9\nOCI Conformance Result: FAIL\n  Disabled......:          2\n  \
                      Skip..........:          0\n  Pass..........:        860\n  FAIL..........:          1\n  \
                      Error.........:          3\n  Total.........:        866\n";
        assert_eq!(counts(report), Some([860, 1, 3, 0, 2]));
        assert_eq!(counts("nothing"), None);
    }

    #[test]
    fn the_suite_has_to_be_named() {
        assert_eq!(Options::take(&["--suite", "d"]).expect("valid").suite, PathBuf::from("d"));
        for wrong in [&[][..], &["--suite"], &["--nothing"]] {
            Options::take(wrong).expect_err("wrong");
        }
    }
}
