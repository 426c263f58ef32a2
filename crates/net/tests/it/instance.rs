//! Instances: their namespaces and links, made, completed after a kill, removed without a trace.

use crate::world::*;
use std::net::TcpListener;
use testkit::Netns;

#[test]
fn an_instance_has_its_links_addresses_and_route() {
    let Some(world) = World::new() else { return };
    let (first, second) = (internal(1), network(2));
    ensure(&first);
    ensure(&second);
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let instance = world.instance("web1", &[(&first, [1, 0]), (&second, [1, 7])]);
    assert_eq!(before, std::fs::read_link("/proc/thread-self/ns/net").unwrap());

    let shown = ip(&instance, "-4 -o address");
    for expected in ["lo    inet 127.0.0.1/8", "eth0    inet 10.208.5.0/22", "eth1    inet 10.208.9.7/22"] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let route = ip(&instance, "route show default");
    assert!(
        route.starts_with("default via 10.208.8.1 dev eth1"),
        "the first network with a way out: {route}"
    );
    assert!(!ip(&instance, "-6 -o address").contains("fe80"), "no IPv6 beside the loopback");
    let on_bridge = ip(world.host.netns(), "-o link show master jct1");
    assert_eq!(on_bridge.lines().count(), 1, "{on_bridge}");
    let bind = instance.run(|| read("/proc/sys/net/ipv4/ip_unprivileged_port_start"));
    assert_eq!(bind, "0");
}

#[test]
fn an_instance_may_have_no_links_at_all() {
    let Some(world) = World::new() else { return };
    let instance = world.instance("alone", &[]);
    assert_eq!(ip(&instance, "-4 -o address").lines().count(), 1);
    assert_eq!(ip(&instance, "route"), "");
    world.remove("alone");
}

/// The state of an instance, but for what the kernel counts up.
fn state(world: &World, instance: &Netns) -> String {
    let text = [
        ip(instance, "-br address"),
        ip(instance, "-br link"),
        ip(instance, "route"),
        ip(world.host.netns(), "-br link show master jct1"),
    ];
    // `jv…@if7` names an index, which a link that was made anew does not keep.
    text.concat().lines().map(|line| line.split("@if").next().unwrap().to_owned() + "\n").collect()
}

#[test]
fn whatever_is_half_made_is_completed() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    let instance = world.instance("web1", &[(&spec, [1, 0])]);
    // Whether a link carries is noticed by the kernel a moment after it does.
    testkit::wait_until(LONG, "the links carry", || !state(&world, &instance).contains("DOWN"));
    let expected = state(&world, &instance);
    let port = ip(world.host.netns(), "-o link show master jct1");
    let port = port.split(": ").nth(1).unwrap().split('@').next().unwrap().to_owned();

    let host = world.host.netns();
    let damages: [(&str, &dyn Fn()); 8] = [
        ("nothing", &|| {}),
        ("the link is gone", &|| drop(ip(host, &format!("link del {port}")))),
        ("the port has left its bridge", &|| drop(ip(host, &format!("link set {port} nomaster")))),
        ("the port is down", &|| drop(ip(host, &format!("link set {port} down")))),
        ("the address is gone", &|| drop(ip(&instance, "address flush dev eth0"))),
        ("an address too many", &|| drop(ip(&instance, "address add 10.208.5.9/22 dev eth0"))),
        ("the route is gone", &|| drop(ip(&instance, "route del default"))),
        ("everything is down", &|| {
            ip(&instance, "link set eth0 down");
            ip(&instance, "link set lo down");
        }),
    ];
    for (what, damage) in damages {
        damage();
        world.instance("web1", &[(&spec, [1, 0])]);
        let mut found = String::new();
        let deadline = std::time::Instant::now() + LONG;
        while found != expected {
            found = state(&world, &instance);
            let late = std::time::Instant::now() > deadline;
            assert!(found == expected || !late, "after: {what}\nfound\n{found}\nexpected\n{expected}");
        }
    }
}

#[test]
fn a_file_without_its_mount_becomes_a_namespace() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    std::fs::create_dir_all(world.path("web1").parent().unwrap()).unwrap();
    std::fs::write(world.path("web1"), "").unwrap();
    let instance = world.instance("web1", &[(&spec, [1, 0])]);
    // As after a reboot in which the link's name was taken already: the mount is gone, the link
    // leads to a namespace that nobody can name.
    rustix::mount::unmount(world.path("web1"), rustix::mount::UnmountFlags::DETACH).unwrap();
    let second = world.instance("web1", &[(&spec, [1, 0])]);
    assert!(ip(&second, "-4 -o address show dev eth0").contains("10.208.5.0/22"));
    assert!(!ip(&instance, "-o link").contains("eth0"), "the old end is gone");
    assert_eq!(ip(world.host.netns(), "-o link show master jct1").lines().count(), 1);
}

#[test]
fn removal_leaves_nothing_behind() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    let links = ip(world.host.netns(), "-o link");
    for _ in 0..2 {
        world.instance("web1", &[(&spec, [1, 0])]);
        world.remove("web1");
        world.remove("web1");
        assert!(!world.path("web1").exists());
        let mounts = read("/proc/self/mountinfo");
        assert!(!mounts.contains(world.dir.to_str().unwrap()), "{mounts}");
        let now = ip(world.host.netns(), "-o link");
        assert_eq!(now.lines().count(), links.lines().count(), "{now}");
    }
}

#[test]
fn a_missing_bridge_is_named_and_nothing_is_made() {
    let Some(world) = World::new() else { return };
    let links = [link(&network(1), [1, 0])];
    let error = net::ensure_instance(&world.path("web1"), &instance_id("web1"), &links).unwrap_err();
    assert_eq!(error.to_string(), "no bridge jct1");
    assert!(!world.path("web1").exists());
}

#[test]
fn fifty_instances_at_once_all_answer() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    let host = world.host.netns();
    let number_of = |id: usize| [1, u8::try_from(id).unwrap()];
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (world, spec) = (world.dir.path(), &spec);
            scope.spawn(move || {
                for id in (0..50).filter(|id| id % 4 == part) {
                    let path = world.join("netns").join(format!("i{id}"));
                    let links = [link(spec, number_of(id))];
                    let name = instance_id(&format!("i{id}"));
                    host.run(|| net::ensure_instance(&path, &name, &links)).unwrap();
                }
            });
        }
    });
    assert_eq!(ip(host, "-o link show master jct1").lines().count(), 50);
    for id in 0..50 {
        let instance = Netns::open(&world.path(&format!("i{id}")));
        let own = address(&spec, number_of(id));
        let greeter = greeter(&instance, own);
        assert_eq!(greeted(host, greeter, LONG), Some(spec.gateway), "instance {id}");
    }
    for id in 0..50 {
        world.remove(&format!("i{id}"));
    }
    assert_eq!(ip(host, "-o link show master jct1"), "");
}

/// A child process makes an instance over and over and is killed at some moment; whatever it
/// left, the next `ensure` completes and the next `remove` clears.
#[test]
fn a_kill_in_the_middle_is_healed() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    for round in 0..20u32 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "instance::made_over_and_over", "--ignored", "--nocapture"])
            .env("JUCHU_NET_CHILD", world.path("web1"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .map(testkit::ProcessGuard::from)
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.child.stdout.take().unwrap());
        while !line.contains("begin") {
            line.clear();
            assert_ne!(std::io::BufRead::read_line(&mut output, &mut line).unwrap(), 0, "it began");
        }
        // Not for luck: the moment of the kill is what varies.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round) * 700));
        child.kill();
        let instance = world.instance("web1", &[(&spec, [1, 0])]);
        let greeter = greeter(&instance, address(&spec, [1, 0]));
        assert_eq!(greeted(world.host.netns(), greeter, LONG), Some(spec.gateway), "round {round}");
        world.remove("web1");
        assert_eq!(ip(world.host.netns(), "-o link show master jct1"), "", "round {round}");
    }
}

/// The child of the test above; does nothing unless that started it.
#[test]
#[ignore = "run by a_kill_in_the_middle_is_healed in a process of its own"]
fn made_over_and_over() {
    let Some(path) = std::env::var_os("JUCHU_NET_CHILD") else { return };
    println!("begin");
    loop {
        let links = [link(&network(1), [1, 0])];
        let made = net::ensure_instance(path.as_ref(), &instance_id("web1"), &links);
        made.and_then(|()| net::remove_instance(path.as_ref(), &instance_id("web1"))).unwrap();
    }
}

#[test]
fn listening_ports_are_found() {
    let Some(world) = World::new() else { return };
    let spec = network(1);
    ensure(&spec);
    let instance = world.instance("web1", &[(&spec, [1, 0])]);
    let bind = |at: &str| instance.run(|| TcpListener::bind(at)).unwrap();
    let open = [
        bind("0.0.0.0:8080"),
        bind("10.208.5.0:80"),
        bind("[::]:9000"),
        bind("127.0.0.1:8081"),
        bind("[::1]:8082"),
    ];
    let process =
        instance.run(|| testkit::ProcessGuard::spawn(std::process::Command::new("sleep").arg("60")));
    let mut listening = net::Listening::of(process.pid());
    assert_eq!(listening.tcp(), [80, 8080, 9000]);
    assert_eq!(listening.tcp(), [80, 8080, 9000], "it can be asked again");
    drop(open);
    // Another test's thread may be between fork and exec, with copies of the listeners.
    testkit::wait_until(LONG, "no port listens", || listening.tcp().is_empty());
}
