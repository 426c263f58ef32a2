//! Who this machine is to a registry: what `docker login` wrote down, and the tokens a registry
//! gives for it.

use super::reference::{Reference, is_loopback};
use crate::error::BuildError;
use crate::http::{self, Http};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MAX_TOKEN_ANSWER_BYTES: u64 = 1 << 20;
/// Under which Docker keeps the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: HashMap<String, Login>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// The file in which `docker login` keeps what it was told.
pub fn default_file() -> Option<PathBuf> {
    match std::env::var_os("DOCKER_CONFIG") {
        Some(directory) => Some(PathBuf::from(directory).join("config.json")),
        None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker/config.json")),
    }
}

/// The value of a basic `Authorization` for this registry; absent where nobody logged in.
pub fn basic(file: Option<&Path>, registry: &str) -> Result<Option<String>, BuildError> {
    let Some(bytes) = file.and_then(|path| std::fs::read(path).ok()) else { return Ok(None) };
    let config: DockerConfig = serde_json::from_slice(&bytes)
        .map_err(|e| BuildError::malformed(file.unwrap_or(Path::new("")).display().to_string(), e))?;
    let host = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let login = config.auths.iter().find(|(key, _)| match registry {
        "docker.io" => *key == DOCKER_HUB_KEY || host(key) == "docker.io",
        other => host(key) == other,
    });
    let encoded = login.and_then(|(_, login)| match login {
        Login { auth: Some(auth), .. } if !auth.is_empty() => Some(auth.clone()),
        Login { username: Some(user), password: Some(password), .. } => {
            Some(STANDARD.encode(format!("{user}:{password}")))
        }
        _ => None,
    });
    Ok(encoded.map(|encoded| format!("Basic {encoded}")))
}

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

/// The `Authorization` that answers a challenge.
pub fn answer(
    http: &Http,
    challenge: Challenge,
    reference: &Reference,
    basic: Option<&str>,
) -> Result<String, BuildError> {
    let refused = || BuildError::Unauthorised {
        registry: reference.registry.clone(),
        reference: reference.to_string(),
    };
    let Challenge::Bearer { realm, service, scope } = challenge else {
        return basic.map(str::to_owned).ok_or_else(refused);
    };
    let host = realm.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_safe = realm.starts_with("https://") || (realm.starts_with("http://") && is_loopback(host));
    if !is_safe {
        return Err(BuildError::unreachable(&realm, &"the registry asks for its token without TLS"));
    }
    let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", reference.repository));
    let mut url = format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, encode(&scope));
    if let Some(service) = service {
        url.push_str(&format!("&service={}", encode(&service)));
    }
    let headers: Vec<(&str, &str)> = basic.map(|value| ("authorization", value)).into_iter().collect();
    let response = http.get(&url, &headers)?;
    match response.status().as_u16() {
        200 => {}
        401 | 403 => return Err(refused()),
        status => return Err(BuildError::Status { url, status }),
    }
    let bytes = http::read_body(&url, response.into_body(), MAX_TOKEN_ANSWER_BYTES)?;
    let token: Token = serde_json::from_slice(&bytes)
        .map_err(|e| BuildError::malformed(format!("the token from {realm}"), e))?;
    let token = token.token.or(token.access_token).ok_or_else(refused)?;
    Ok(format!("Bearer {token}"))
}

/// Percent encoding of a query value.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:/,".contains(&b) => out.push(char::from(b)),
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
    fn logins_are_found_by_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aGk="},"reg.example:5000":{"username":"u","password":"p"},"https://other.example/v2/":{"auth":"b3Q="}},"credsStore":"x"}"#;
        std::fs::write(&path, text).unwrap();
        let of = |registry: &str| basic(Some(&path), registry).unwrap();
        assert_eq!(of("docker.io").as_deref(), Some("Basic aGk="));
        assert_eq!(of("reg.example:5000").as_deref(), Some("Basic dTpw"));
        assert_eq!(of("other.example").as_deref(), Some("Basic b3Q="));
        assert_eq!(of("reg.example"), None);
        std::fs::write(&path, "{").unwrap();
        assert!(basic(Some(&path), "docker.io").is_err());
    }
}
