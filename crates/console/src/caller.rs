//! Who asks. On the Unix socket the kernel says it; a browser proves it by its session.
//!
//! Everything that must hold for a browser's request (host name, origin, form token) is checked
//! here, before any route sees it.

use crate::access::{Access, Session};
use crate::api::Failure;
use crate::api::v1::{FORM_TOKEN_HEADER, SUDO_USER_HEADER};
use crate::serve::App;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::Report;
use std::fs;

pub const COOKIE: &str = "juchu_session";

/// The user at the other end of a Unix connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
}

/// Whose request this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    Local { actor: String },
    Browser { session: Session, secret: String },
}

impl Caller {
    /// As the journal names people: `ada (cli)`, `ada (console)`.
    pub fn actor(&self) -> &str {
        match self {
            Caller::Local { actor } => actor,
            Caller::Browser { session, .. } => &session.actor,
        }
    }

    /// The same person, coming in through a browser.
    pub fn console_actor(&self) -> String {
        let login = self.actor().split(" (").next().unwrap_or_default();
        format!("{login} (console)")
    }

    pub fn session(&self) -> Option<&Session> {
        match self {
            Caller::Local { .. } => None,
            Caller::Browser { session, .. } => Some(session),
        }
    }

    /// Some things are for whoever has a shell on this machine, not for a browser.
    pub fn must_be_local(&self) -> Result<(), Failure> {
        match self {
            Caller::Local { .. } => Ok(()),
            Caller::Browser { .. } => {
                let report = Report::usage("this is only possible from the command line of this machine");
                Err(Failure::new(StatusCode::FORBIDDEN, report))
            }
        }
    }
}

/// Finds out who asks and puts a [`Caller`] into the request, or refuses it.
pub async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let caller = match request.extensions().get::<Peer>() {
        Some(peer) => Ok(Caller::Local { actor: local_actor(*peer, request.headers()) }),
        None => browser(&app.access, &request),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) if is_api(&request) => failure.into_response(),
        Err(failure) => crate::web::refusal(failure),
    }
}

fn browser(access: &Access, request: &Request) -> Result<Caller, Failure> {
    let unknown = || {
        let report = Report::usage("this browser is not signed in").hint("run `juchu console` for a link");
        Failure::new(StatusCode::UNAUTHORIZED, report)
    };
    let secret = session_cookie(request.headers()).ok_or_else(unknown)?;
    let session = access.session(secret).ok_or_else(unknown)?;
    if !is_safe(request.method()) && is_api(request) {
        let token = request.headers().get(FORM_TOKEN_HEADER).and_then(|v| v.to_str().ok());
        check_form_token(&session, token.unwrap_or_default())?;
    }
    Ok(Caller::Browser { secret: secret.to_owned(), session })
}

fn is_api(request: &Request) -> bool {
    request.uri().path().starts_with("/api/")
}

/// Refuses a form that this session did not receive.
pub fn check_form_token(session: &Session, token: &str) -> Result<(), Failure> {
    if token.len() == session.form_token.len()
        && token.bytes().zip(session.form_token.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    {
        return Ok(());
    }
    let report = Report::usage("the form is not from this session").hint("open the page again");
    Err(Failure::new(StatusCode::FORBIDDEN, report))
}

pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// What holds for every request that did not come through the Unix socket: it names the console's
/// own host, so that no other site's name can be pointed here, and a change comes from its pages.
pub async fn guard(request: Request, next: Next) -> Response {
    if request.extensions().get::<Peer>().is_some() {
        return next.run(request).await;
    }
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (name, port) = split_port(host);
    if name != Access::HOST {
        return wrong_host(&request, name, port);
    }
    if !is_safe(request.method()) && !same_origin(request.headers(), host) {
        let report = Report::usage("the request comes from another site");
        return Failure::new(StatusCode::FORBIDDEN, report).into_response();
    }
    next.run(request).await
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Other names of this machine are sent on to the console's own; all else is refused.
fn wrong_host(request: &Request, name: &str, port: Option<&str>) -> Response {
    let ours = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    if ours && is_safe(request.method()) {
        let path = request.uri().path();
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let there = format!("http://{}{port}{path}", Access::HOST);
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, there)]).into_response();
    }
    let report = Report::usage(format!("the console answers only to the name {}", Access::HOST));
    Failure::new(StatusCode::MISDIRECTED_REQUEST, report).into_response()
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Browsers say where a change comes from; one that says nothing is judged by its form token alone.
fn same_origin(headers: &HeaderMap, host: &str) -> bool {
    let text = |name| headers.get(name).map(|v: &axum::http::HeaderValue| v.to_str().unwrap_or("?"));
    let site = text(axum::http::HeaderName::from_static("sec-fetch-site"));
    let origin = text(header::ORIGIN);
    site.is_none_or(|site| site == "same-origin")
        && origin.is_none_or(|origin| origin.strip_prefix("http://") == Some(host))
}

/// `ada (cli)`; behind `sudo`, whose word is root's word, the login that typed it.
fn local_actor(peer: Peer, headers: &HeaderMap) -> String {
    let sudo_user = headers.get(SUDO_USER_HEADER).and_then(|v| v.to_str().ok()).filter(|v| is_login(v));
    match sudo_user {
        Some(login) if peer.uid == 0 && login != "root" => format!("{login} (cli, sudo)"),
        _ => format!("{} (cli)", login_of(peer.uid)),
    }
}

fn is_login(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'$'))
}

fn login_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    login_in(&passwd, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

fn login_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let login = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && is_login(login)).then_some(login)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_the_name_of_their_login() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(login_in(passwd, 1000), Some("ada"));
        assert_eq!(login_in(passwd, 7), None);
        let mut headers = HeaderMap::new();
        headers.insert(SUDO_USER_HEADER, "ada".parse().expect("a header"));
        assert_eq!(local_actor(Peer { uid: 0 }, &headers), "ada (cli, sudo)");
        assert_ne!(local_actor(Peer { uid: 65_000 }, &headers), "ada (cli, sudo)", "only root's word counts");
        headers.insert(SUDO_USER_HEADER, "a b".parse().expect("a header"));
        assert_eq!(local_actor(Peer { uid: 0 }, &headers), "root (cli)");
    }

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        assert_eq!(session_cookie(&headers), None);
        headers.insert(header::COOKIE, "a=1; juchu_session=abc; b=2".parse().expect("a header"));
        assert_eq!(session_cookie(&headers), Some("abc"));
        headers.insert(header::COOKIE, "juchu_sessions=abc".parse().expect("a header"));
        assert_eq!(session_cookie(&headers), None);
    }

    #[test]
    fn hosts_are_split_from_their_ports() {
        assert_eq!(split_port("juchu.localhost:7766"), ("juchu.localhost", Some("7766")));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some("80")));
    }
}
