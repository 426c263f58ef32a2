//! Limits: `deploy.resources`, and the older keys of the service itself.

use super::{parsed, service::size_or_unlimited, text};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::service::Resources;
use model::{Bytes, Cpus};

pub(super) fn resources(node: &Node, sink: &mut Sink) -> Resources {
    let deploy = node.get("deploy").and_then(|deploy| deploy.get("resources"));
    let limits = deploy.and_then(|resources| resources.get("limits"));
    let reserved = deploy.and_then(|resources| resources.get("reservations"));
    let memory = limits.and_then(|limits| size_or_unlimited(limits, "memory", sink));
    let memory = memory.or_else(|| size_or_unlimited(node, "mem_limit", sink));
    let reservation = reserved.and_then(|reserved| size_or_unlimited(reserved, "memory", sink));
    let reservation = reservation.or_else(|| size_or_unlimited(node, "mem_reservation", sink));
    let pids = limits.and_then(|limits| limits.get("pids")).or_else(|| node.get("pids_limit"));
    let resources = Resources {
        cpus: cpus(limits, sink).or_else(|| cpus(Some(node), sink)),
        cpu_shares: shares(node, sink),
        cpuset: cpuset(node, sink),
        memory: limited(memory),
        memory_reservation: limited(reservation),
        memory_swap: size_or_unlimited(node, "memswap_limit", sink).filter(|swap| *swap != 0),
        pids: pids.and_then(Node::as_int).filter(|pids| *pids != 0),
        cpu_quota_us: number(node, "cpu_quota", sink).filter(|quota| *quota > 0),
        cpu_period_us: number(node, "cpu_period", sink)
            .and_then(|period| u64::try_from(period).ok())
            .filter(|p| *p > 0),
        swappiness: number(node, "mem_swappiness", sink).and_then(|share| u64::try_from(share).ok()),
        oom_kill_disable: super::flag(node, "oom_kill_disable"),
        block_io: super::block_io::block_io(node, sink),
    };
    plausible(node, &resources, sink);
    resources
}

/// Nothing and `-1` are no limit.
fn limited(size: Option<i64>) -> Option<Bytes> {
    size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0).map(Bytes)
}

fn cpus(node: Option<&Node>, sink: &mut Sink) -> Option<Cpus> {
    parsed(node?, "cpus", sink, Cpus::parse).filter(|cpus| cpus.0 > 0)
}

fn shares(node: &Node, sink: &mut Sink) -> Option<u64> {
    let found = node.get("cpu_shares")?;
    match found.as_int()? {
        0 => None,
        value @ 2..=262_144 => Some(value as u64),
        value => {
            sink.error(found.pos, format!("`cpu_shares` must be between 2 and 262144, {value} is not"));
            None
        }
    }
}

/// A list of processors and ranges: `0-1,3`.
fn cpuset(node: &Node, sink: &mut Sink) -> Option<String> {
    let set = text(node, "cpuset").filter(|set| !set.is_empty())?;
    let part = |part: &str| crate::ports::range(part.trim()).is_some();
    if set.split(',').all(part) {
        return Some(set);
    }
    let pos = node.get("cpuset").map(|node| node.pos);
    sink.error_hint(pos, format!("`cpuset` cannot be `{set}`"), "write processors such as `0-1,3`");
    None
}

/// A whole number, also as text.
fn number(node: &Node, key: &str, sink: &mut Sink) -> Option<i64> {
    super::parsed(node, key, sink, |text| {
        text.parse::<i64>().map_err(|_| format!("`{text}` is not a whole number"))
    })
}

fn plausible(node: &Node, resources: &Resources, sink: &mut Sink) {
    if let (Some(memory), Some(swap)) = (resources.memory, resources.memory_swap)
        && swap > 0
        && (swap as u64) < memory.0
    {
        let pos = node.get("memswap_limit").map(|node| node.pos);
        let hint = "it counts memory and swap together";
        sink.error_hint(pos, "`memswap_limit` is smaller than the memory limit", hint);
    }
    let takes_time = resources.cpu_quota_us.is_some() || resources.cpu_period_us.is_some();
    if resources.cpus.is_some() && takes_time {
        let pos = node.get("cpu_quota").or(node.get("cpu_period")).map(|node| node.pos);
        sink.error_hint(pos, "`cpus` and `cpu_quota` say the same in two ways", "keep one of the two");
    }
    if let Some(share) = resources.swappiness.filter(|share| *share > 100) {
        let pos = node.get("mem_swappiness").map(|node| node.pos);
        sink.error(pos, format!("`mem_swappiness` must be between 0 and 100, {share} is not"));
    }
    if let (Some(memory), Some(reserved)) = (resources.memory, resources.memory_reservation)
        && reserved > memory
    {
        sink.error(node.pos, "the memory reservation is larger than the memory limit");
    }
}
