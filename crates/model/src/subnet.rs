//! Subnets of the networks: choosing a free one, and how one is laid out. Pure: what is taken
//! on this host is an argument.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Length of a subnet that is chosen: 1,024 addresses.
pub const CHOSEN_PREFIX_LEN: u8 = 22;
/// Where subnets are chosen from, in this order. The first is seldom used by anybody; the rest
/// leaves out 172.16.0.0/15, which other container engines take first.
pub const POOLS: [Cidr; 3] = [
    Cidr { base: Ipv4Addr::new(10, 208, 0, 0), prefix_len: 13 },
    Cidr { base: Ipv4Addr::new(172, 24, 0, 0), prefix_len: 13 },
    Cidr { base: Ipv4Addr::new(172, 18, 0, 0), prefix_len: 15 },
];
/// Addresses at the start of a subnet that are kept for the gateway and the services.
pub const RESERVED_MAX: u32 = 256;
/// Smallest usable subnet: gateway, two services, eleven instances.
pub const LONGEST_PREFIX_LEN: u8 = 28;

/// A block of IPv4 addresses; the host bits of its base are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    base: Ipv4Addr,
    prefix_len: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("`{0}` is not a subnet, expected a form such as `10.20.0.0/22`")]
    NotACidr(String),
    #[error("`{given}` has host bits set, the subnet is `{subnet}`")]
    HostBits { given: String, subnet: Cidr },
    #[error("the subnet {0} is too small, at least a /{LONGEST_PREFIX_LEN} is needed")]
    TooSmall(Cidr),
    #[error("the subnet {wanted} overlaps {taken}, which is in use on this host")]
    Overlap { wanted: Cidr, taken: Cidr },
    #[error("the network {name} has the subnet {taken} and not {wanted}, and another stack is on it")]
    Shared { name: String, wanted: Cidr, taken: Cidr },
    #[error("no address is left in {0} for another service")]
    Full(Cidr),
    #[error("no free /{CHOSEN_PREFIX_LEN} is left in 10.208.0.0/13, 172.24.0.0/13 and 172.18.0.0/15")]
    Exhausted,
}

impl Cidr {
    /// The block that `address` lies in: host bits are cleared. `None` above /32.
    pub fn containing(address: Ipv4Addr, prefix_len: u8) -> Option<Self> {
        (prefix_len <= 32)
            .then(|| Self { base: Ipv4Addr::from(u32::from(address) & mask(prefix_len)), prefix_len })
    }

    /// `10.20.0.0/22`; a bare address is a /32.
    pub fn parse(text: &str) -> Result<Self, SubnetError> {
        let malformed = || SubnetError::NotACidr(text.to_owned());
        let (address, len) = text.split_once('/').unwrap_or((text, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let digits_only = len.bytes().all(|b| b.is_ascii_digit());
        let prefix_len = len.parse::<u8>().ok().filter(|_| digits_only).ok_or_else(malformed)?;
        let subnet = Self::containing(address, prefix_len).ok_or_else(malformed)?;
        if subnet.base != address {
            return Err(SubnetError::HostBits { given: text.to_owned(), subnet });
        }
        Ok(subnet)
    }

    pub const fn base(self) -> Ipv4Addr {
        self.base
    }

    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix_len))
    }

    /// Number of addresses, at most 2³².
    pub const fn size(self) -> u64 {
        1 << (32 - self.prefix_len as u32)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix_len) == u32::from(self.base)
    }

    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// The address `offset` after the base, when it lies in the block.
    pub fn nth(self, offset: u32) -> Option<Ipv4Addr> {
        (u64::from(offset) < self.size()).then(|| Ipv4Addr::from(u32::from(self.base) + offset))
    }
}

const fn mask(prefix_len: u8) -> u32 {
    match prefix_len {
        0 => 0,
        len => u32::MAX << (32 - len as u32),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_len)
    }
}

impl FromStr for Cidr {
    type Err = SubnetError;
    fn from_str(text: &str) -> Result<Self, SubnetError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Cidr {
    type Error = SubnetError;
    fn try_from(text: String) -> Result<Self, SubnetError> {
        Self::parse(&text)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

/// Who gets which address of a subnet:
///
/// ```text
/// 10.208.0.0/22    .0.0 the network itself
///                  .0.1 the gateway (bridge, default route, name server)
///                  .0.2 – .0.255 virtual addresses of services
///                  .1.0 – .3.254 instances            .3.255 broadcast
/// ```
/// In a subnet below 1,024 addresses the first quarter is kept for gateway and services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    subnet: Cidr,
    reserved: u32,
}

impl Layout {
    pub fn new(subnet: Cidr) -> Result<Self, SubnetError> {
        if subnet.prefix_len > LONGEST_PREFIX_LEN {
            return Err(SubnetError::TooSmall(subnet));
        }
        let quarter = u32::try_from(subnet.size() / 4).unwrap_or(RESERVED_MAX);
        Ok(Self { subnet, reserved: quarter.min(RESERVED_MAX) })
    }

    pub fn subnet(self) -> Cidr {
        self.subnet
    }

    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.base) + 1)
    }

    /// In ascending order.
    pub fn virtual_addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (2..self.reserved).filter_map(move |offset| self.subnet.nth(offset))
    }

    /// The addresses of a part of the subnet that somebody can have, in ascending order.
    pub fn usable(self, part: Cidr) -> impl Iterator<Item = Ipv4Addr> {
        let (base, last) = (u64::from(u32::from(self.subnet.base)), self.subnet.size() - 1);
        let first = u64::from(u32::from(part.base));
        (first..first + part.size())
            .filter(move |address| (base + 1..base + last).contains(address))
            .filter_map(|address| u32::try_from(address).ok().map(Ipv4Addr::from))
    }

    /// In ascending order; the broadcast address is left out.
    pub fn instance_addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let last = u32::try_from(self.subnet.size() - 1).unwrap_or(u32::MAX);
        (self.reserved..last).filter_map(move |offset| self.subnet.nth(offset))
    }
}

/// One subnet for each wish, in order: the declared one where there is one, else the next free
/// /22. `taken` is what the host and earlier networks use; results never overlap it or each other.
pub fn choose_subnets(taken: &[Cidr], wanted: &[Option<Cidr>]) -> Result<Vec<Cidr>, SubnetError> {
    let mut used = taken.to_vec();
    // A default route is no claim on the addresses it covers.
    used.retain(|cidr| cidr.prefix_len > 0);
    for subnet in wanted.iter().copied().flatten() {
        Layout::new(subnet)?;
        if let Some(taken) = used.iter().copied().find(|t| t.overlaps(subnet)) {
            return Err(SubnetError::Overlap { wanted: subnet, taken });
        }
        used.push(subnet);
    }
    let mut chosen = Vec::with_capacity(wanted.len());
    for wish in wanted {
        let subnet = match wish {
            Some(subnet) => *subnet,
            None => next_free(&used).ok_or(SubnetError::Exhausted)?,
        };
        used.push(subnet);
        chosen.push(subnet);
    }
    Ok(chosen)
}

/// The first /22 of the pools that nothing in `used` overlaps.
fn next_free(used: &[Cidr]) -> Option<Cidr> {
    let mut obstacles = used.to_vec();
    obstacles.sort_unstable();
    POOLS.iter().find_map(|pool| {
        let pool_end = u64::from(u32::from(pool.base)) + pool.size();
        let step = 1u64 << (32 - CHOSEN_PREFIX_LEN);
        let mut base = u64::from(u32::from(pool.base));
        for obstacle in &obstacles {
            let obstacle_base = u64::from(u32::from(obstacle.base));
            if obstacle_base >= base + step {
                break; // all further ones begin after the gap at `base`
            }
            // Past the whole of what is in the way, on the next boundary.
            base = base.max((obstacle_base + obstacle.size()).next_multiple_of(step));
        }
        let free = u32::try_from(base).ok().filter(|_| base < pool_end)?;
        Some(Cidr { base: free.into(), prefix_len: CHOSEN_PREFIX_LEN })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).expect("a test's own subnet")
    }

    fn check(taken: &[&str], wanted: &[Option<&str>], expect: Result<&[&str], &str>) {
        let taken: Vec<_> = taken.iter().map(|t| cidr(t)).collect();
        let wanted: Vec<_> = wanted.iter().map(|w| w.map(cidr)).collect();
        let found = choose_subnets(&taken, &wanted)
            .map(|list| list.iter().map(Cidr::to_string).collect::<Vec<_>>())
            .map_err(|error| error.to_string());
        let expect = expect.map(|l| l.iter().map(|s| s.to_string()).collect()).map_err(str::to_owned);
        assert_eq!(found, expect);
    }

    #[test]
    fn the_next_free_block_is_chosen() {
        check(&[], &[None, None], Ok(&["10.208.0.0/22", "10.208.4.0/22"]));
        check(&["0.0.0.0/0", "192.168.1.0/24"], &[None], Ok(&["10.208.0.0/22"]));
        check(&["10.208.0.0/22", "10.208.8.0/22"], &[None, None], Ok(&["10.208.4.0/22", "10.208.12.0/22"]));
        check(&["10.208.1.7/32"], &[None], Ok(&["10.208.4.0/22"]));
        check(&["10.209.0.0/16", "10.208.0.0/16"], &[None], Ok(&["10.210.0.0/22"]));
    }

    #[test]
    fn a_company_that_uses_all_of_ten_gets_another_pool() {
        check(&["10.0.0.0/8"], &[None], Ok(&["172.24.0.0/22"]));
        check(&["10.0.0.0/8", "172.24.0.0/13"], &[None], Ok(&["172.18.0.0/22"]));
        check(
            &["10.0.0.0/8", "172.16.0.0/12"],
            &[None],
            Err("no free /22 is left in 10.208.0.0/13, 172.24.0.0/13 and 172.18.0.0/15"),
        );
    }

    #[test]
    fn declared_subnets_are_kept_and_avoided_by_the_others() {
        check(&[], &[None, Some("10.208.0.0/16")], Ok(&["10.209.0.0/22", "10.208.0.0/16"]));
        check(
            &["10.5.0.0/16"],
            &[Some("10.5.3.0/24")],
            Err("the subnet 10.5.3.0/24 overlaps 10.5.0.0/16, which is in use on this host"),
        );
        check(
            &[],
            &[Some("10.5.0.0/24"), Some("10.5.0.0/25")],
            Err("the subnet 10.5.0.0/25 overlaps 10.5.0.0/24, which is in use on this host"),
        );
        check(
            &[],
            &[Some("10.5.0.0/30")],
            Err("the subnet 10.5.0.0/30 is too small, at least a /28 is needed"),
        );
    }

    #[test]
    fn every_chosen_block_of_a_full_pool_is_disjoint() {
        let total = (1 << 9) + (1 << 9) + (1 << 7);
        let chosen = choose_subnets(&[], &vec![None; total]).expect("exactly what the pools hold");
        let distinct: std::collections::BTreeSet<_> = chosen.iter().collect();
        assert_eq!(distinct.len(), total);
        assert!(chosen.iter().all(|c| POOLS.iter().any(|p| p.contains(c.base()))));
        assert_eq!(choose_subnets(&chosen, &[None]), Err(SubnetError::Exhausted));
    }

    #[test]
    fn subnets_read_as_people_write_them() {
        assert_eq!(cidr("10.1.2.3").to_string(), "10.1.2.3/32");
        assert_eq!(cidr("0.0.0.0/0").size(), 1 << 32);
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "fd00::/8", "10.0.0.0/8/8"] {
            assert!(matches!(Cidr::parse(bad), Err(SubnetError::NotACidr(_))), "{bad}");
        }
        assert_eq!(
            Cidr::parse("10.0.0.1/8").unwrap_err().to_string(),
            "`10.0.0.1/8` has host bits set, the subnet is `10.0.0.0/8`"
        );
    }

    #[test]
    fn a_layout_gives_every_address_to_one_use() {
        let layout = Layout::new(cidr("10.208.4.0/22")).unwrap();
        assert_eq!(layout.gateway().to_string(), "10.208.4.1");
        let services: Vec<_> = layout.virtual_addresses().collect();
        let instances: Vec<_> = layout.instance_addresses().collect();
        assert_eq!((services.len(), instances.len()), (254, 767));
        assert_eq!(
            (services[0].to_string(), services[253].to_string()),
            ("10.208.4.2".into(), "10.208.4.255".into())
        );
        assert_eq!(
            (instances[0].to_string(), instances[766].to_string()),
            ("10.208.5.0".into(), "10.208.7.254".into())
        );

        let small = Layout::new(cidr("10.0.0.16/28")).unwrap();
        assert_eq!(small.virtual_addresses().count(), 2);
        assert_eq!(small.instance_addresses().last().unwrap().to_string(), "10.0.0.30");
    }
}
