//! What one build may take of this machine, and the sentence for a build that wanted more.

use host::Pressure;
use model::image::{BuildLimits, ImageSource};
use model::service::Resources;
use model::{Bytes, Cpus, DurationMs, ErrorKind, Report, Service};
use std::path::Path;

/// Against 1024 of a service: builds take what is left.
const WEIGHT: u64 = 128;
const TASKS: i64 = 4096;
const DISK: Bytes = Bytes::mib(10 << 10);
/// Of the machine's memory, so that what serves keeps the other part.
const MEMORY_SHARE: u64 = 2;
const MEMORY_LEAST: Bytes = Bytes::mib(512);
/// With less left on the disk the build ends, whatever it may write.
pub const DISK_FLOOR: Bytes = Bytes::mib(256);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub memory: Bytes,
    pub cpus: Option<Cpus>,
    pub weight: u64,
    pub disk: Bytes,
    pub tasks: i64,
    pub timeout: DurationMs,
    /// Whether somebody asked for any of them.
    pub stated: bool,
}

/// A limit that a build ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Memory,
    Disk,
    /// The disk itself is full, whatever the limit.
    NoSpace,
    Tasks,
    Time,
}

impl Limits {
    /// What is declared, and for the rest what follows from this machine.
    pub fn of(service: &Service) -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        match &service.image {
            ImageSource::Build(spec) => Self::from(&spec.limits, total_memory(&text)),
            _ => Self::from(&BuildLimits::default(), total_memory(&text)),
        }
    }

    fn from(declared: &BuildLimits, machine: Option<Bytes>) -> Self {
        let share = machine.map_or(MEMORY_LEAST, |all| Bytes(all.0 / MEMORY_SHARE));
        Self {
            memory: declared.memory.unwrap_or(share.max(MEMORY_LEAST)),
            cpus: declared.cpus,
            weight: declared.weight.unwrap_or(WEIGHT),
            disk: declared.disk.unwrap_or(DISK),
            tasks: declared.pids.unwrap_or(TASKS),
            timeout: declared.timeout(),
            stated: BuildLimits { network: None, ..declared.clone() } != BuildLimits::default(),
        }
    }

    /// In the words of a control group.
    pub fn resources(&self) -> Resources {
        Resources {
            memory: Some(self.memory),
            cpus: self.cpus,
            cpu_shares: Some(self.weight),
            pids: Some(self.tasks),
            ..Resources::default()
        }
    }

    /// What the pressure on its group says of a build that failed. `killed`: something in it ended by
    /// SIGKILL.
    pub fn judge(&self, pressure: Pressure, killed: bool) -> Option<Exceeded> {
        if pressure.out_of_memory || pressure.memory_short && killed {
            return Some(Exceeded::Memory);
        }
        pressure.out_of_tasks.then_some(Exceeded::Tasks)
    }

    pub fn report(&self, exceeded: Exceeded, place: &Path) -> Report {
        let raise = |key: &str, to: String| {
            format!("give the service more with `x-juchu: {{build: {{{key}: {to}}}}}`, or let it need less")
        };
        let refused = |text: String| Report::new(ErrorKind::Build, text);
        match exceeded {
            Exceeded::Memory => {
                refused(format!("the build needed more than its limit of {} of memory", self.memory))
                    .hint(raise("memory", in_file(Bytes(self.memory.0 * 2))))
            }
            Exceeded::Disk => refused(format!("the build wrote more than its limit of {}", self.disk))
                .hint(raise("disk", in_file(Bytes(self.disk.0 * 2)))),
            Exceeded::Tasks => refused(format!(
                "the build wanted more than its limit of {} processes and threads",
                self.tasks
            ))
            .hint(raise("pids", (self.tasks * 2).to_string())),
            Exceeded::Time => {
                refused(format!("the build took longer than its limit of {} and was ended", self.timeout))
                    .hint(raise("timeout", format!("{}s", self.timeout.0.div_ceil(1000) * 2)))
            }
            Exceeded::NoSpace => Report::environment(format!(
                "the build was ended because less than {DISK_FLOOR} is left on the disk of {}",
                place.display()
            ))
            .hint("make room; `juchu image gc --built` removes images that nothing needs"),
        }
    }
}

/// As a Compose file takes it.
fn in_file(bytes: Bytes) -> String {
    match bytes.0 {
        whole if whole.is_multiple_of(1 << 30) => format!("{}g", whole >> 30),
        part => format!("{}m", part.div_ceil(1 << 20)),
    }
}

fn total_memory(text: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kibibytes << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_small_machine_stays_for_what_serves() {
        let limits = |kibibytes: &str| {
            Limits::from(
                &BuildLimits::default(),
                total_memory(&format!("MemTotal: {kibibytes} kB\nX: 1 kB\n")),
            )
        };
        assert_eq!(limits("2097152").memory, Bytes::mib(1024));
        assert_eq!(limits("524288").memory, MEMORY_LEAST);
        assert!(limits("2097152").weight < 1024 && !limits("1").stated);
    }

    #[test]
    fn what_was_exceeded_names_the_limit_and_where_to_raise_it() {
        let declared = BuildLimits { memory: Some(Bytes::mib(64)), pids: Some(20), ..Default::default() };
        let limits = Limits::from(&declared, None);
        let said = |exceeded| limits.report(exceeded, Path::new("/srv")).to_string();
        assert_eq!(
            said(Exceeded::Memory),
            "error: the build needed more than its limit of 64 MiB of memory\n\
             hint: give the service more with `x-juchu: {build: {memory: 128m}}`, or let it need less"
        );
        assert!(said(Exceeded::Disk).contains("10 GiB") && said(Exceeded::Disk).contains("disk: 20g"));
        assert!(said(Exceeded::Tasks).contains("20 processes") && said(Exceeded::Time).contains("14400s"));
        assert!(said(Exceeded::NoSpace).contains("/srv"));
    }

    #[test]
    fn a_shortage_alone_is_no_failure() {
        let limits = Limits::from(&BuildLimits::default(), None);
        let short = Pressure { memory_short: true, ..Pressure::default() };
        assert_eq!(limits.judge(short, false), None);
        assert_eq!(limits.judge(short, true), Some(Exceeded::Memory));
        assert_eq!(limits.judge(Pressure { out_of_tasks: true, ..short }, false), Some(Exceeded::Tasks));
    }
}
