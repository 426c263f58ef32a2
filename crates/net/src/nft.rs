//! Writes the firewall table into the kernel by the nf_tables netlink protocol, without `nft`.
//! The table is replaced whole in one transaction, and only when it differs from what stands.
//! Numbers are from `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`; unlike
//! rtnetlink, every integer is big-endian.

use crate::NetError;
use crate::rules::{self, Chain, Match, Rule, Verdict};
use crate::socket::{Answer, Socket};
use crate::wire::{self, Attributes, Message};
use model::subnet::Cidr;
use rustix::io::Errno;
use std::io;

/// The table, of family `ip`: the networks are IPv4 and their bridges have IPv6 disabled.
pub const TABLE: &str = "juchu";
const FAMILY: u8 = libc::NFPROTO_IPV4 as u8;
const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The transaction is refused when the firewall is no longer of this generation.
const BATCH_GENID: u16 = 1;

/// Attribute types, by the structure they stand in.
mod attr {
    pub const TABLE_NAME: u16 = 1;
    pub const CHAIN_TABLE: u16 = 1;
    pub const CHAIN_NAME: u16 = 3;
    pub const CHAIN_HOOK: u16 = 4;
    pub const CHAIN_POLICY: u16 = 5;
    pub const CHAIN_TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    pub const RULE_TABLE: u16 = 1;
    pub const RULE_CHAIN: u16 = 2;
    pub const RULE_EXPRESSIONS: u16 = 4;
    pub const RULE_USERDATA: u16 = 7;
    pub const LIST_ELEMENT: u16 = 1;
    pub const EXPRESSION_NAME: u16 = 1;
    pub const EXPRESSION_DATA: u16 = 2;
    pub const DATA_VALUE: u16 = 1;
    pub const DATA_VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const GENERATION_ID: u16 = 1;
}

const ACCEPT: u32 = libc::NF_ACCEPT as u32;
const DROP: u32 = libc::NF_DROP as u32;
const HOOK_FORWARD: u32 = libc::NF_INET_FORWARD as u32;
/// A comment in a rule's user data, as `nft` writes and prints it: type 0, length, text with NUL.
const USERDATA_COMMENT: u8 = 0;
/// Length of `struct nfgenmsg`.
const GENERIC_HEADER_LEN: usize = 4;
/// The verdict register, and the one that values are compared in.
const REGISTER_VERDICT: u32 = 0;
const REGISTER: u32 = 1;

const fn message_type(message: i32) -> u16 {
    (SUBSYSTEM << 8) | message as u16
}

/// `struct nfgenmsg`: family, version 0, resource id.
const fn generic_header(family: u8, resource: u16) -> [u8; GENERIC_HEADER_LEN] {
    let resource = resource.to_be_bytes();
    [family, 0, resource[0], resource[1]]
}

fn request(message: i32, flags: i32, attributes: Attributes) -> Message {
    Message::new(message_type(message), libc::NLM_F_REQUEST | flags, &generic_header(FAMILY, 0), attributes)
}

/// How writing the table ended, short of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It stood already.
    Unchanged,
    Replaced,
    /// Somebody changed the firewall meanwhile: read what is there and try again.
    Raced,
    /// This kernel has no nf_tables, or not all of what the rules use.
    Unsupported,
}

/// Our table in the kernel, its rules known by the comments they carry.
#[derive(Debug)]
pub struct Standing {
    exists: bool,
    rules: Vec<(String, String)>,
}

impl Standing {
    fn is(&self, rules: &[Rule]) -> bool {
        let same = |((chain, text), rule): (&(String, String), &Rule)| {
            chain == rule.chain.name() && *text == rule.to_string()
        };
        self.exists != rules.is_empty()
            && self.rules.len() == rules.len()
            && self.rules.iter().zip(rules).all(same)
    }

    /// The devices whose forwarding was switched on for our sake.
    pub fn routed(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|(_, text)| rules::routed_device(text))
    }
}

/// The firewall of the namespace in which it was opened. Keep it open: closing waits, for about
/// 18 ms, until the kernel has cleared away what the last transaction replaced.
pub struct Firewall {
    socket: Socket,
}

impl Firewall {
    /// `None` when this kernel has no nf_tables.
    pub fn open() -> Result<Option<Self>, NetError> {
        match Socket::netfilter() {
            Ok(socket) => Ok(Some(Self { socket })),
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error) => Err(NetError::kernel("open the firewall")(error)),
        }
    }

    /// The generation to pass to `replace`, taken before looking at what the rules depend on.
    pub fn generation(&mut self) -> Result<Option<u32>, NetError> {
        match self.socket.ask_one(request(libc::NFT_MSG_GETGEN, 0, Attributes::new())) {
            Ok(answers) => Ok(answers.first().and_then(|answer| u32_be(answer, attr::GENERATION_ID))),
            Err(error) if is_unsupported(&error) => Ok(None),
            Err(error) => Err(NetError::kernel("read the firewall's generation")(error)),
        }
    }

    /// The table as it stands.
    pub fn standing(&mut self) -> Result<Standing, NetError> {
        let wanted = Attributes::new().text(attr::RULE_TABLE, TABLE);
        let answers = match self.socket.list(&request(libc::NFT_MSG_GETRULE, 0, wanted)) {
            Ok(answers) => answers,
            Err(error) if is_unsupported(&error) => Vec::new(), // ENOENT: no such table
            Err(error) => return Err(NetError::kernel("list the firewall rules")(error)),
        };
        let mut rules: Vec<_> = answers.iter().filter_map(standing_rule).collect();
        // The kernel lists chain by chain in an order of its own; within a chain order matters.
        rules.sort_by_key(|(chain, _)| Chain::ALL.iter().position(|c| c.name() == chain));
        let exists = !rules.is_empty() || self.table_exists()?;
        Ok(Standing { exists, rules })
    }

    /// Makes the table consist of these rules; of none: removes it.
    pub fn replace(
        &mut self,
        standing: &Standing,
        rules: &[Rule],
        generation: u32,
    ) -> Result<Outcome, NetError> {
        if standing.is(rules) {
            return Ok(Outcome::Unchanged);
        }
        let datagram = transaction(standing.exists, rules, generation);
        let result = self.socket.transact(&datagram).map_err(NetError::kernel("write the firewall rules"))?;
        match result.map_err(io::Error::from) {
            Ok(()) => Ok(Outcome::Replaced),
            Err(error) if error.raw_os_error() == Some(libc::ERESTART) => Ok(Outcome::Raced),
            Err(error) if is_unsupported(&error) => Ok(Outcome::Unsupported),
            Err(error) => Err(NetError::kernel("write the firewall rules")(error)),
        }
    }

    fn table_exists(&mut self) -> Result<bool, NetError> {
        let name = Attributes::new().text(attr::TABLE_NAME, TABLE);
        match self.socket.ask_one(request(libc::NFT_MSG_GETTABLE, 0, name)) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(NetError::kernel("look for the firewall table")(error)),
        }
    }

    /// Chains of others that drop whatever passes through unless one of their rules accepts it,
    /// as (table, chain).
    pub fn dropping_forward_chains(&mut self) -> Result<Vec<(String, String)>, NetError> {
        let header = generic_header(libc::NFPROTO_UNSPEC as u8, 0);
        let kind = message_type(libc::NFT_MSG_GETCHAIN);
        let listing = Message::new(kind, libc::NLM_F_REQUEST, &header, Attributes::new());
        let answers = self.socket.list(&listing).map_err(NetError::kernel("list the firewall chains"))?;
        Ok(answers.iter().filter_map(dropping_forward_chain).collect())
    }
}

/// (chain, comment) of one rule of our table; older kernels list the rules of all tables.
fn standing_rule(answer: &Answer) -> Option<(String, String)> {
    let run = answer.body.get(GENERIC_HEADER_LEN..)?;
    let ours =
        answer.body.first() == Some(&FAMILY) && wire::text(wire::attribute(run, attr::RULE_TABLE)?) == TABLE;
    let comment =
        wire::attribute(run, attr::RULE_USERDATA).and_then(|data| data.get(2..)).unwrap_or_default();
    ours.then(|| Some((wire::text(wire::attribute(run, attr::RULE_CHAIN)?), wire::text(comment)))).flatten()
}

fn dropping_forward_chain(answer: &Answer) -> Option<(String, String)> {
    let run = answer.body.get(GENERIC_HEADER_LEN..)?;
    let family = i32::from(*answer.body.first()?);
    let ipv4 = family == libc::NFPROTO_IPV4 || family == libc::NFPROTO_INET;
    let be = |run, kind| Some(u32::from_be_bytes(wire::attribute(run, kind)?.try_into().ok()?));
    let hook = be(wire::attribute(run, attr::CHAIN_HOOK)?, attr::HOOK_NUMBER)?;
    let drops = be(run, attr::CHAIN_POLICY)? == DROP;
    let name = |kind| wire::attribute(run, kind).map(wire::text);
    (ipv4 && drops && hook == HOOK_FORWARD)
        .then(|| Some((name(attr::CHAIN_TABLE)?, name(attr::CHAIN_NAME)?)))
        .flatten()
}

fn u32_be(answer: &Answer, kind: u16) -> Option<u32> {
    let run = answer.body.get(GENERIC_HEADER_LEN..)?;
    Some(u32::from_be_bytes(wire::attribute(run, kind)?.try_into().ok()?))
}

/// What kernels answer that lack nf_tables or an expression of it.
fn is_unsupported(error: &io::Error) -> bool {
    const ERRORS: [Errno; 4] = [Errno::PROTONOSUPPORT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::NOENT];
    error.raw_os_error().is_some_and(|code| ERRORS.iter().any(|e| e.raw_os_error() == code))
}

/// The whole transaction: delete the table with all it holds, and make it anew. That what is
/// deleted exists is as certain as that the generation is current.
fn transaction(exists: bool, rules: &[Rule], generation: u32) -> Vec<u8> {
    let table = || Attributes::new().text(attr::TABLE_NAME, TABLE);
    let create = libc::NLM_F_CREATE;
    let mut body = Vec::new();
    if exists {
        body.push(request(libc::NFT_MSG_DELTABLE, libc::NLM_F_ACK, table()));
    }
    if !rules.is_empty() {
        body.push(request(libc::NFT_MSG_NEWTABLE, create | libc::NLM_F_ACK, table()));
        body.extend(Chain::ALL.map(|c| request(libc::NFT_MSG_NEWCHAIN, create, chain(c))));
    }
    let append = create | libc::NLM_F_APPEND;
    body.extend(rules.iter().map(|r| request(libc::NFT_MSG_NEWRULE, append, rule(r))));

    let frame =
        |kind, attributes| Message::new(kind, libc::NLM_F_REQUEST, &generic_header(0, SUBSYSTEM), attributes);
    let begin = frame(BATCH_BEGIN, Attributes::new().u32_be(BATCH_GENID, generation));
    let end = frame(BATCH_END, Attributes::new());
    let mut datagram = Vec::new();
    for (sequence, message) in (1u32..).zip([begin].iter().chain(&body).chain([&end])) {
        message.write(&mut datagram, 0, sequence);
    }
    datagram
}

fn chain(chain: Chain) -> Attributes {
    // The usual priorities: `filter` 0, `srcnat` 100.
    let (kind, hook, priority) = match chain {
        Chain::Input => ("filter", libc::NF_INET_LOCAL_IN as u32, 0),
        Chain::Forward => ("filter", HOOK_FORWARD, 0),
        Chain::Postrouting => ("nat", libc::NF_INET_POST_ROUTING as u32, 100),
    };
    let hook = Attributes::new().u32_be(attr::HOOK_NUMBER, hook).u32_be(attr::HOOK_PRIORITY, priority);
    Attributes::new()
        .text(attr::CHAIN_TABLE, TABLE)
        .text(attr::CHAIN_NAME, chain.name())
        .nest(attr::CHAIN_HOOK, hook)
        .u32_be(attr::CHAIN_POLICY, ACCEPT)
        .text(attr::CHAIN_TYPE, kind)
}

fn rule(rule: &Rule) -> Attributes {
    let mut list = Attributes::new();
    let matches = rule.matches.iter().flat_map(condition);
    for expression in matches.chain([verdict(rule.verdict)]) {
        list = list.nest(attr::LIST_ELEMENT, expression);
    }
    Attributes::new()
        .text(attr::RULE_TABLE, TABLE)
        .text(attr::RULE_CHAIN, rule.chain.name())
        .nest(attr::RULE_EXPRESSIONS, list)
        .bytes(attr::RULE_USERDATA, &comment(rule))
}

fn comment(rule: &Rule) -> Vec<u8> {
    let text = rule.to_string();
    let len = u8::try_from(text.len() + 1).expect("three interface names and a subnet fit in 250 bytes");
    [&[USERDATA_COMMENT, len], text.as_bytes(), &[0]].concat()
}

/// The expressions of one condition: load something into the register, then compare.
fn condition(condition: &Match) -> Vec<Attributes> {
    const STATE_ESTABLISHED_OR_RELATED: u32 = 0b110;
    const STATE_INVALID: u32 = 0b1;
    const STATUS_DESTINATION_NAT: u32 = 1 << 5;
    const SOURCE_OFFSET: u32 = 12;
    const DESTINATION_OFFSET: u32 = 16;
    match condition {
        Match::From(name) => vec![load_interface(libc::NFT_META_IIFNAME), compare(true, &padded_name(name))],
        Match::NotFrom(name) => {
            vec![load_interface(libc::NFT_META_IIFNAME), compare(false, &padded_name(name))]
        }
        Match::To(name) => vec![load_interface(libc::NFT_META_OIFNAME), compare(true, &padded_name(name))],
        Match::NotTo(name) => {
            vec![load_interface(libc::NFT_META_OIFNAME), compare(false, &padded_name(name))]
        }
        Match::Source(subnet) => in_subnet(SOURCE_OFFSET, *subnet),
        Match::Destination(subnet) => in_subnet(DESTINATION_OFFSET, *subnet),
        Match::Established => connection_bits(libc::NFT_CT_STATE, STATE_ESTABLISHED_OR_RELATED),
        Match::Invalid => connection_bits(libc::NFT_CT_STATE, STATE_INVALID),
        Match::Published => connection_bits(libc::NFT_CT_STATUS, STATUS_DESTINATION_NAT),
    }
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::new().text(attr::EXPRESSION_NAME, name).nest(attr::EXPRESSION_DATA, data)
}

/// Interface names are compared over their whole field of 16 bytes.
fn padded_name(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut field = [0; libc::IFNAMSIZ];
    let len = name.len().min(libc::IFNAMSIZ - 1);
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    field
}

fn load_interface(key: i32) -> Attributes {
    const META_REGISTER: u16 = 1;
    const META_KEY: u16 = 2;
    expression("meta", Attributes::new().u32_be(META_REGISTER, REGISTER).u32_be(META_KEY, key as u32))
}

fn compare(equal: bool, value: &[u8]) -> Attributes {
    const CMP_REGISTER: u16 = 1;
    const CMP_OPERATION: u16 = 2;
    const CMP_DATA: u16 = 3;
    let operation = if equal { libc::NFT_CMP_EQ } else { libc::NFT_CMP_NEQ };
    let data = Attributes::new()
        .u32_be(CMP_REGISTER, REGISTER)
        .u32_be(CMP_OPERATION, operation as u32)
        .nest(CMP_DATA, Attributes::new().bytes(attr::DATA_VALUE, value));
    expression("cmp", data)
}

/// Keeps the bits of `mask` in the register.
fn keep_bits(mask: &[u8; 4]) -> Attributes {
    const BITWISE_SOURCE: u16 = 1;
    const BITWISE_TARGET: u16 = 2;
    const BITWISE_LEN: u16 = 3;
    const BITWISE_MASK: u16 = 4;
    const BITWISE_XOR: u16 = 5;
    let value = |bytes: &[u8]| Attributes::new().bytes(attr::DATA_VALUE, bytes);
    let data = Attributes::new()
        .u32_be(BITWISE_SOURCE, REGISTER)
        .u32_be(BITWISE_TARGET, REGISTER)
        .u32_be(BITWISE_LEN, 4)
        .nest(BITWISE_MASK, value(mask))
        .nest(BITWISE_XOR, value(&[0; 4]));
    expression("bitwise", data)
}

fn in_subnet(offset: u32, subnet: Cidr) -> Vec<Attributes> {
    const PAYLOAD_REGISTER: u16 = 1;
    const PAYLOAD_BASE: u16 = 2;
    const PAYLOAD_OFFSET: u16 = 3;
    const PAYLOAD_LEN: u16 = 4;
    let load = Attributes::new()
        .u32_be(PAYLOAD_REGISTER, REGISTER)
        .u32_be(PAYLOAD_BASE, libc::NFT_PAYLOAD_NETWORK_HEADER as u32)
        .u32_be(PAYLOAD_OFFSET, offset)
        .u32_be(PAYLOAD_LEN, 4);
    vec![
        expression("payload", load),
        keep_bits(&subnet.mask().octets()),
        compare(true, &subnet.base().octets()),
    ]
}

/// Holds when any of the bits is set; the connection's bits are in the byte order of the host.
fn connection_bits(key: i32, bits: u32) -> Vec<Attributes> {
    const CT_REGISTER: u16 = 1;
    const CT_KEY: u16 = 2;
    let load = Attributes::new().u32_be(CT_REGISTER, REGISTER).u32_be(CT_KEY, key as u32);
    vec![expression("ct", load), keep_bits(&bits.to_ne_bytes()), compare(false, &[0; 4])]
}

fn verdict(verdict: Verdict) -> Attributes {
    const IMMEDIATE_REGISTER: u16 = 1;
    const IMMEDIATE_DATA: u16 = 2;
    let code = match verdict {
        Verdict::Accept => ACCEPT,
        Verdict::Drop => DROP,
        Verdict::Masquerade => return expression("masq", Attributes::new()),
    };
    let verdict = Attributes::new().u32_be(attr::VERDICT_CODE, code);
    let data = Attributes::new()
        .u32_be(IMMEDIATE_REGISTER, REGISTER_VERDICT)
        .nest(IMMEDIATE_DATA, Attributes::new().nest(attr::DATA_VERDICT, verdict));
    expression("immediate", data)
}
