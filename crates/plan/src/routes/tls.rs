//! Which ports of this host speak TLS, where the others lead, and the certificates needed for it.

use super::Routed;
use model::certificate::{CertificateSource, CertificateWanted, certificate_name};
use model::gateway::Route;
use model::route::ListenerTls;
use model::rule::Rule;
use model::service::{PublishedPort, Transport};
use model::{Release, Service};

const HSTS_FIELD: &str = "strict-transport-security";
/// The usual port of https.
const USUAL: u16 = 443;

/// The certificate with which a port of this host speaks TLS for the service, if it does.
pub(super) fn secured(stack: &Routed<'_>, service: &Service, port: u16) -> Option<ListenerTls> {
    let hsts = service.policy.tls.as_ref().and_then(|tls| tls.hsts.clone());
    let certificate = || certificate_of(stack.release, service);
    speaks_tls_at(service, port).then(|| ListenerTls { certificate: certificate(), hsts })
}

/// Has the answers of a rule say that its hosts are reached by TLS alone, where TLS is spoken.
pub(super) fn strictly(service: &Service, port: u16, mut rule: Rule) -> Rule {
    let hsts = service.policy.tls.as_ref().and_then(|tls| tls.hsts.clone());
    if let Some(hsts) = hsts.filter(|_| speaks_tls_at(service, port)) {
        rule.edits.response.set.entry(HSTS_FIELD.to_owned()).or_insert(hsts);
    }
    rule
}

fn certificate_of(release: &Release, service: &Service) -> String {
    certificate_name(release.stack.name.as_str(), service.name.as_str())
}

/// Whether a published port speaks TLS.
pub fn speaks_tls(service: &Service, port: &PublishedPort) -> bool {
    port.transport == Transport::Tcp && speaks_tls_at(service, port.published)
}

/// Whether TLS is spoken for the service on a TCP port of this host. Where none is named: on 443 if
/// it is listened on, else on everything but 80.
pub fn speaks_tls_at(service: &Service, port: u16) -> bool {
    let Some(tls) = &service.policy.tls else { return false };
    match tls.ports.is_empty() {
        false => tls.ports.contains(&port),
        true if ports(service).any(|port| port == USUAL) => port == USUAL,
        true => port != 80,
    }
}

/// TCP ports of this host on which the service is listened for.
fn ports(service: &Service) -> impl Iterator<Item = u16> {
    let published = service.ports.iter().filter(|port| port.transport == Transport::Tcp);
    let routed = |route: &Route| service.listens_for(route).into_iter().map(|listen| listen.port());
    published.map(|port| port.published).chain(service.policy.gateway.routes.iter().flat_map(routed))
}

fn secured_port(service: &Service) -> Option<u16> {
    ports(service).find(|port| speaks_tls_at(service, *port))
}

/// The port that speaks TLS, for one that only leads there.
pub(super) fn leads_to(service: &Service, port: u16) -> Option<u16> {
    let wanted = service.policy.tls.as_ref().is_some_and(|tls| tls.redirect);
    let secured = secured_port(service)?;
    (wanted && !speaks_tls_at(service, port)).then_some(secured)
}

/// The certificates that the release in force needs.
pub fn certificates(release: &Release) -> Vec<CertificateWanted> {
    let secured = release.stack.services.values().filter(|service| secured_port(service).is_some());
    let wanted = secured.filter_map(|service| {
        let tls = service.policy.tls.as_ref()?;
        let mut hosts = tls.hosts.clone();
        if hosts.is_empty() && tls.source == CertificateSource::Internal {
            hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            hosts.push(format!("{}.localhost", service.name).to_ascii_lowercase());
        }
        let name = certificate_of(release, service);
        Some(CertificateWanted { name, hosts, source: tls.source.clone() })
    });
    wanted.collect()
}
