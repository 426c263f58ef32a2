//! What a query is answered, as far as a zone knows. No sockets, no clock.

use crate::snapshot::{Asker, Zone};
use simple_dns::rdata::{A, AAAA, PTR, RData};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE, rdata,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Seconds for which an answer may be kept: instances come and go, their services' addresses stay.
const TTL_S: u32 = 5;
/// What a UDP answer may measure when the asker does not say, and at most.
const UDP_BYTES: usize = 512;
const MAX_UDP_BYTES: usize = 1232;
/// Header of a message.
pub const HEADER_BYTES: usize = 12;
/// Response codes of answers without sections.
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;

/// What to do with a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Reply(Vec<u8>),
    /// No zone knows it, and the zone lets such questions out.
    Forward,
    /// Not a query.
    Drop,
}

/// How the query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What names mean to one asker.
pub struct View<'a> {
    /// Looked through in this order; the first is the one that was asked.
    pub zones: &'a [Arc<Zone>],
    pub asker: Option<&'a Asker>,
}

/// Judges one message; `turn` is any number, by which several addresses are rotated.
pub fn judge(query: &[u8], view: &View<'_>, transport: Transport, turn: usize) -> Verdict {
    let Some([questions, answers, authorities, additional]) = counts(query) else { return Verdict::Drop };
    let is_reply = query[2] & 0x80 != 0;
    if is_reply || answers > 0 || authorities > 0 || additional > 2 {
        return Verdict::Drop;
    }
    if query[2] >> 3 & 15 != 0 {
        return Verdict::Reply(bare(query, NOT_IMPLEMENTED));
    }
    if questions != 1 {
        return Verdict::Reply(bare(query, FORMAT_ERROR));
    }
    let Ok(packet) = Packet::parse(query) else { return Verdict::Drop };
    match resolve(&packet.questions[0], view, turn) {
        Found::Elsewhere => Verdict::Forward,
        Found::Here(rcode, answers) => reply(&packet, rcode, answers, transport),
    }
}

/// The four section counts.
fn counts(message: &[u8]) -> Option<[u16; 4]> {
    let header = message.get(..HEADER_BYTES)?;
    Some(std::array::from_fn(|i| u16::from_be_bytes([header[4 + 2 * i], header[5 + 2 * i]])))
}

/// An answer without sections, for what is not read further.
fn bare(query: &[u8], code: u8) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[..2].copy_from_slice(&query[..2]);
    header[2] = 0x80 | query[2] & 0x79;
    header[3] = 0x80 | code;
    header
}

/// "Could not be found out", with the question repeated.
pub fn failure(query: &[u8]) -> Vec<u8> {
    let reply =
        Packet::parse(query).map(|packet| reply(&packet, RCODE::ServerFailure, Vec::new(), Transport::Tcp));
    match reply {
        Ok(Verdict::Reply(bytes)) => bytes,
        _ => bare(query, SERVER_FAILURE),
    }
}

enum Found {
    Here(RCODE, Vec<RData<'static>>),
    Elsewhere,
}

fn resolve(question: &Question<'_>, view: &View<'_>, turn: usize) -> Found {
    if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        return Found::Here(RCODE::Refused, Vec::new());
    }
    let asked = text(&question.qname);
    let name = view.asker.and_then(|asker| asker.aliases.get(&asked)).unwrap_or(&asked);
    if let Some(addresses) = view.zones.iter().find_map(|zone| addresses(zone, name)) {
        return Found::Here(RCODE::NoError, records(addresses, question.qtype, turn));
    }
    let owner = reversed(name)
        .and_then(|address| view.zones.iter().find_map(|zone| Some((zone, zone.reverse.get(&address)?))));
    if let Some((zone, owner)) = owner {
        let full = if zone.domain.is_empty() { owner.clone() } else { format!("{owner}.{}", zone.domain) };
        return Found::Here(RCODE::NoError, pointer(&full, question.qtype));
    }
    // A name without a dot is a service of this stack or nothing: it is nobody else's business.
    if !name.contains('.') && !name.is_empty() {
        return Found::Here(RCODE::NameError, Vec::new());
    }
    let forward = view.zones.iter().any(|zone| zone.forward);
    if forward { Found::Elsewhere } else { Found::Here(RCODE::Refused, Vec::new()) }
}

/// By the name alone, or with that of the network behind it.
fn addresses<'z>(zone: &'z Zone, name: &str) -> Option<&'z Vec<IpAddr>> {
    let short = || name.strip_suffix(&zone.domain)?.strip_suffix('.').filter(|_| !zone.domain.is_empty());
    zone.names.get(name).or_else(|| zone.names.get(short()?))
}

/// Lower case, no dot at the end.
fn text(name: &Name<'_>) -> String {
    let mut text = String::new();
    for label in name.as_bytes() {
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
    }
    text
}

/// Addresses of the family asked for, another one first each time; none is an answer too.
fn records(addresses: &[IpAddr], qtype: QTYPE, turn: usize) -> Vec<RData<'static>> {
    let all = qtype == QTYPE::ANY;
    let wanted = |address: &&IpAddr| match address {
        IpAddr::V4(_) => all || qtype == QTYPE::TYPE(TYPE::A),
        IpAddr::V6(_) => all || qtype == QTYPE::TYPE(TYPE::AAAA),
    };
    let mut records: Vec<RData<'static>> = addresses
        .iter()
        .filter(wanted)
        .map(|address| match *address {
            IpAddr::V4(v4) => RData::A(A::from(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA::from(v6)),
        })
        .collect();
    if !records.is_empty() {
        let first = turn % records.len();
        records.rotate_left(first);
    }
    records
}

fn pointer(owner: &str, qtype: QTYPE) -> Vec<RData<'static>> {
    let asked = matches!(qtype, QTYPE::TYPE(TYPE::PTR) | QTYPE::ANY);
    match Name::new(owner) {
        Ok(name) if asked => vec![RData::PTR(PTR(name.into_owned()))],
        _ => Vec::new(),
    }
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = octets.split('.').rev().map(str::parse).collect::<Result<_, _>>().ok()?;
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    let hex: String = digits.into_iter().rev().collect();
    u128::from_str_radix(&hex, 16).ok().map(|bits| Ipv6Addr::from(bits).into())
}

fn reply(query: &Packet<'_>, rcode: RCODE, answers: Vec<RData<'static>>, transport: Transport) -> Verdict {
    let question = query.questions[0].clone();
    let mut reply = Packet::new_reply(query.id());
    *reply.rcode_mut() = rcode;
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let mut room = if transport == Transport::Udp { UDP_BYTES } else { usize::from(u16::MAX) };
    if let Some(asked) = query.opt() {
        if transport == Transport::Udp {
            room = usize::from(asked.udp_packet_size).clamp(UDP_BYTES, MAX_UDP_BYTES);
        }
        let udp_packet_size = MAX_UDP_BYTES as u16;
        *reply.opt_mut() = Some(rdata::OPT { opt_codes: Vec::new(), udp_packet_size, version: 0 });
    }
    let owner = question.qname.clone();
    reply.questions.push(question);
    reply.answers =
        answers.into_iter().map(|data| ResourceRecord::new(owner.clone(), CLASS::IN, TTL_S, data)).collect();
    match reply.build_bytes_vec_compressed() {
        Ok(bytes) if bytes.len() <= room => Verdict::Reply(bytes),
        Ok(_) => {
            reply.answers.clear();
            reply.set_flags(PacketFlag::TRUNCATION);
            reply.build_bytes_vec_compressed().map_or(Verdict::Drop, Verdict::Reply)
        }
        Err(_) => Verdict::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(forward: bool) -> Zone {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let many = (0..60).map(|n| IpAddr::from([10, 9, 1, n])).collect();
        Zone {
            names: [
                ("web".to_owned(), vec![address("10.9.0.2")]),
                ("db".to_owned(), vec![address("10.9.0.3"), address("10.9.0.4"), address("fd00::3")]),
                ("many".to_owned(), many),
            ]
            .into(),
            reverse: [(address("10.9.0.2"), "web".to_owned()), (address("fd00::3"), "db".to_owned())].into(),
            forward,
            domain: "shop_default".to_owned(),
        }
    }

    /// As somebody is answered of whom nothing else is known.
    fn judged(query: &[u8], forward: bool, transport: Transport, turn: usize) -> Verdict {
        judge(query, &View { zones: &[Arc::new(zone(forward))], asker: None }, transport, turn)
    }

    fn query(name: &str, qtype: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        packet.questions.push(Question::new(name, qtype.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().expect("a query can be written")
    }

    /// Expects `RCODE: answer, answer` or `forward`.
    fn check(name: &str, qtype: TYPE, forward: bool, expect: &str) {
        let told = match judged(&query(name, qtype), forward, Transport::Udp, 0) {
            Verdict::Forward => "forward".to_owned(),
            Verdict::Drop => "drop".to_owned(),
            Verdict::Reply(bytes) => {
                let packet = Packet::parse(&bytes).expect("an answer can be read");
                assert_eq!(packet.id(), 7);
                assert_eq!(packet.questions.len(), 1);
                let answers: Vec<String> = packet
                    .answers
                    .iter()
                    .map(|answer| match &answer.rdata {
                        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
                        RData::AAAA(a) => Ipv6Addr::from(a.address).to_string(),
                        RData::PTR(name) => name.0.to_string(),
                        other => format!("{other:?}"),
                    })
                    .collect();
                format!("{:?}: {}", packet.rcode(), answers.join(", "))
            }
        };
        assert_eq!(told, expect, "{name} {qtype:?}");
    }

    #[test]
    fn services_are_found_by_name() {
        check("web", TYPE::A, true, "NoError: 10.9.0.2");
        check("WEB.", TYPE::A, true, "NoError: 10.9.0.2");
        check("web", TYPE::AAAA, true, "NoError: ");
        check("web", TYPE::MX, true, "NoError: ");
        check("db", TYPE::A, true, "NoError: 10.9.0.3, 10.9.0.4");
        check("db", TYPE::AAAA, true, "NoError: fd00::3");
    }

    #[test]
    fn what_is_not_here_is_nothing_or_elsewhere() {
        check("nobody", TYPE::A, true, "NameError: ");
        check("example.org", TYPE::A, true, "forward");
        check("example.org", TYPE::A, false, "Refused: ");
        check("nobody", TYPE::A, false, "NameError: ");
    }

    #[test]
    fn addresses_have_names() {
        check("2.0.9.10.in-addr.arpa", TYPE::PTR, true, "NoError: web.shop_default");
        check("9.0.9.10.in-addr.arpa", TYPE::PTR, true, "forward");
        let nibbles = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        check(nibbles, TYPE::PTR, true, "NoError: db.shop_default");
        check("x.in-addr.arpa", TYPE::PTR, false, "Refused: ");
    }

    #[test]
    fn the_networks_own_name_may_stand_behind() {
        check("web.shop_default", TYPE::A, false, "NoError: 10.9.0.2");
        check("web.SHOP_default", TYPE::A, false, "NoError: 10.9.0.2");
        check("webshop_default", TYPE::A, false, "NameError: ");
        check("web.other_default", TYPE::A, true, "forward");
    }

    #[test]
    fn who_asks_decides_what_else_a_name_means() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let back = Zone {
            names: [("db", "10.8.0.3"), ("web", "10.8.0.9")]
                .map(|(name, at)| (name.to_owned(), vec![address(at)]))
                .into(),
            reverse: Default::default(),
            forward: false,
            domain: "back".to_owned(),
        };
        let mut front = zone(true);
        front.names.remove("db");
        let zones = [Arc::new(front), Arc::new(back)];
        let aliases = [("store".to_owned(), "db".to_owned())].into();
        let asker = Asker { zones: Vec::new(), aliases, servers: Vec::new() };
        let view = View { zones: &zones, asker: Some(&asker) };
        let answered = |name: &str| match judge(&query(name, TYPE::A), &view, Transport::Udp, 0) {
            Verdict::Reply(bytes) => {
                let packet = Packet::parse(&bytes).expect("readable");
                packet.answers.iter().map(|answer| format!("{:?}", answer.rdata)).collect::<String>()
            }
            other => format!("{other:?}"),
        };
        let a = |text: &str| format!("{:?}", RData::A(A::from(text.parse::<Ipv4Addr>().expect("valid"))));
        // Its own network first, then the others.
        for (name, expect) in
            [("web", "10.9.0.2"), ("db", "10.8.0.3"), ("store", "10.8.0.3"), ("web.back", "10.8.0.9")]
        {
            assert_eq!(answered(name), a(expect), "{name}");
        }
        assert_eq!(answered("nobody"), "");
        assert_eq!(answered("example.org"), "Forward");
    }

    #[test]
    fn answers_take_turns() {
        let first = |turn| match judged(&query("db", TYPE::A), true, Transport::Udp, turn) {
            Verdict::Reply(bytes) => {
                Packet::parse(&bytes).expect("readable").answers[0].rdata.clone().into_owned()
            }
            other => panic!("{other:?}"),
        };
        assert_ne!(first(0), first(1));
    }

    #[test]
    fn an_answer_too_long_for_udp_says_so() {
        let asked = query("many", TYPE::A);
        let Verdict::Reply(udp) = judged(&asked, true, Transport::Udp, 0) else { panic!("no answer") };
        let short = Packet::parse(&udp).expect("readable");
        assert!(
            udp.len() <= UDP_BYTES && short.has_flags(PacketFlag::TRUNCATION) && short.answers.is_empty()
        );
        let Verdict::Reply(tcp) = judged(&asked, true, Transport::Tcp, 0) else { panic!("no answer") };
        assert_eq!(Packet::parse(&tcp).expect("readable").answers.len(), 60);
    }

    #[test]
    fn extensions_are_answered_with_extensions() {
        let plain = query("many", TYPE::A);
        let mut asking = Packet::parse(&plain).expect("readable");
        *asking.opt_mut() = Some(rdata::OPT { opt_codes: Vec::new(), udp_packet_size: 4096, version: 0 });
        let bytes = asking.build_bytes_vec().expect("writable");
        let Verdict::Reply(reply) = judged(&bytes, true, Transport::Udp, 0) else { panic!("no answer") };
        let reply = Packet::parse(&reply).expect("readable");
        assert_eq!(reply.opt().map(|opt| opt.udp_packet_size), Some(1232));
        assert_eq!(reply.answers.len(), 60);
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let mut reply = query("web", TYPE::A);
        reply[2] |= 0x80;
        let truncated = &query("web", TYPE::A)[..15];
        for bytes in [&b""[..], b"short", &reply, truncated] {
            assert_eq!(judged(bytes, true, Transport::Udp, 0), Verdict::Drop, "{bytes:?}");
        }
        let mut two = query("web", TYPE::A);
        two[5] = 2;
        let mut update = query("web", TYPE::A);
        update[2] |= 5 << 3;
        for (bytes, rcode) in [(two, 1), (update, 4)] {
            let Verdict::Reply(reply) = judged(&bytes, true, Transport::Udp, 0) else { panic!("no answer") };
            assert_eq!((reply.len(), reply[3] & 15), (HEADER_BYTES, rcode));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_never_amplify_much(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Verdict::Reply(reply) = judged(&bytes, true, Transport::Udp, 3) {
                prop_assert!(reply.len() <= MAX_UDP_BYTES);
            }
        }

        #[test]
        fn damaged_queries_never_panic(at in 0usize..40, value in any::<u8>()) {
            let mut bytes = query("web.example.org", TYPE::A);
            let at = at % bytes.len();
            bytes[at] = value;
            judged(&bytes, true, Transport::Udp, 0);
        }
    }
}
