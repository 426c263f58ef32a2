//! `juchu enter DIR [options] -- COMMAND…`: joins a running instance with the caller's streams.
//!
//! A process of its own, because the container library wants a single-threaded caller. With
//! `--tty` it relays between the caller's terminal and one made inside.

pub(crate) mod terminal;

use crate::apart::{self, Turn};
use crate::cgroup::{Cgroup, CommandGroup, Hierarchies, UnifiedView};
use crate::console::Console;
use crate::container::{self, Streams};
use crate::executor::Launch;
use crate::program::Problem;
use crate::record::{Job, Run, StartFailure};
use crate::rootfs::Tree;
use crate::{capabilities, durable, process, seccomp, spec, sys};
use rustix::pipe::{PipeFlags, pipe_with};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Request {
    dir: PathBuf,
    user: Option<String>,
    working_dir: Option<String>,
    environment: Vec<(String, String)>,
    group: Option<String>,
    tty: bool,
    privileged: bool,
    argv: Vec<String>,
}

/// Exit code: the command's own; 126 or 127 when it cannot be run; 125 for anything else.
/// Must run before any thread exists.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let request = match parse(arguments) {
        Ok(request) => request,
        Err(problem) => return fail(&Problem::other(problem)),
    };
    match enter(&request) {
        Ok(code) => ExitCode::from(code as u8),
        Err(problem) => fail(&problem),
    }
}

fn fail(problem: &Problem) -> ExitCode {
    eprintln!("error: {}", problem.reason);
    ExitCode::from(problem.code as u8)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut request = Request::default();
    let mut rest = arguments.into_iter();
    request.dir = rest.next().ok_or("the instance's directory is missing")?.into();
    let text =
        |value: Option<OsString>| value.and_then(|v| v.into_string().ok()).ok_or("an option has no value");
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--") => {
                let argv = rest.map(OsString::into_string).collect::<Result<Vec<_>, _>>();
                request.argv = argv.map_err(|_| "the command is not UTF-8")?;
                break;
            }
            Some("--privileged") => request.privileged = true,
            Some("--tty") => request.tty = true,
            Some("--user") => request.user = Some(text(rest.next())?),
            Some("--workdir") => request.working_dir = Some(text(rest.next())?),
            Some("--group") => request.group = Some(text(rest.next())?),
            Some("--env") => {
                let pair = text(rest.next())?;
                let (key, value) = pair.split_once('=').ok_or("--env takes KEY=VALUE")?;
                request.environment.push((key.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("`{}` is not an option", argument.display())),
        }
    }
    if request.argv.is_empty() { Err("the command is missing".to_owned()) } else { Ok(request) }
}

fn enter(request: &Request) -> Result<i32, Problem> {
    let (job, run) = load(&request.dir)?;
    let init = run.init.filter(|init| process::is_alive(*init));
    let init = init.ok_or_else(|| Problem::other(format!("instance {} does not run", job.spec.id)))?;
    let own = format!("{}-{}", std::process::id(), job.run);
    let process_file = request.dir.join(format!("enter-{own}.json"));
    let console = match request.tty {
        true => Some(
            Console::listen(&request.dir.join(format!("enter-{own}.tty")))
                .map_err(problem("make a terminal"))?,
        ),
        false => None,
    };
    let hierarchies =
        Hierarchies::detect_for(job.unprivileged.as_ref()).map_err(problem("find the control groups"))?;
    let group_name = request.group.clone().unwrap_or_else(|| format!("enter-{own}"));
    let group = hierarchies
        .group(job.spec.id.as_str())
        .command_group(&group_name)
        .map_err(problem("make a control group"))?;
    let (problems, report) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| problem("make a pipe")(e.into()))?;
    let entry = Entry {
        launch: prepare(request, job.clone(), init.pid, &process_file, report)?,
        process_file: &process_file,
        console: console.as_ref().map(Console::path),
        instance: hierarchies.group(job.spec.id.as_str()),
        group: &group,
        job: &job,
    };
    let entered = entry.make();
    // It is in a private directory that goes with the instance.
    let _ = std::fs::remove_file(&process_file);
    let outcome = match entered {
        Ok(pid) => relay(pid, console),
        Err(found) => Err(reported(problems).unwrap_or(found)),
    };
    match request.group {
        Some(_) => group.close(),
        None => group.leave(),
    }
    outcome
}

fn load(dir: &Path) -> Result<(Job, Run), Problem> {
    let missing = || Problem::other(format!("{}: there is no running instance here", dir.display()));
    let job: Job =
        durable::read_json(&dir.join("job.json")).map_err(problem("read the job"))?.ok_or_else(missing)?;
    let run = durable::read_json(&job.layout.run()).map_err(problem("read the run"))?.ok_or_else(missing)?;
    Ok((job, run))
}

/// What is made inside once everything is known.
struct Entry<'a> {
    launch: Launch,
    process_file: &'a Path,
    console: Option<&'a Path>,
    instance: Cgroup,
    group: &'a CommandGroup,
    job: &'a Job,
}

impl Entry<'_> {
    /// By a process born in the command's group where there can be one, so that nobody has to be
    /// moved there; the command then becomes this process's child.
    fn make(self) -> Result<i32, Problem> {
        let Some(home) = self.group.home().map_err(problem("open the control group"))? else {
            return self.enter(false).map_err(Problem::other);
        };
        sys::become_subreaper().map_err(problem("wait for the command"))?;
        let work = |turn: Turn| {
            let is_placed = turn.is_placed;
            let entered = if turn.wait() { self.enter(is_placed) } else { Ok(0) };
            serde_json::to_vec(&entered).expect("plain values")
        };
        let answer = apart::create(Some(&home), || Ok::<_, Infallible>(()), work);
        let Ok(answer) = answer.map_err(problem("make a process"))?;
        let ended = |_| Problem::other("the preparation ended without an answer".to_owned());
        serde_json::from_slice::<Result<i32, String>>(&answer).map_err(ended)?.map_err(Problem::other)
    }

    fn enter(mut self, is_placed: bool) -> Result<i32, String> {
        let opened = self.instance.open_tasks().and_then(|mut groups| {
            if let Some(procs) = self.group.procs().filter(|_| !is_placed) {
                groups.push(File::options().write(true).open(procs)?);
            }
            Ok(groups)
        });
        self.launch.groups = Rc::new(opened.map_err(|error| format!("open the control groups: {error}"))?);
        let view = sys::new_mount_namespace().and_then(|()| UnifiedView::over(&self.instance, is_placed));
        let _view = view.map_err(|error| format!("show the control groups: {error}"))?;
        container::enter(
            self.job.spec.id.as_str(),
            &self.job.layout.container_root(),
            self.process_file,
            self.launch,
            Streams::default(),
            self.console,
        )
    }
}

/// Writes the process specification and says how it is to be launched.
fn prepare(
    request: &Request,
    mut job: Job,
    init: i32,
    process_file: &Path,
    report: std::os::fd::OwnedFd,
) -> Result<Launch, Problem> {
    job.spec.process.tty = request.tty;
    job.spec.environment.extend(request.environment.iter().cloned());
    let tree =
        Tree::open(Path::new(&format!("/proc/{init}/root"))).map_err(problem("look into the instance"))?;
    let user = request.user.as_deref().or(job.spec.process.user.as_deref());
    let identity = spec::identify(&job, &tree, user).map_err(from_failure)?;
    let cwd =
        spec::working_dir(&job, request.working_dir.as_deref().or(job.spec.process.working_dir.as_deref()));
    if tree.find(Path::new(&cwd), rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY).is_err() {
        return Err(Problem::other(format!("the directory `{cwd}` is not in the instance")));
    }
    let section = spec::process_section(&job, &identity, &cwd, &request.argv).map_err(from_failure)?;
    let section = serde_json::to_vec(&section).expect("values are plain");
    durable::write_volatile(process_file, &section).map_err(problem("write the process"))?;
    let settings = &job.spec.process;
    let is_privileged = settings.privileged || request.privileged;
    let set = capabilities::resolve(&settings.cap_add, &settings.cap_drop, is_privileged)
        .map_err(Problem::other)?;
    let filters = seccomp::filters_of(settings, is_privileged, &set)
        .map_err(|error| Problem::other(error.to_string()))?;
    Ok(Launch {
        filters: Rc::new(filters),
        capabilities: Some(capabilities::for_user(&set, identity.uid)),
        no_new_privileges: settings.no_new_privileges,
        report: Some(Rc::new(report)),
        // Without a group of its own the helper's end is the only way to end it.
        die_with_parent: job.unprivileged.as_ref().is_some_and(|user| user.groups.is_err()),
        ..Launch::default()
    })
}

/// Waits for the command, passing signals or the terminal on.
fn relay(pid: i32, console: Option<Console>) -> Result<i32, Problem> {
    if let Some(console) = console {
        let inside = console.receive().map_err(problem("receive the terminal"))?;
        return terminal::relay(pid, &inside).map_err(problem("relay the terminal"));
    }
    Ok(sys::wait_passing_signals(pid))
}

fn reported(problems: std::os::fd::OwnedFd) -> Option<Problem> {
    let mut text = String::new();
    File::from(problems).take(4096).read_to_string(&mut text).ok()?;
    Problem::parse(&text)
}

fn from_failure(failure: StartFailure) -> Problem {
    Problem { code: failure.code(), reason: failure.reason() }
}

fn problem(what: &'static str) -> impl FnOnce(io::Error) -> Problem {
    move |error| Problem::other(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_end_where_the_command_begins() {
        let parse = |text: &str| parse(text.split(' ').map(OsString::from));
        let request = parse("/run/x --env A=b=c --user app --tty -- ls --user").unwrap();
        assert_eq!(request.environment, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!((request.tty, request.user.as_deref()), (true, Some("app")));
        assert_eq!(request.argv, ["ls", "--user"]);
        for bad in ["/run/x", "/run/x --", "/run/x --env A -- ls", "/run/x --nope -- ls", "/run/x --user"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
