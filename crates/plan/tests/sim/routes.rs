use crate::world::{World, published, service};
use model::gateway::{Route, RouteAction, RouteTarget};
use model::instance::Health;
use model::route::Listener;
use model::rule::{Action, PathMatch, Rule};
use plan::routes::{Routed, table};
use std::collections::BTreeSet;

fn told(world: &mut World, draining: &BTreeSet<model::InstanceId>) -> Vec<String> {
    world.note_ready();
    let table = table(&[Routed { draining, ..world.routed() }], &BTreeSet::new(), 1);
    let listeners = table.listeners.iter().map(|l| {
        let ends = &table.backends[&l.backend].endpoints;
        let ends: Vec<String> = ends
            .iter()
            .map(|e| format!("{}{}", e.address, if e.draining { " draining" } else { "" }))
            .collect();
        format!("{} -> {}", l.address, ends.join(", "))
    });
    let zones = table.zones.iter().flat_map(|z| z.names.iter().map(|(n, a)| format!("{n} = {a:?}")));
    let short = zones.filter(|z| !z.starts_with(|c: char| c.is_ascii_hexdigit() && z.len() > 28));
    listeners.chain(short).collect()
}

#[test]
fn published_ports_and_names_lead_to_ready_instances() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.settle();
    let lines = told(&mut world, &BTreeSet::new());
    assert!(lines.contains(&"0.0.0.0:80 -> 10.208.1.0:80".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"10.208.0.2:80 -> 10.208.1.0:80".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"web = [10.208.0.2]".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"shop-web-1 = [10.208.1.0]".to_owned()), "{lines:#?}");
}

#[test]
fn an_unhealthy_instance_gets_nothing() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.settle();
    world.health("web", Health::Unhealthy);
    assert!(told(&mut world, &BTreeSet::new()).contains(&"0.0.0.0:80 -> 10.208.1.0:80 draining".to_owned()));
}

#[test]
fn a_draining_instance_is_marked_and_others_take_over() {
    let mut web = published(service("web"), 80);
    web.replicas = 2;
    let mut world = World::of(vec![web]);
    world.settle();
    let first = world.instances[0].observed.spec.id.clone();
    let lines = told(&mut world, &BTreeSet::from([first]));
    assert!(lines.contains(&"0.0.0.0:80 -> 10.208.1.1:80, 10.208.1.0:80 draining".to_owned()), "{lines:#?}");
}

#[test]
fn a_direct_service_resolves_to_its_instances() {
    let mut web = published(service("web"), 80);
    web.policy.direct = true;
    let mut world = World::of(vec![web]);
    world.settle();
    let lines = told(&mut world, &BTreeSet::new());
    assert!(lines.contains(&"web = [10.208.1.0]".to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|l| l.starts_with("10.208.0.2:80")), "{lines:#?}");
}

fn route(host: &str, to: &[&str]) -> Route {
    let target = |name: &&str| {
        let service = model::ServiceName::new(*name).expect("a name");
        RouteTarget { service, port: None, weight: 1 }
    };
    Route {
        listen: None,
        hosts: vec![host.into()],
        path: PathMatch::default(),
        methods: Vec::new(),
        headers: Default::default(),
        action: RouteAction::Forward { to: to.iter().map(target).collect(), sticky: None },
        edits: Default::default(),
        priority: None,
    }
}

#[test]
fn routes_join_what_is_published_and_open_what_is_not() {
    let mut web = published(service("web"), 8080);
    web.policy.gateway.routes = vec![route("a.example", &["api", "web"])];
    let mut api = service("api");
    api.policy.gateway.routes = vec![route("b.example", &["api"]), route("b.example", &["web"])];
    let mut world = World::of(vec![web, api]);
    world.settle();
    world.note_ready();
    let table = table(&[world.routed()], &BTreeSet::new(), 1);
    let public: Vec<_> = table.listeners.iter().filter(|l| l.public).collect();
    assert_eq!(public.len(), 2, "{public:?}");
    assert_eq!(
        (public[0].address.to_string().as_str(), public[0].backend.as_str()),
        ("0.0.0.0:8080", "shop/web:8080")
    );
    assert_eq!(public[0].rules[0].id, "shop/web#1");
    let Action::Forward { to, .. } = &public[0].rules[0].action else { panic!("{public:?}") };
    // What publishes and exposes nothing is asked on port 80.
    assert_eq!(to.iter().map(|t| t.backend.as_str()).collect::<Vec<_>>(), ["shop/api:80", "shop/web:8080"]);
    assert!(to.iter().all(|t| !table.backends[&t.backend].endpoints.is_empty()));
    assert_eq!((public[1].address.to_string().as_str(), public[1].backend.as_str()), ("0.0.0.0:80", ""));
    let ids: Vec<_> = public[1].rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["shop/api#1"], "the second takes the same requests");
}

#[test]
fn routes_are_listened_for_by_tls_where_their_service_speaks_it() {
    use model::certificate::{CertificateSource, TlsPolicy};
    let mut web = service("web");
    let policy = |ports: &[u16]| TlsPolicy {
        source: CertificateSource::Internal,
        hosts: vec!["a.example".to_owned()],
        ports: ports.to_vec(),
        redirect: true,
        hsts: None,
    };
    web.policy.tls = Some(policy(&[]));
    let listen = |port: u16| Some(([127, 0, 0, 1], port).into());
    web.policy.gateway.routes =
        vec![route("a.example", &["web"]), Route { listen: listen(8443), ..route("b.example", &["web"]) }];
    let mut api = service("api");
    api.policy.gateway.routes = vec![Route { listen: listen(8443), ..route("c.example", &["api"]) }];
    // Port, whether it speaks TLS, where its first route leads, how many routes it has.
    let mut check = |ports: &[u16], expect: &[(u16, bool, Option<u16>, usize)]| {
        web.policy.tls = Some(policy(ports));
        let mut world = World::of(vec![api.clone(), web.clone()]);
        world.settle();
        let wanted = plan::routes::certificates(world.routed().release);
        assert_eq!((wanted.len(), wanted[0].name.as_str()), (1, "shop.web"));
        let table = table(&[world.routed()], &BTreeSet::new(), 1);
        let public = table.listeners.iter().filter(|listener| listener.public);
        let leads = |rule: &Rule| match &rule.action {
            Action::Redirect(redirect) => redirect.port,
            _ => None,
        };
        let of = |l: &Listener| (l.address.port(), l.tls.is_some(), leads(&l.rules[0]), l.rules.len());
        let found = public.map(of);
        assert_eq!(found.collect::<Vec<_>>(), expect);
    };
    check(&[], &[(8443, false, None, 2), (80, false, Some(443), 1), (443, true, None, 1)]);
    check(&[8443], &[(8443, true, None, 2), (80, false, Some(8443), 1), (443, false, Some(8443), 1)]);
}

#[test]
fn answers_say_that_tls_is_spoken_strictly_where_it_is() {
    use model::certificate::{CertificateSource, TlsPolicy};
    let mut web = published(service("web"), 80);
    let hsts = Some("max-age=60".to_owned());
    let source = CertificateSource::Internal;
    web.policy.tls =
        Some(TlsPolicy { source, hosts: Vec::new(), ports: vec![8443], redirect: false, hsts: hsts.clone() });
    let listen = |port: u16| Some(([127, 0, 0, 1], port).into());
    web.policy.gateway.routes = vec![
        Route { listen: listen(8443), ..route("a.example", &["web"]) },
        Route { listen: listen(8080), ..route("a.example", &["web"]) },
    ];
    let mut world = World::of(vec![web]);
    world.settle();
    let table = table(&[world.routed()], &BTreeSet::new(), 1);
    let on = |port: u16| {
        table.listeners.iter().find(|l| l.public && l.address.port() == port).expect("it is there")
    };
    let said = |port: u16| on(port).rules[0].edits.response.set.get("strict-transport-security").cloned();
    assert_eq!((said(8443), said(8080)), (hsts.clone(), None));
    assert_eq!(on(8443).tls.as_ref().map(|tls| tls.hsts.clone()), Some(hsts));
}

#[test]
fn two_services_may_be_sent_copies_of_each_others_requests() {
    use model::gateway::MirrorPolicy;
    let copied = |name: &str, to: &str| {
        let mut one = published(service(name), if name == "a" { 80 } else { 81 });
        let to = model::ServiceName::new(to).expect("a name");
        one.policy.gateway.mirror =
            Some(MirrorPolicy { to, port: None, share: model::Percent::parse("5%").expect("a share") });
        one
    };
    let mut world = World::of(vec![copied("a", "b"), copied("b", "a")]);
    world.settle();
    let table = table(&[world.routed()], &BTreeSet::new(), 1);
    let to = |id: &str| table.backends[id].traffic.mirror.as_ref().map(|mirror| mirror.backend.clone());
    let leading: Vec<_> = table.backends.keys().map(|id| to(id).expect("it is copied")).collect();
    assert!(leading.len() >= 2 && leading.iter().all(|id| table.backends.contains_key(id)), "{leading:?}");
    assert!(
        table.backends.keys().zip(&leading).all(|(from, to)| from.split(':').next() != to.split(':').next())
    );
}
