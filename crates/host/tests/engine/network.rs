//! Instances on networks of their own, and on each other's.

use crate::fixture::{Fixture, test};
use model::instance::{InstanceNetwork, InstanceSpec, Link, NetworkSpec};
use run::engine::Engine;
use std::path::Path;
use std::time::Duration;

/// A network that no other test uses; its bridge goes with the value.
struct Network(NetworkSpec);

impl Network {
    fn new(third: u8) -> Self {
        Self(NetworkSpec {
            bridge: format!("jt{}x{third}", std::process::id()),
            gateway: format!("10.213.{third}.1").parse().unwrap(),
            prefix_len: 24,
            internal: true,
            virtual_addresses: vec![],
            mtu: None,
        })
    }

    fn link(&self, host: u8) -> Link {
        let std::net::IpAddr::V4(gateway) = self.0.gateway else { unreachable!("it was made from IPv4") };
        let [a, b, c, _] = gateway.octets();
        Link::new(self.0.clone(), std::net::Ipv4Addr::new(a, b, c, host).into())
    }

    fn join(&self, spec: &mut InstanceSpec, host: u8) {
        spec.network = InstanceNetwork::Links { links: vec![self.link(host)], dns: vec![self.0.gateway] };
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        net::remove_bridge(&self.0.bridge).expect("the bridge is removed");
    }
}

#[test]
fn instances_reach_each_other_and_share_networks() {
    test("network", async || {
        let mut fixture = Fixture::new().await;
        let network = Network::new(77);
        fixture.engine.ensure_network(&network.0).await.unwrap();
        let mut server = fixture.spec("nc -l -p 80 -e echo hello; sleep 100");
        network.join(&mut server, 10);
        server.process.user = Some("app".into());
        let server_id = fixture.run(&server).await.unwrap();
        let listening = async {
            while fixture.observed(&server_id).await.listening != [80] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), listening)
            .await
            .expect("it listens on a low port, not as root");

        let mut beside = fixture.spec("ip addr; cat /etc/hosts; sleep 100");
        beside.network = InstanceNetwork::Instance { id: server_id.clone() };
        let beside_id = fixture.run(&beside).await.unwrap();
        let seen = fixture.exec(&beside_id, "ip addr; cat /etc/hosts /etc/resolv.conf").await.output;
        for text in ["10.213.77.10/24", "10.213.77.10\tweb-1", "nameserver 10.213.77.1"] {
            assert!(seen.contains(text), "{text} in {seen}");
        }
        assert_eq!(fixture.says("nc 10.213.77.10 80", |spec| network.join(spec, 11)).await, "hello");

        let netns = fixture.dir.join("run/netns").join(server_id.as_str());
        assert!(netns.exists());
        fixture.engine.remove(&beside_id).await.unwrap();
        fixture.engine.remove(&server_id).await.unwrap();
        assert!(!netns.exists());
        for observed in fixture.engine.observe().await.unwrap() {
            fixture.engine.remove(&observed.spec.id).await.unwrap();
        }
        fixture.engine.remove_network(&network.0.bridge).await.unwrap();
        assert!(!Path::new("/sys/class/net").join(&network.0.bridge).exists());
    });
}

/// A copy of another instance's name space in a supervisor's mounts would keep that alive.
#[test]
fn a_supervisor_holds_no_mounts_of_its_own() {
    test("supervisor's mounts", async || {
        let mut fixture = Fixture::new().await;
        let spec = fixture.spec("sleep 100");
        let id = fixture.run(&spec).await.unwrap();
        let run = std::fs::read_to_string(fixture.state_dir(&id).join("run.json")).unwrap();
        let shim = serde_json::from_str::<serde_json::Value>(&run).unwrap()["shim"]["pid"].clone();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_eq!(namespace(&shim.to_string()), namespace("self"));
        assert_ne!(namespace(&fixture.pid(&id).await.to_string()), namespace("self"));
    });
}

#[test]
fn what_a_machine_lacks_is_said_with_a_way_to_get_it() {
    test("lacks", async || {
        let fixture = Fixture::new().await;
        let lacks = fixture.engine.lacks().await;
        assert!(lacks.iter().all(|lack| !lack.effect.is_empty() && !lack.hint.is_empty()));
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let held = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let may_raise = u64::from_str_radix(held, 16).unwrap() & 1 << 24 != 0;
        assert_eq!(lacks.iter().any(|lack| lack.what.contains("SYS_RESOURCE")), !may_raise);
        assert!(!lacks.iter().any(|lack| lack.fatal), "these tests have run instances here: {lacks:?}");
    });
}
