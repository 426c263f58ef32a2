//! The declared routes of a stack's services as rules of the listeners they are for.

use super::tls::{leads_to, secured, strictly};
use super::{Routed, backend, known_ports};
use model::gateway::{DEFAULT_PORT, Route, RouteAction, RouteTarget};
use model::route::{BackendId, Listener, RouteTable};
use model::rule::{Action, Edits, Redirect, Rule, Target};
use model::service::{Protocol, Transport};
use model::{Service, ServiceName};
use std::net::SocketAddr;

/// For good, and the method stays.
const LEADING_STATUS: u16 = 308;

/// Adds a rule for each route. Of two stacks that want the same requests the first one has them.
pub(super) fn add(stack: &Routed<'_>, table: &mut RouteTable) {
    for service in stack.release.stack.services.values() {
        for (index, route) in service.policy.gateway.routes.iter().enumerate() {
            let Some(action) = action(stack, route, table) else { continue };
            let rule = Rule {
                id: format!("{}/{}#{}", stack.release.stack.name, service.name, index + 1),
                hosts: route.hosts.clone(),
                path: route.path.clone(),
                methods: route.methods.clone(),
                headers: route.headers.clone(),
                action,
                edits: route.edits.clone(),
                priority: route.priority,
            };
            for address in service.listens_for(route) {
                put(
                    stack,
                    service,
                    leading(service, address, strictly(service, address.port(), rule.clone())),
                    address,
                    table,
                );
            }
        }
    }
}

/// The rule itself, or the way to https where its service wants requests to be led there.
fn leading(service: &Service, address: SocketAddr, rule: Rule) -> Rule {
    let Some(port) = leads_to(service, address.port()) else { return rule };
    let (scheme, port) = (Some("https".to_owned()), Some(port));
    let redirect = Redirect { status: LEADING_STATUS, scheme, port, ..Redirect::default() };
    Rule { action: Action::Redirect(redirect), edits: Edits::default(), ..rule }
}

/// Adds a rule to what is listened on already, or makes a listener for it.
fn put(stack: &Routed<'_>, service: &Service, rule: Rule, address: SocketAddr, table: &mut RouteTable) {
    let known = |listener: &&mut Listener| listener.address == address && listener.last_port == 0;
    match table.listeners.iter_mut().find(known) {
        Some(listener) => {
            let left = rule.beside(&listener.rules);
            listener.rules.extend(left);
            // Made for the routes of another, who has nothing to show.
            if listener.backend.is_empty() && listener.tls.is_none() {
                listener.tls = secured(stack, service, address.port());
            }
        }
        None => table.listeners.push(Listener {
            address,
            protocol: Protocol::Http,
            backend: String::new(),
            public: true,
            last_port: 0,
            rules: vec![rule],
            tls: secured(stack, service, address.port()),
            https_port: None,
            proxied: service.policy.gateway.proxy.accepts(address.port()),
        }),
    }
}

fn action(stack: &Routed<'_>, route: &Route, table: &mut RouteTable) -> Option<Action> {
    Some(match &route.action {
        RouteAction::Redirect(redirect) => Action::Redirect(redirect.clone()),
        RouteAction::Files { directory } => Action::Files { directory: directory.clone() },
        RouteAction::Answer { status, body } => Action::Answer { status: *status, body: body.clone() },
        RouteAction::Forward { to, sticky } => {
            let to: Vec<Target> = to.iter().filter_map(|one| target(stack, one, table)).collect();
            if to.is_empty() {
                return None;
            }
            Action::Forward { to, sticky: sticky.clone() }
        }
    })
}

fn target(stack: &Routed<'_>, declared: &RouteTarget, table: &mut RouteTable) -> Option<Target> {
    let backend = leading_to(stack, &declared.service, declared.port, table)?;
    Some(Target { backend, weight: declared.weight })
}

/// The backend of a service by its name, at the port that is named or the usual one.
pub(super) fn leading_to(
    stack: &Routed<'_>,
    name: &ServiceName,
    port: Option<u16>,
    table: &mut RouteTable,
) -> Option<BackendId> {
    let service = service(stack, name)?;
    let port = port.unwrap_or_else(|| usual_port(stack, service));
    Some(backend(stack, service, (port, Transport::Tcp), table))
}

fn service<'a>(stack: &Routed<'a>, name: &ServiceName) -> Option<&'a Service> {
    stack.release.stack.services.get(name)
}

/// What it publishes or exposes first, else the lowest it is known to have.
fn usual_port(stack: &Routed<'_>, service: &Service) -> u16 {
    let published =
        service.ports.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.target);
    let exposed = service.expose.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.port);
    let known = known_ports(stack, service, Transport::Tcp);
    published.chain(exposed).chain(known).find(|port| *port != 0).unwrap_or(DEFAULT_PORT)
}
