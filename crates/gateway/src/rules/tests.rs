//! What is looked up says the same as the words of the rule's documentation, taken one by one.

use super::{Asked, Rules, build, normal};
use crate::counters::Lazy;
use httparse::Header;
use model::rule::{Action as Wanted, PathMatch, Rule as Declared};
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How well a host fits: exactly, below a longer or shorter name, or as any.
fn host_rank(rule: &Declared, host: &str) -> Option<(u8, usize)> {
    if rule.hosts.is_empty() {
        return Some((0, 0));
    }
    let fits = rule.hosts.iter().filter_map(|wanted| match wanted.strip_prefix('*') {
        Some(below) => host.ends_with(below).then_some((1, below.len())),
        None => (wanted == host).then_some((2, 0)),
    });
    fits.max()
}

fn path_rank(rule: &Declared, path: &str) -> Option<(u8, usize)> {
    match &rule.path {
        PathMatch::Exact(exact) => (exact == path).then_some((1, 0)),
        PathMatch::Prefix(prefix) => {
            let stem = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = path.strip_prefix(stem)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((0, stem.len()))
        }
    }
}

/// The rule that takes the request, by looking at each.
fn by_the_words<'r>(
    rules: &'r [Declared],
    host: &str,
    path: &str,
    method: &str,
    beta: bool,
) -> Option<&'r str> {
    let path = normal(path);
    let fitting = rules.iter().enumerate().filter_map(|(index, rule)| {
        let (host, path) = (host_rank(rule, host)?, path_rank(rule, &path)?);
        let method = rule.methods.is_empty() || rule.methods.iter().any(|one| one == method);
        let headers = rule.headers.is_empty() || beta;
        let rank = (host, path, !rule.methods.is_empty(), rule.headers.len(), Reverse(index));
        (method && headers).then_some((rank, rule.id.as_str()))
    });
    fitting.max().map(|(_, id)| id)
}

fn some_rule() -> impl Strategy<Value = Declared> {
    let hosts = prop::collection::vec(prop::sample::select(vec!["a", "b.a", "*.a", "*.b.a", "c.b.a"]), 0..3);
    let path = prop::sample::select(vec!["/", "/x", "/x/", "/x/y", "/xy", "/y"]);
    (hosts, path, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(hosts, path, exact, get, beta)| {
        let path = path.to_owned();
        Declared {
            id: String::new(),
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            path: if exact { PathMatch::Exact(path) } else { PathMatch::Prefix(path) },
            methods: if get { vec!["GET".into()] } else { Vec::new() },
            headers: if beta { BTreeMap::from([("x-beta".into(), None)]) } else { BTreeMap::new() },
            action: Wanted::Answer { status: 200, body: String::new() },
            edits: Default::default(),
            priority: None,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn looking_up_is_going_through_all_of_them(
        mut rules in prop::collection::vec(some_rule(), 0..12),
        host in prop::sample::select(vec!["a", "b.a", "c.b.a", "d.c.b.a", "x.a", "z"]),
        path in prop::sample::select(vec!["/", "/x", "/x/", "/x/y", "/x/y/z", "/xy", "//x", "/y/../x", "/q"]),
        method in prop::sample::select(vec!["GET", "PUT"]),
        beta in any::<bool>(),
    ) {
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.id = format!("r{index}");
        }
        let counters: HashMap<_, _> =
            rules.iter().map(|rule| (rule.id.clone(), Arc::new(Lazy::new(1)))).collect();
        let built: Rules = build(&rules, &BTreeMap::new(), &counters);
        let headers = [Header { name: "X-Beta", value: b"1" }];
        let headers = if beta { &headers[..] } else { &[] };
        let asked = Asked { method, host: host.as_bytes(), target: path, headers };
        let found = built.find(&asked);
        prop_assert_eq!(found.map(|rule| rule.id.as_str()), by_the_words(&rules, host, path, method, beta));
    }
}
