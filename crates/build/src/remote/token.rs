//! What a registry asks for before it answers, and the tokens it gives for a login.

use super::error::RegistryError;
use super::login::Login;
use super::reference::is_loopback;
use crate::error::BuildError;
use crate::http::{self, Ask, Http, Method, Payload};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

const MAX_TOKEN_ANSWER_BYTES: u64 = 1 << 20;
const CLIENT: &str = "juchu";

/// What a registry asks for in `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest);
        let realm = parameters.remove("realm")?;
        Some(Self::Bearer { realm, service: parameters.remove("service"), scope: parameters.remove("scope") })
    }
}

/// `key="value",…`; values may hold commas.
fn parameters(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        found.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        rest = tail.trim_start_matches([',', ' ']);
    }
    found
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Who asks, and for what.
pub struct Applicant<'a> {
    pub http: &'a Http,
    /// `scheme://host:port` of the registry.
    pub origin: &'a str,
    pub authorities: &'a [PathBuf],
    pub login: Option<&'a Login>,
    /// `repository:NAME:pull`, …
    pub scopes: &'a [String],
}

impl Applicant<'_> {
    /// The `Authorization` that answers a challenge; `None` where nobody may.
    pub fn answer(&self, challenge: Challenge) -> Result<Option<String>, BuildError> {
        let (realm, service, scope) = match (challenge, self.login) {
            (_, Some(Login::Bearer(token))) => return Ok(Some(format!("Bearer {token}"))),
            (Challenge::Basic, Some(Login::Basic(basic))) => return Ok(Some(format!("Basic {basic}"))),
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, _) => (realm, service, scope),
        };
        let host = realm.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let plain =
            realm.starts_with("http://") && (is_loopback(host) || http::origin(&realm) == self.origin);
        if !realm.starts_with("https://") && !plain {
            return Err(RegistryError::NoTls { realm }.into());
        }
        let mut scopes = self.scopes.to_vec();
        scopes.extend(scope.filter(|scope| !self.scopes.iter().any(|ours| covers(ours, scope))));
        match self.login {
            Some(Login::Identity(token)) => self.exchange(&realm, service.as_deref(), &scopes, token),
            _ => self.ask(&realm, service.as_deref(), &scopes),
        }
    }

    fn ask(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Option<String>, BuildError> {
        let mut query: Vec<String> = scopes.iter().map(|scope| format!("scope={}", encode(scope))).collect();
        query.extend(service.map(|service| format!("service={}", encode(service))));
        let url = format!("{realm}{}{}", if realm.contains('?') { '&' } else { '?' }, query.join("&"));
        let basic = match self.login {
            Some(Login::Basic(basic)) => Some(format!("Basic {basic}")),
            _ => None,
        };
        let headers: Vec<_> = basic.iter().map(|value| ("authorization", value.as_str())).collect();
        self.token(realm, &url, Method::GET, &headers, Payload::Nothing)
    }

    /// An identity token is never sent but in the body of a request for a token.
    fn exchange(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        token: &str,
    ) -> Result<Option<String>, BuildError> {
        let form = format!(
            "grant_type=refresh_token&client_id={CLIENT}&service={}&scope={}&refresh_token={}",
            encode_all(service.unwrap_or_default()),
            encode_all(&scopes.join(" ")),
            encode_all(token)
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.token(realm, realm, Method::POST, &headers, Payload::Bytes(form.as_bytes()))
    }

    fn token(
        &self,
        realm: &str,
        url: &str,
        method: Method,
        headers: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Result<Option<String>, BuildError> {
        let authorities = if http::origin(realm) == self.origin { self.authorities } else { &[] };
        let response = self.http.ask(&Ask { method, url, headers, payload, authorities })?;
        match response.status().as_u16() {
            200 => {}
            400 | 401 | 403 => return Ok(None),
            status => return Err(BuildError::Status { url: realm.to_owned(), status }),
        }
        let bytes = http::read_body(realm, response.into_body(), MAX_TOKEN_ANSWER_BYTES)?;
        // What does not parse may still hold a token: it is not shown.
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| {
            BuildError::malformed(format!("the token from {realm}"), "it is no JSON with a token")
        })?;
        Ok(token.token.or(token.access_token).map(|token| format!("Bearer {token}")))
    }
}

/// Whether who has `ours` has `asked` as well: the same resource, with all its actions.
fn covers(ours: &str, asked: &str) -> bool {
    let parts = |scope: &str| -> Option<(String, Vec<String>)> {
        let (resource, actions) = scope.rsplit_once(':')?;
        Some((resource.to_owned(), actions.split(',').map(str::to_owned).collect()))
    };
    match (parts(ours), parts(asked)) {
        (Some((a, ours)), Some((b, asked))) => a == b && asked.iter().all(|action| ours.contains(action)),
        _ => false,
    }
}

/// Percent encoding of a query value.
fn encode(text: &str) -> String {
    escape(text, b"-._~:/,")
}

/// Percent encoding of a value in a form.
fn encode_all(text: &str) -> String {
    escape(text, b"-._~")
}

fn escape(text: &str, plain: &[u8]) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() || plain.contains(&b) => out.push(char::from(b)),
            b => {
                let _ = write!(out, "%{b:02X}");
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push""#;
        let Some(Challenge::Bearer { realm, service, scope }) = Challenge::parse(text) else { panic!() };
        assert_eq!(realm, "https://auth.example/token");
        assert_eq!(service.as_deref(), Some("reg.example"));
        assert_eq!(scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(Challenge::parse("basic realm=x"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Digest a=b"), None);
        assert_eq!(Challenge::parse("Bearer service=x"), None);
    }

    #[test]
    fn a_scope_that_is_had_is_not_asked_for_again() {
        assert!(covers("repository:a:pull,push", "repository:a:push,pull"));
        assert!(covers("repository:a:pull,push", "repository:a:pull"));
        assert!(!covers("repository:a:pull", "repository:a:pull,push"));
        assert!(!covers("repository:a:pull", "repository:b:pull"));
        assert!(!covers("repository:a:pull", "registry:catalog:*"));
    }
}
