use std::process::ExitCode;
use xtask::{
    Outcome, bench, check, fresh, fuzz, oci_suites, oracle, pure_v2, registry_suite, screenshots, test,
};

const HELP: &str = "\
cargo xtask check               formatting, lints, crate rules, docs, licences
cargo xtask test                all tests; installs the Debian packages they need when run as root
cargo xtask test --fast         only those outside modules named `slow`
cargo xtask test --slow         only those inside modules named `slow`, one at a time
cargo xtask bench NAME…|all     measures and prints a table; `--write` puts it into SPECIFICATION.md
cargo xtask bench cutover --requests 60000 [--only ours|nginx|haproxy] [--program PATH]
                                a shorter load; one side alone; another build of juchu
cargo xtask oracle [AREA[/NAME]…]
                                asks Docker Compose about the cases of crates/compose/tests/corpus and
                                stores what it says; fetches the program (`--reference PATH`: another)
cargo xtask oracle --unpack AREA/NAME
                                writes the files of a case out, for trying things
cargo xtask oracle --compare DIR|FILE… [--program PATH]
                                where `docker-compose config` and `juchu config` differ over these files
cargo xtask oci-suites [--runtime-tools DIR] [--contest DIR] [NAME…]
                                runs public suites for OCI runtimes, built there, over `juchu oci`, runc and crun
                                (root); `--program PATH`: another build; `--only juchu|runc|crun`; `--verbose`
cargo xtask registry-suite --suite DIR
                                runs the conformance program of the distribution specification, built there, over
                                `juchu registry` and docker-registry; `--program PATH`: another build; `--version dev`
cargo xtask fresh               both commands of the README on a bare Debian 12 with Rust (root, half an hour)
cargo xtask pure-v2             the engine's tests on a machine with v2 control groups alone: Debian's kernel in an
                                emulator (root, some minutes; part of `test`)
cargo xtask fuzz [PARSER…] [--seconds N]
                                searches bytes that break a parser of the gateway, a minute each (libFuzzer; a C++
                                compiler)
cargo xtask screenshots         every page of the console in light and dark, wide and narrow, below
                                target/screenshots; needs chromium
cargo xtask help                this text, and the list of benches
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[&str]) -> Outcome {
    match arguments {
        ["check"] => check::run(),
        ["test"] => test::run(test::Set::All),
        ["test", "--fast"] => test::run(test::Set::Fast),
        ["test", "--slow"] => test::run(test::Set::Slow),
        ["pure-v2"] => pure_v2::run_all(),
        ["screenshots"] => screenshots::run(),
        ["fresh"] => fresh::run_all(),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        [fresh::HOLD] => fresh::hold(),
        ["bench", names @ ..] if !names.is_empty() => bench::run(names),
        ["oracle", arguments @ ..] => oracle::run(arguments),
        ["oci-suites", arguments @ ..] => oci_suites::run(arguments),
        ["registry-suite", arguments @ ..] => registry_suite::run(arguments),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}\n{}", bench::list());
            Ok(())
        }
        other => Err(format!("unknown command `{}`\n\n{HELP}", other.join(" ")).into()),
    }
}
