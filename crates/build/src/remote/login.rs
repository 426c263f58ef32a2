//! Who this machine is to a registry: what `docker login`, `podman login` or a credential helper
//! wrote down, looked for where these programs keep it.

use super::helper;
use crate::error::BuildError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Under which Docker keeps the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// A file of logins larger than this is none.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// How this machine answers when it is asked who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Name and password as basic authentication has them.
    Basic(String),
    /// What a token is asked for with (OAuth 2).
    Identity(String),
    /// A token that was given for ever.
    Bearer(String),
}

/// Secrets are not printed, not even by accident.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Login {
    pub fn of_password(user: &str, password: &str) -> Self {
        Self::Basic(STANDARD.encode(format!("{user}:{password}")))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: HashMap<String, Stored>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// The files in which logins are looked for, the first that has one wins.
#[derive(Debug, Clone, Default)]
pub struct LoginFiles(Vec<PathBuf>);

impl LoginFiles {
    pub fn one(file: PathBuf) -> Self {
        Self(vec![file])
    }

    /// Those of Podman and Docker, as the environment of this process says.
    pub fn of_process() -> Self {
        Self::from_environment(&|name| std::env::var_os(name).map(PathBuf::from))
    }

    fn from_environment(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Self {
        let set = |name: &str| variable(name).filter(|path| !path.as_os_str().is_empty());
        if let Some(file) = set("REGISTRY_AUTH_FILE") {
            return Self(vec![file]);
        }
        let home = set("HOME");
        let mut files = Vec::new();
        let runtime = set("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
        let user = rustix::process::getuid().as_raw();
        files.push(runtime.unwrap_or_else(|| format!("/run/containers/{user}/auth.json").into()));
        let config = set("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        files.extend(config.map(|directory| directory.join("containers/auth.json")));
        let docker = set("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
        files.extend(docker.map(|directory| directory.join("config.json")));
        Self(files)
    }

    /// The login for a repository of a registry, if there is one.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        cancel: &AtomicBool,
    ) -> Result<Option<Login>, BuildError> {
        for path in &self.0 {
            let Some(file) = read(path)? else { continue };
            if let Some(login) = file.find(path, registry, repository, cancel)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<File>, BuildError> {
    let failed = || BuildError::io(format!("read {}", path.display()));
    let bytes = match std::fs::metadata(path) {
        Ok(about) if about.len() > MAX_FILE_BYTES => {
            let limit = model::Bytes(MAX_FILE_BYTES);
            return Err(BuildError::TooLarge { what: path.display().to_string(), limit });
        }
        Ok(_) => std::fs::read(path).map_err(failed())?,
        // A home that may not be looked into has no login for this user.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error)
            if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed()(error)),
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // The text of the error may not quote the file: it holds secrets.
    let place = |e: serde_json::Error| format!("line {} column {} is not as expected", e.line(), e.column());
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| BuildError::malformed(path.display().to_string(), place(e)))
}

impl File {
    fn find(
        &self,
        path: &Path,
        registry: &str,
        repository: &str,
        cancel: &AtomicBool,
    ) -> Result<Option<Login>, BuildError> {
        let helper = self.cred_helpers.iter().find(|(key, _)| is_for(key, registry)).map(|(_, name)| name);
        let store = self.creds_store.as_ref().filter(|name| !name.is_empty());
        if let Some(name) = helper.or(store) {
            let asked = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
            if let Some(login) = helper::get(name, asked, cancel)? {
                return Ok(Some(login));
            }
        }
        let mut name = format!("{registry}/{repository}");
        // The most exact key wins: Podman keeps logins of single repositories, too.
        while let Some((shorter, _)) = name.rsplit_once('/') {
            if let Some(stored) = self.auths.get(&name) {
                return stored.login(path);
            }
            name = shorter.to_owned();
        }
        match self.auths.iter().find(|(key, _)| is_for(key, registry)) {
            Some((_, stored)) => stored.login(path),
            None => Ok(None),
        }
    }
}

/// Whether a key, such as `https://HOST/v2/`, means a whole registry.
fn is_for(key: &str, registry: &str) -> bool {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let whole = ["", "v1", "v2"].contains(&path.trim_end_matches('/'));
    whole && (host == registry || (registry == "docker.io" && host == "index.docker.io"))
}

impl Stored {
    fn login(&self, path: &Path) -> Result<Option<Login>, BuildError> {
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = set(&self.registrytoken) {
            return Ok(Some(Login::Bearer(token)));
        }
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Some(Login::Identity(token)));
        }
        if let Some(auth) = set(&self.auth) {
            let decoded = STANDARD.decode(auth.trim()).ok().filter(|bytes| bytes.contains(&b':'));
            let reason = "an `auth` is not base64 of a name, a colon and a password";
            let decoded = decoded.ok_or_else(|| BuildError::malformed(path.display().to_string(), reason))?;
            return Ok(Some(Login::Basic(STANDARD.encode(decoded))));
        }
        Ok(set(&self.username).zip(self.password.as_ref()).map(|(u, p)| Login::of_password(&u, p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    static NEVER: AtomicBool = AtomicBool::new(false);

    fn check(text: &str, name: &str, expect: Option<Login>) {
        let directory = TempDir::new();
        let files = LoginFiles::one(directory.write("config.json", text));
        let (registry, repository) = name.split_once('/').unwrap();
        assert_eq!(files.find(registry, repository, &NEVER).unwrap(), expect, "{name}");
    }

    fn basic(text: &str) -> Option<Login> {
        Some(Login::Basic(STANDARD.encode(text)))
    }

    #[test]
    fn logins_are_found_by_host_and_by_repository() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aDpp"},
            "reg.example:5000":{"username":"u","password":"p"},"https://other.example/v2/":{"auth":"bzp0"},
            "reg.example/team":{"auth":"dDpt"},"reg.example/team/app":{"auth":"YTpw"},
            "id.example":{"auth":"", "identitytoken":"refresh"},"for.ever":{"registrytoken":"tok"}},
            "HttpHeaders":{"User-Agent":"x"}}"#;
        check(text, "docker.io/library/redis", basic("h:i"));
        check(text, "reg.example:5000/a", basic("u:p"));
        check(text, "other.example/a", basic("o:t"));
        check(text, "reg.example/a", None);
        check(text, "reg.example/team/other", basic("t:m"));
        check(text, "reg.example/team/app", basic("a:p"));
        check(text, "id.example/a", Some(Login::Identity("refresh".to_owned())));
        check(text, "for.ever/a", Some(Login::Bearer("tok".to_owned())));
        check("  ", "docker.io/a", None);
    }

    #[test]
    fn a_broken_file_is_named_and_its_secrets_are_not() {
        let directory = TempDir::new();
        for text in
            ["{", r#"{"auths":{"a.b":{"auth":["s3cret"]}}}"#, r#"{"auths":{"a.b":{"auth":"s3cret"}}}"#]
        {
            let path = directory.write("auth.json", text);
            let error = LoginFiles::one(path.clone()).find("a.b", "c", &NEVER).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} is malformed", path.display())), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn files_are_looked_for_where_podman_and_docker_keep_them() {
        let files = |set: &[(&str, &str)]| {
            let found =
                |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value));
            LoginFiles::from_environment(&found).0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        let user = rustix::process::getuid().as_raw();
        assert_eq!(files(&[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/h")]), ["/a"]);
        assert_eq!(
            files(&[("HOME", "/h")]),
            [
                format!("/run/containers/{user}/auth.json").as_str(),
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        assert_eq!(
            files(&[("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]),
            ["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"]
        );
    }
}
