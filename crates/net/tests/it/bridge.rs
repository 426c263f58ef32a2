//! Bridges: made, corrected, counted, removed.

use crate::world::*;
use std::net::Ipv4Addr;

/// The firewall rules as our own eyes cannot see them; `None` when `nft` is not installed.
fn table(world: &World) -> Option<String> {
    let nft = testkit::needs("nft", "nftables")?;
    let list = || std::process::Command::new(&nft).args(["list", "ruleset"]).output().unwrap();
    Some(String::from_utf8(world.host.netns().run(list).stdout).unwrap())
}

#[test]
fn a_bridge_is_made_with_everything() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    assert_eq!(net::bridges().unwrap(), ["jct1"]);
    let shown = ip(world.host.netns(), "-4 -o address show dev jct1");
    for expected in ["10.208.4.1/22", "10.208.4.2/32", "10.208.4.3/32"] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    assert_eq!(shown.lines().count(), 3);
    assert!(ip(world.host.netns(), "link show dev jct1").contains(",UP"));
    assert_eq!(read("/proc/sys/net/ipv4/conf/jct1/forwarding"), "1");
    assert_eq!(read("/proc/sys/net/ipv6/conf/jct1/disable_ipv6"), "1");
    assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "0", "the host as a whole is no router");
    let taken: Vec<_> = net::host_subnets().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(taken, ["10.208.4.0/22", "10.208.4.2/32", "10.208.4.3/32"]);
}

#[test]
fn asking_again_changes_nothing_and_drift_is_corrected() {
    let Some(world) = World::new() else { return };
    let host = world.host.netns();
    let spec = network(1);
    ensure(&spec);
    let before = (ip(host, "-o address show dev jct1"), ip(host, "-o link show dev jct1"), table(&world));
    ensure(&spec);
    let after = (ip(host, "-o address show dev jct1"), ip(host, "-o link show dev jct1"), table(&world));
    assert_eq!(before, after);

    for damage in [
        "link set jct1 down",
        "address del 10.208.4.1/22 dev jct1",
        "address add 10.208.4.77/32 dev jct1",
        "link set jct1 mtu 1400",
        "link set jct1 alias juchu:internal:10.208.4.0/22",
    ] {
        ip(host, damage);
        ensure(&spec);
        let shown = ip(host, "-o address show dev jct1");
        assert_eq!(sorted(&before.0), sorted(&shown), "after `ip {damage}`");
        assert_eq!(before.1, ip(host, "-o link show dev jct1"), "after `ip {damage}`");
        assert_eq!(before.2, table(&world), "after `ip {damage}`");
    }
    let mut grown = spec.clone();
    grown.virtual_addresses = vec![Ipv4Addr::new(10, 208, 4, 3).into(), Ipv4Addr::new(10, 208, 4, 9).into()];
    ensure(&grown);
    let shown = ip(host, "-4 -o address show dev jct1");
    assert!(shown.contains("10.208.4.9/32") && !shown.contains("10.208.4.2/32"), "{shown}");
}

fn sorted(text: &str) -> Vec<String> {
    // The index at the start of a line of addresses stays; only the order may differ.
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn lost_rules_come_back() {
    let Some(world) = World::new() else { return };
    let Some(nft) = testkit::needs("nft", "nftables") else { return };
    let run = |arguments: &str| {
        let run = || std::process::Command::new(&nft).args(arguments.split(' ')).status().unwrap();
        assert!(world.host.netns().run(run).success(), "nft {arguments}");
    };
    ensure(&network(1));
    ensure(&internal(2));
    let before = table(&world).unwrap();
    assert!(before.contains("iifname \"jct2\" drop"), "{before}");
    for damage in [
        "flush ruleset",
        "flush chain ip juchu forward",
        "delete table ip juchu",
        "add rule ip juchu input accept",
    ] {
        run(damage);
        ensure(&network(1));
        assert_eq!(table(&world).unwrap(), before, "after `nft {damage}`");
    }
    run("add table ip other");
    net::remove_bridge("jct1").unwrap();
    net::remove_bridge("jct2").unwrap();
    assert_eq!(table(&world).unwrap(), "table ip other {\n}\n", "others' tables are left alone");
}

#[test]
fn removal_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let host = world.host.netns();
    let _internet = internet(&world);
    let before = (ip(host, "-o address"), ip(host, "-o link"), ip(host, "route"), table(&world));
    ensure(&network(1));
    ensure(&internal(2));
    assert_eq!(read("/proc/sys/net/ipv4/conf/up0/forwarding"), "1");
    net::remove_bridge("jct1").unwrap();
    assert_eq!(net::bridges().unwrap(), ["jct2"]);
    assert_eq!(read("/proc/sys/net/ipv4/conf/up0/forwarding"), "0", "no open network is left");
    net::remove_bridge("jct2").unwrap();
    net::remove_bridge("jct2").expect("removing what is gone is fine");
    assert_eq!(before, (ip(host, "-o address"), ip(host, "-o link"), ip(host, "route"), table(&world)));
}

#[test]
fn a_router_stays_one() {
    let Some(world) = World::new() else { return };
    let _internet = internet(&world);
    std::fs::write("/proc/sys/net/ipv4/conf/up0/forwarding", "1").unwrap();
    ensure(&network(1));
    net::remove_bridge("jct1").unwrap();
    assert_eq!(read("/proc/sys/net/ipv4/conf/up0/forwarding"), "1", "the administrator's, not ours");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    ensure(&network(1));
    net::remove_bridge("jct1").unwrap();
    assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(read("/proc/sys/net/ipv4/conf/up0/forwarding"), "1");
}

#[test]
fn interfaces_of_others_are_left_alone() {
    let Some(world) = World::new() else { return };
    let host = world.host.netns();
    ip(host, "link add jct1 type bridge");
    ip(host, "link set jct1 up");
    ip(host, "link add jct2 type veth peer name jct2p");
    for name in ["jct1", "jct2"] {
        let mut spec = network(1);
        spec.bridge = name.to_owned();
        let expected = format!("the interface {name} exists and was not made by juchu");
        assert_eq!(net::ensure_bridge(&spec).unwrap_err().to_string(), expected);
        assert_eq!(net::remove_bridge(name).unwrap_err().to_string(), expected);
    }
    assert_eq!(net::bridges().unwrap(), Vec::<String>::new());
    ip(host, "link set jct1 down");
    ensure(&network(1)); // as left by a making that was cut short
    assert_eq!(net::bridges().unwrap(), ["jct1"]);
}

#[test]
fn a_wrong_network_is_refused_in_words() {
    let Some(_world) = World::new() else { return };
    let check = |change: fn(&mut model::instance::NetworkSpec), expect: &str| {
        let mut spec = network(1);
        change(&mut spec);
        assert_eq!(net::ensure_bridge(&spec).unwrap_err().to_string(), expect);
    };
    let rule = "an interface name has 1 to 15 letters, digits, `-`, `_` or `.`";
    check(|s| s.bridge = "jc/../x".into(), &format!("network jc/../x: {rule}"));
    check(|s| s.bridge = "jc%d".into(), &format!("network jc%d: {rule}"));
    check(|s| s.bridge = "a".repeat(16), &format!("network aaaaaaaaaaaaaaaa: {rule}"));
    check(|s| s.prefix_len = 31, "network jct1: a prefix length of 31 leaves no addresses");
    check(
        |s| s.virtual_addresses.push(Ipv4Addr::new(10, 9, 9, 9).into()),
        "network jct1: the virtual address 10.9.9.9 is outside of 10.208.4.0/22",
    );
    check(
        |s| s.gateway = std::net::Ipv6Addr::LOCALHOST.into(),
        "network jct1: ::1 is not an IPv4 address, and IPv6 networks are not supported",
    );
    assert_eq!(net::bridges().unwrap(), Vec::<String>::new(), "nothing half-made stays behind");
}

#[test]
fn many_threads_at_once_leave_the_rules_of_all() {
    let Some(world) = World::new() else { return };
    let host = world.host.netns();
    std::thread::scope(|scope| {
        for n in 0..12 {
            scope.spawn(move || host.run(|| ensure(&network(n))));
        }
    });
    assert_eq!(net::bridges().unwrap().len(), 12);
    if let Some(table) = table(&world) {
        assert_eq!(table.matches("masquerade").count() % 12, 0);
        for n in 0..12 {
            assert!(table.contains(&format!("oifname != \"jct{n}\"")), "{table}");
        }
    }
}

/// Processes do not share a lock; what tells them apart is the generation of the firewall.
#[test]
fn many_processes_at_once_leave_the_rules_of_all() {
    let Some(world) = World::new() else { return };
    let Some(_nft) = testkit::needs("nft", "nftables") else { return };
    let children = (0..6).map(|n| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bridge::one_of_many", "--ignored"])
            .env("JUCHU_NET_NUMBER", n.to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .map(testkit::ProcessGuard::from)
            .unwrap()
    });
    let children: Vec<_> = children.collect();
    for mut child in children {
        assert!(child.child.wait().unwrap().success());
    }
    let table = table(&world).unwrap();
    for n in 0..6 {
        assert!(table.contains(&format!("oifname != \"jct{n}\"")), "jct{n} in {table}");
    }
}

/// A child of the test above; does nothing unless that started it.
#[test]
#[ignore = "run by many_processes_at_once_leave_the_rules_of_all in processes of its own"]
fn one_of_many() {
    let Some(number) = std::env::var("JUCHU_NET_NUMBER").ok().and_then(|n| n.parse().ok()) else { return };
    let nft = testkit::needs("nft", "nftables").expect("the parent looked for it");
    for round in 0..25 {
        ensure(&network(number));
        // From here on the rules are there, whatever the other processes do.
        let listed =
            std::process::Command::new(&nft).args(["list", "table", "ip", "juchu"]).output().unwrap();
        let table = String::from_utf8(listed.stdout).unwrap();
        assert!(table.contains(&format!("oifname != \"jct{number}\"")), "round {round}: {table}");
        if round < 24 {
            net::remove_bridge(&network(number).bridge).unwrap();
        }
    }
}

#[test]
fn nothing_is_lacking_here() {
    let Some(world) = World::new() else { return };
    let before = ip(world.host.netns(), "-o link");
    assert_eq!(net::lacks(), []);
    assert_eq!(before, ip(world.host.netns(), "-o link"), "asking leaves no trace");
}

#[test]
fn a_firewall_that_stops_us_is_reported() {
    let Some(world) = World::new() else { return };
    let Some(nft) = testkit::needs("nft", "nftables") else { return };
    let command = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
    let run = || std::process::Command::new(&nft).arg(command).status().unwrap();
    assert!(world.host.netns().run(run).success());
    let lacks = net::lacks();
    assert_eq!(lacks.len(), 1);
    assert!(lacks[0].what.contains("`filter FORWARD`") && !lacks[0].fatal, "{lacks:?}");
}

/// Makes this thread, and what it starts, see a kernel without nf_tables: no such socket.
fn hide_nf_tables() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let equals = |argument, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
    };
    let netfilter = equals(2, u64::try_from(libc::NETLINK_NETFILTER).unwrap());
    let family = equals(0, u64::try_from(libc::AF_NETLINK).unwrap());
    let rule = SeccompRule::new(vec![family, netfilter]).unwrap();
    let rules = [(libc::SYS_socket, vec![rule])].into_iter().collect();
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPROTONOSUPPORT).unwrap());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn without_nf_tables_a_network_works_and_nothing_is_forwarded() {
    let Some(world) = World::new() else { return };
    let _internet = internet(&world);
    world.host.netns().run(|| {
        hide_nf_tables();
        ensure(&network(1));
        assert_eq!(read("/proc/sys/net/ipv4/conf/jct1/forwarding"), "0");
        assert_eq!(read("/proc/sys/net/ipv4/conf/up0/forwarding"), "0");
        let lacks = net::lacks();
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert!(lacks[0].what.starts_with("nf_tables") && !lacks[0].fatal, "{lacks:?}");
    });
    let one = world.instance("one", &[(&network(1), [1, 0])]);
    let on_host = greeter(world.host.netns(), network(1).virtual_addresses[0]);
    assert!(greeted(&one, on_host, LONG).is_some());
    world.host.netns().run(|| {
        hide_nf_tables();
        net::remove_bridge("jct1").unwrap();
    });
    assert_eq!(net::bridges().unwrap(), Vec::<String>::new());
}

#[test]
fn without_root_the_error_says_so() {
    let Some(world) = World::new() else { return };
    world.host.netns().run(|| {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        let error = net::ensure_bridge(&network(1)).unwrap_err();
        assert!(error.is_permission(), "{error:?}");
        let lacks = net::lacks();
        assert!(lacks.iter().all(|lack| lack.fatal) && lacks[0].what.contains("CAP_NET_ADMIN"), "{lacks:?}");
    });
}
