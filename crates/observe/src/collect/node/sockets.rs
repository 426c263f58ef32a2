//! Sockets in use, and what the protocols count.

use crate::collect::Sink;
use crate::collect::text::{Name, number, words};
use crate::keep::Kind;

/// `/proc/net/netstat` and `/proc/net/snmp`: a line of names, then a line of numbers, of each protocol.
pub fn netstat(text: &str, sink: &mut dyn Sink) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((protocol, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (field, value) in words(names).zip(words(values)) {
            figure(protocol, field, value, sink);
        }
    }
}

/// `/proc/net/snmp6`: a name with its protocol, and a number.
pub fn snmp6(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let mut words = words(line);
        let (Some(name), Some(value)) = (words.next(), words.next()) else { continue };
        if let Some(six) = name.find('6') {
            let (protocol, field) = name.split_at(six + 1);
            figure(protocol, field, value, sink);
        }
    }
}

fn figure(protocol: &str, field: &str, value: &str, sink: &mut dyn Sink) {
    if !is_wanted(protocol, field) {
        return;
    }
    let Some(name) = Name::of(&["node_netstat_", protocol, "_", field]) else { return };
    let kind = if matches!(field, "CurrEstab" | "Forwarding") { Kind::Gauge } else { Kind::Counter };
    number(value).into_iter().for_each(|value| sink.put(name.as_str(), kind, &[], value));
}

/// Of several hundred those that tell something about a machine.
fn is_wanted(protocol: &str, field: &str) -> bool {
    if matches!(field, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => field == "Forwarding",
        "Ip6" | "IpExt" => matches!(field, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(field, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            field.starts_with("Listen")
                || field.starts_with("Syncookies")
                || matches!(field, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue")
        }
        "Tcp" => matches!(
            field,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(field, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}

/// `/proc/net/sockstat` and `sockstat6`; memory there is in pages.
pub fn sockstat(text: &str, sink: &mut dyn Sink) {
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(':') else { continue };
        let mut rest = words(rest);
        while let (Some(field), Some(value)) = (rest.next(), rest.next().and_then(number)) {
            let Some(name) = Name::of(&["node_sockstat_", protocol, "_", field]) else { continue };
            sink.gauge(name.as_str(), &[], value);
            if field == "mem"
                && let Some(name) = Name::of(&["node_sockstat_", protocol, "_mem_bytes"])
            {
                sink.gauge(name.as_str(), &[], value * rustix::param::page_size() as f64);
            }
        }
    }
}

/// `/proc/net/udp` and `udp6`: bytes that wait in all queues.
pub fn udp_queues(ip: &str, text: &str, sink: &mut dyn Sink) {
    let (mut sent, mut received) = (0u64, 0u64);
    for queues in text.lines().skip(1).filter_map(|line| words(line).nth(4)?.split_once(':')) {
        let bytes = |text| u64::from_str_radix(text, 16).unwrap_or_default();
        sent += bytes(queues.0);
        received += bytes(queues.1);
    }
    sink.gauge("node_udp_queues", &[("ip", ip), ("queue", "rx")], received as f64);
    sink.gauge("node_udp_queues", &[("ip", ip), ("queue", "tx")], sent as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::sink::shown;

    #[test]
    fn protocols() {
        let text = "TcpExt: SyncookiesSent ListenDrops Other TCPTimeouts\nTcpExt: 1 2 3 4\nIpExt: InNoRoutes InOctets\nIpExt: 5 6\nTcp: MaxConn CurrEstab\nTcp: -1 8\n";
        insta::assert_snapshot!(shown(|sink| {
            netstat(text, sink);
            snmp6("Ip6InReceives 288\nIp6InOctets 7\nUdp6InErrors 1\nUdpLite6InErrors 2\nIcmp6OutMsgs 9\n", sink);
        }), @r"
        node_netstat_TcpExt_SyncookiesSent 1
        node_netstat_TcpExt_ListenDrops 2
        node_netstat_TcpExt_TCPTimeouts 4
        node_netstat_IpExt_InOctets 6
        node_netstat_Tcp_CurrEstab 8
        node_netstat_Ip6_InOctets 7
        node_netstat_Udp6_InErrors 1
        node_netstat_UdpLite6_InErrors 2
        node_netstat_Icmp6_OutMsgs 9
        ");
    }

    #[test]
    fn datagrams_that_wait() {
        let text = "sl local_address rem_address st tx_queue rx_queue tr tm->when\n 0: 0100007F:0035 00000000:0000 07 00000002:00000010 00:00000000\n 1: 0100007F:0036 00000000:0000 07 00000001:00000001 00:0\n";
        insta::assert_snapshot!(shown(|sink| udp_queues("v4", text, sink)), @r#"
        node_udp_queues{ip="v4",queue="rx"} 17
        node_udp_queues{ip="v4",queue="tx"} 3
        "#);
    }

    #[test]
    fn sockets_that_wait() {
        let text = "sockets: used 21\nTCP: inuse 5 orphan 0 tw 28138 alloc 5 mem 2\nFRAG: inuse 0 memory 0\n";
        insta::assert_snapshot!(shown(|sink| sockstat(text, sink)), @r"
        node_sockstat_sockets_used 21
        node_sockstat_TCP_inuse 5
        node_sockstat_TCP_orphan 0
        node_sockstat_TCP_tw 28138
        node_sockstat_TCP_alloc 5
        node_sockstat_TCP_mem 2
        node_sockstat_TCP_mem_bytes 8192
        node_sockstat_FRAG_inuse 0
        node_sockstat_FRAG_memory 0
        ");
    }
}
