//! The firewall table of all our bridges, as data: what each chain says, in order. Pure.
//!
//! Linux routes only what enters by a device whose `forwarding` is on. We turn it on for our open
//! bridges and for the devices that answers come back by, never for the host as a whole; the rules
//! see to it that this opens nothing else (see `ruleset`).

use model::subnet::Cidr;
use std::fmt;

/// One of our bridges as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bridge {
    pub name: String,
    pub subnet: Cidr,
    pub internal: bool,
}

const MARK: &str = "juchu";

impl Bridge {
    /// The alias of the interface: marks it as ours and says what the rules need to know.
    pub fn alias(&self) -> String {
        format!("{MARK}:{}:{}", if self.internal { "internal" } else { "open" }, self.subnet)
    }

    pub fn from_alias(name: &str, alias: &str) -> Option<Self> {
        let (kind, subnet) = alias.strip_prefix(MARK)?.strip_prefix(':')?.split_once(':')?;
        let internal = match kind {
            "internal" => true,
            "open" => false,
            _ => return None,
        };
        Some(Self { name: name.to_owned(), subnet: Cidr::parse(subnet).ok()?, internal })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Packets for the host itself.
    Input,
    /// Packets that pass through.
    Forward,
    /// Address translation of what leaves.
    Postrouting,
}

impl Chain {
    pub const ALL: [Chain; 3] = [Chain::Input, Chain::Forward, Chain::Postrouting];

    pub const fn name(self) -> &'static str {
        match self {
            Chain::Input => "input",
            Chain::Forward => "forward",
            Chain::Postrouting => "postrouting",
        }
    }
}

/// A condition on a packet; a rule holds when all of its conditions do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    From(String),
    NotFrom(String),
    To(String),
    NotTo(String),
    Source(Cidr),
    Destination(Cidr),
    /// Part of a connection that was let through before, or an error message about one.
    Established,
    /// Part of no connection that there could be.
    Invalid,
    /// Somebody on this host published it: its destination was translated.
    Published,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Masquerade,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub chain: Chain,
    pub matches: Vec<Match>,
    pub verdict: Verdict,
}

/// As `nft` would write it; also kept beside the rule in the kernel, to recognise it again.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            match condition {
                Match::From(name) => write!(f, "iifname {name} "),
                Match::NotFrom(name) => write!(f, "iifname != {name} "),
                Match::To(name) => write!(f, "oifname {name} "),
                Match::NotTo(name) => write!(f, "oifname != {name} "),
                Match::Source(subnet) => write!(f, "ip saddr {subnet} "),
                Match::Destination(subnet) => write!(f, "ip daddr {subnet} "),
                Match::Established => write!(f, "ct state established,related "),
                Match::Invalid => write!(f, "ct state invalid "),
                Match::Published => write!(f, "ct status dnat "),
            }?;
        }
        f.write_str(match self.verdict {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
            Verdict::Masquerade => "masquerade",
        })
    }
}

/// The whole table, in a fixed order whatever the order of the arguments.
///
/// - input: an instance reaches its own gateway and virtual addresses, and, on an open network,
///   other addresses of the host. Nobody else reaches an address of a network: neither other
///   networks nor strangers who route to it. An internal network reaches nothing else.
/// - forward: open networks reach the outside. Nothing new enters a network, from outside or from
///   another network. What `routed` devices (those whose forwarding is on for our sake alone)
///   would newly pass on to strangers is dropped, so that the host does not become a router.
/// - postrouting: what leaves an open network takes the address of the host.
///
/// In a namespace `of_our_own` what comes from outside has passed a program (`pasta`), some versions of
/// which open a connection with a packet that has no flags. Let in, the kernel would answer it with a
/// reset to the connection of an instance.
pub fn ruleset(bridges: &[Bridge], routed: &[String], of_our_own: bool) -> Vec<Rule> {
    if bridges.is_empty() {
        return Vec::new();
    }
    let mut bridges = bridges.to_vec();
    bridges.sort();
    let strays = routed
        .iter()
        .filter(|_| of_our_own)
        .map(|device| rule(Chain::Input, vec![Match::From(device.clone()), Match::Invalid], Verdict::Drop));
    let mut rules: Vec<_> = strays.collect();
    rules.extend(input(&bridges));
    rules.extend(forward(&bridges, routed));
    rules.extend(postrouting(&bridges));
    rules
}

/// The device named by the text of a rule that `ruleset` writes for `routed` devices alone.
pub fn routed_device(rule: &str) -> Option<&str> {
    rule.strip_prefix("iifname ")?.strip_suffix(" ct status dnat accept")
}

fn rule(chain: Chain, matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { chain, matches, verdict }
}

fn input(bridges: &[Bridge]) -> Vec<Rule> {
    let rule = |matches, verdict| rule(Chain::Input, matches, verdict);
    let from = |b: &Bridge| Match::From(b.name.clone());
    let mut rules = vec![rule(vec![Match::Established], Verdict::Accept)];
    for bridge in bridges {
        rules.push(rule(vec![from(bridge), Match::Destination(bridge.subnet)], Verdict::Accept));
    }
    for bridge in bridges.iter().filter(|b| b.internal) {
        rules.push(rule(vec![from(bridge)], Verdict::Drop));
    }
    for bridge in bridges {
        let others = Match::NotFrom("lo".into());
        rules.push(rule(vec![others, Match::Destination(bridge.subnet)], Verdict::Drop));
    }
    rules
}

fn forward(bridges: &[Bridge], routed: &[String]) -> Vec<Rule> {
    let rule = |matches, verdict| rule(Chain::Forward, matches, verdict);
    let from = |b: &Bridge| Match::From(b.name.clone());
    let to = |b: &Bridge| Match::To(b.name.clone());
    let mut rules = vec![rule(vec![Match::Established], Verdict::Accept)];
    // Bridged packets come by here too where the host filters bridges (br_netfilter).
    rules.extend(bridges.iter().map(|b| rule(vec![from(b), to(b)], Verdict::Accept)));
    rules.extend(bridges.iter().map(|b| rule(vec![to(b)], Verdict::Drop)));
    rules.extend(bridges.iter().filter(|b| b.internal).map(|b| rule(vec![from(b)], Verdict::Drop)));
    let mut routed = routed.to_vec();
    routed.sort();
    for device in routed {
        rules.push(rule(vec![Match::From(device.clone()), Match::Published], Verdict::Accept));
        rules.push(rule(vec![Match::From(device)], Verdict::Drop));
    }
    rules
}

fn postrouting(bridges: &[Bridge]) -> Vec<Rule> {
    let open = bridges.iter().filter(|b| !b.internal);
    open.map(|b| {
        let leaves = [Match::NotTo(b.name.clone()), Match::NotTo("lo".into())];
        let matches = [vec![Match::Source(b.subnet)], leaves.to_vec()].concat();
        rule(Chain::Postrouting, matches, Verdict::Masquerade)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str, subnet: &str, internal: bool) -> Bridge {
        Bridge { name: name.into(), subnet: Cidr::parse(subnet).unwrap(), internal }
    }

    #[test]
    fn the_table_of_an_open_and_an_internal_network() {
        let bridges = [bridge("jcb", "10.208.4.0/22", true), bridge("jca", "10.208.0.0/22", false)];
        let text: Vec<_> = ruleset(&bridges, &["eth0".into()], false)
            .iter()
            .map(|rule| format!("{}: {rule}", rule.chain.name()))
            .collect();
        assert_eq!(
            text,
            [
                "input: ct state established,related accept",
                "input: iifname jca ip daddr 10.208.0.0/22 accept",
                "input: iifname jcb ip daddr 10.208.4.0/22 accept",
                "input: iifname jcb drop",
                "input: iifname != lo ip daddr 10.208.0.0/22 drop",
                "input: iifname != lo ip daddr 10.208.4.0/22 drop",
                "forward: ct state established,related accept",
                "forward: iifname jca oifname jca accept",
                "forward: iifname jcb oifname jcb accept",
                "forward: oifname jca drop",
                "forward: oifname jcb drop",
                "forward: iifname jcb drop",
                "forward: iifname eth0 ct status dnat accept",
                "forward: iifname eth0 drop",
                "postrouting: ip saddr 10.208.0.0/22 oifname != jca oifname != lo masquerade",
            ]
        );
    }

    #[test]
    fn the_table_remembers_which_devices_it_routes() {
        let rules = ruleset(&[bridge("jca", "10.208.0.0/22", true)], &["eth0".into(), "wg.1".into()], false);
        let text: Vec<_> = rules.iter().map(Rule::to_string).collect();
        assert_eq!(text.iter().filter_map(|t| routed_device(t)).collect::<Vec<_>>(), ["eth0", "wg.1"]);
    }

    #[test]
    fn in_a_namespace_of_our_own_strays_are_dropped() {
        let bridges = [bridge("jca", "10.208.0.0/22", false)];
        let (ours, hosts) =
            (ruleset(&bridges, &["eth0".into()], true), ruleset(&bridges, &["eth0".into()], false));
        assert_eq!(ours[0].to_string(), "iifname eth0 ct state invalid drop");
        assert_eq!(ours[1..], hosts);
    }

    #[test]
    fn without_networks_there_is_no_table() {
        assert_eq!(ruleset(&[], &["eth0".into()], true), []);
    }

    #[test]
    fn an_alias_says_whose_bridge_it_is() {
        for bridge in [bridge("jca", "10.208.0.0/22", false), bridge("jcb", "10.0.0.0/8", true)] {
            assert_eq!(Bridge::from_alias(&bridge.name, &bridge.alias()), Some(bridge));
        }
        for other in ["", "juchu", "juchux:open:10.0.0.0/8", "juchu:shut:10.0.0.0/8", "juchu:open:10.0.0.1/8"]
        {
            assert_eq!(Bridge::from_alias("jca", other), None, "{other}");
        }
    }
}
