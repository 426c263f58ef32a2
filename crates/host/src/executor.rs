//! The last steps inside the container: group, filter, capabilities, then the program itself.
//!
//! The filter goes in before capabilities are dropped, because without `no_new_privs` the kernel
//! takes filters only from an administrator; with it, the filter goes in last.

use crate::init;
use crate::program::{Problem, find_program};
use crate::seccomp::Filters;
use crate::sys::{self, CapabilityBits};
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// `f_type` of anonymous pipes, as in `statfs(2)`.
const PIPE_FILE_SYSTEM: u64 = 0x5049_5045;

/// Called with the program's environment; what it answers keeps the program from starting.
pub type StartHooks = Rc<dyn Fn(&[String]) -> Result<(), String>>;

/// What the container library does not do, or does silently not do.
#[derive(Clone, Default)]
pub struct Launch {
    pub filters: Rc<Filters>,
    /// The specification given to the library must then state none, or they are gone too early.
    pub capabilities: Option<CapabilityBits>,
    pub no_new_privileges: bool,
    /// Gets why the program could not start; closed by a start that worked.
    pub report: Option<Rc<OwnedFd>>,
    /// `tasks` or `cgroup.procs` of each group that the process is to put itself into.
    pub groups: Rc<Vec<File>>,
    pub die_with_parent: bool,
    /// Run a minimal init as process 1, the program as its child.
    pub init: bool,
    pub start_hooks: Option<StartHooks>,
    /// Filled by the container library.
    pub environment: Rc<RefCell<Vec<CString>>>,
}

impl Executor for Launch {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        find_program(arguments(spec), search_path(spec)).map(drop).map_err(|problem| {
            if self.report.is_some() {
                self.report(&problem);
            }
            ExecutorValidationError::ArgValidationError(problem.reason)
        })
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        let entries = envs.into_iter().filter_map(|(key, value)| CString::new(format!("{key}={value}")).ok());
        *self.environment.borrow_mut() = entries.collect();
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        give_streams(spec);
        let problem = match self.run_hooks().and_then(|()| self.confine()) {
            Ok(()) => self.run(spec),
            Err(problem) => problem,
        };
        self.report(&problem);
        Err(ExecutorError::Execution(problem.reason.into()))
    }
}

impl Launch {
    fn run_hooks(&self) -> Result<(), Problem> {
        let Some(hooks) = &self.start_hooks else { return Ok(()) };
        let environment = self.environment.borrow();
        let environment: Vec<String> =
            environment.iter().map(|entry| entry.to_string_lossy().into_owned()).collect();
        hooks(&environment).map_err(Problem::other)
    }

    fn confine(&self) -> Result<(), Problem> {
        let failed = |what: &str, error: std::io::Error| Problem::other(format!("{what}: {error}"));
        for mut group in self.groups.iter() {
            group.write_all(b"0").map_err(|e| failed("join the control groups", e))?;
        }
        if !self.no_new_privileges {
            self.install_filters().map_err(|e| failed("install the system call filter", e))?;
        }
        if let Some(capabilities) = self.capabilities {
            sys::drop_capabilities(capabilities).map_err(|e| failed("drop capabilities", e))?;
        }
        if self.die_with_parent {
            sys::die_with_parent().map_err(|e| failed("bind to the supervisor", e))?;
        }
        if self.no_new_privileges {
            self.install_filters().map_err(|e| failed("install the system call filter", e))?;
        }
        Ok(())
    }

    fn install_filters(&self) -> std::io::Result<()> {
        self.filters.iter().try_for_each(sys::install_filter)
    }

    /// Returns only when the program could not be started.
    fn run(&self, spec: &Spec) -> Problem {
        let arguments = arguments(spec);
        let path = match find_program(arguments, search_path(spec)) {
            Ok(path) => path,
            Err(problem) => return problem,
        };
        let Ok(list) = arguments.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>()
        else {
            return Problem::other("an argument holds a zero byte".to_owned());
        };
        // Rust's runtime ignores SIGPIPE, which programs would inherit.
        sys::reset_signals();
        if self.init
            && let Err(error) = init::split()
        {
            return Problem::other(format!("start init: {error}"));
        }
        let error = sys::execute(&path, &list, &self.environment.borrow());
        Problem::of_execution(&path.to_string_lossy(), &error)
    }

    fn report(&self, problem: &Problem) {
        // Without a reader there is nobody left to tell.
        let _ = match &self.report {
            Some(report) => {
                rustix::io::write(report, format!("{}\n{}", problem.code, problem.reason).as_bytes())
            }
            None => {
                rustix::io::write(rustix::stdio::stderr(), format!("error: {}\n", problem.reason).as_bytes())
            }
        };
    }
}

/// Makes pipes and the container's own terminal the program's, so that it may open `/dev/stdout` by
/// name although root made them. Files and terminals of the caller stay whose they are.
fn give_streams(spec: &Spec) {
    let own = rustix::process::geteuid();
    let has_terminal = spec.process().as_ref().and_then(|process| process.terminal()) == Some(true);
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let is_pipe = rustix::fs::fstatfs(stream).is_ok_and(|fs| fs.f_type as u64 == PIPE_FILE_SYSTEM);
        if is_pipe || has_terminal && rustix::termios::isatty(stream) {
            // By descriptor it can be used all the same.
            let _ = rustix::fs::fchown(stream, Some(own), None);
        }
    }
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default()
}

fn search_path(spec: &Spec) -> &str {
    let environment =
        spec.process().as_ref().and_then(|process| process.env().as_deref()).unwrap_or_default();
    environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(crate::users::DEFAULT_PATH)
}
