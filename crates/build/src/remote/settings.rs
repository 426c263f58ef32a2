//! What is special about a registry on this machine: mirrors, plain text, own authorities. Declared
//! in `registries.toml` in the home of Juchu; certificates also where Docker and Podman keep them.

use super::error::RegistryError;
use super::reference::{Reference, is_loopback};
use crate::error::BuildError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Mirrors of one registry.
const MAX_MIRRORS: usize = 8;
/// Files of certificates for one host.
const MAX_CERTIFICATES: usize = 32;
const CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    registry: BTreeMap<String, OfRegistry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OfRegistry {
    /// `HOST[:PORT][/PREFIX]`, `http://` in front for plain text; asked in this order.
    mirrors: Vec<String>,
    /// Plain HTTP; only a registry on this machine has it by itself.
    insecure: Option<bool>,
    /// A PEM file of the authorities that vouch for it.
    ca: Option<PathBuf>,
    /// A public key in PEM: what is fetched from there must be signed by its other half. Also under
    /// the name of a repository or what is before it, where that is not for the whole registry.
    key: Option<PathBuf>,
}

/// Where one copy of a registry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// With a port where one is written.
    pub host: String,
    /// `http://` or `https://` and the host.
    pub base: String,
    /// What stands before the name of a repository, with a slash at its end.
    pub prefix: String,
    pub authorities: Vec<PathBuf>,
}

impl Settings {
    /// A file that is not there says nothing special.
    pub fn read(path: &Path) -> Result<Self, BuildError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(BuildError::io(format!("read {}", path.display()))(error)),
        };
        let wrong = |reason: String| RegistryError::Settings { path: path.to_owned(), reason };
        let settings: Self =
            toml::from_str(&text).map_err(|e| wrong(e.to_string().trim().replace('\n', " ")))?;
        for (name, registry) in &settings.registry {
            let of_host =
                !registry.mirrors.is_empty() || registry.insecure.is_some() || registry.ca.is_some();
            if name.contains('/') && of_host {
                return Err(wrong(format!("`{name}` is no host: it can have nothing but a `key`")).into());
            }
            if registry.mirrors.len() > MAX_MIRRORS {
                return Err(wrong(format!("{name} has more than {MAX_MIRRORS} mirrors")).into());
            }
            for mirror in &registry.mirrors {
                settings.mirror(mirror).map_err(|reason| wrong(format!("the mirror `{mirror}` {reason}")))?;
            }
        }
        Ok(settings)
    }

    /// The registry of an image name itself.
    pub fn origin(&self, registry: &str) -> Place {
        let of_it = self.registry.get(registry);
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let authorities = authorities(registry, of_it.and_then(|r| r.ca.clone()));
        let plain = of_it.and_then(|r| r.insecure).unwrap_or(is_loopback(host) && authorities.is_empty());
        let scheme = if plain { "http" } else { "https" };
        Place {
            host: registry.to_owned(),
            base: format!("{scheme}://{host}"),
            prefix: String::new(),
            authorities,
        }
    }

    /// Where its images are looked for first.
    pub fn mirrors(&self, registry: &str) -> Vec<Place> {
        let mirrors = self.registry.get(registry).map(|r| r.mirrors.as_slice()).unwrap_or_default();
        mirrors.iter().filter_map(|mirror| self.mirror(mirror).ok()).collect()
    }

    /// The key that has to have signed what is fetched under this name.
    pub fn key_for(&self, reference: &Reference) -> Option<&Path> {
        let mut name = format!("{}/{}", reference.registry, reference.repository);
        loop {
            if let Some(key) = self.registry.get(&name).and_then(|of_it| of_it.key.as_deref()) {
                return Some(key);
            }
            name.truncate(name.rfind('/')?);
        }
    }

    fn mirror(&self, text: &str) -> Result<Place, &'static str> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err("is neither http nor https"),
            None => (None, text),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !super::reference::is_host(host) {
            return Err("does not begin with a host name with or without a port");
        }
        let mut place = self.origin(host);
        if let Some(scheme) = scheme {
            place.base = format!("{scheme}://{host}");
        }
        let prefix = prefix.trim_matches('/');
        place.prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(place)
    }
}

/// The declared file, or the `*.crt` files that Docker and Podman would read.
fn authorities(host: &str, declared: Option<PathBuf>) -> Vec<PathBuf> {
    if let Some(file) = declared {
        return vec![file];
    }
    let directories = CERTIFICATES.iter().map(|directory| Path::new(directory).join(host));
    let entries = directories.filter_map(|directory| std::fs::read_dir(directory).ok()).flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "crt"));
    let mut files: Vec<PathBuf> = files.take(MAX_CERTIFICATES).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::TempDir;

    fn check(text: &str) -> Result<Settings, String> {
        let directory = TempDir::new();
        let path = directory.write("registries.toml", text);
        Settings::read(&path)
            .map_err(|e| e.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn plain_text_is_for_this_machine_and_where_it_is_declared() {
        let text = "[registry.\"lan:5000\"]\ninsecure = true\n[registry.\"127.0.0.1:443\"]\ninsecure = false\n\
                    [registry.\"own.example\"]\nca = \"/x.pem\"";
        let settings = check(text).unwrap();
        let base = |name: &str| settings.origin(name).base;
        assert_eq!(base("127.0.0.1:5000"), "http://127.0.0.1:5000");
        assert_eq!(base("[::1]:5000"), "http://[::1]:5000");
        assert_eq!(base("localhost.example"), "https://localhost.example");
        assert_eq!(base("docker.io"), "https://registry-1.docker.io");
        assert_eq!(base("lan:5000"), "http://lan:5000");
        assert_eq!(base("127.0.0.1:443"), "https://127.0.0.1:443");
        assert_eq!(settings.origin("own.example").authorities, [PathBuf::from("/x.pem")]);
    }

    #[test]
    fn mirrors_are_asked_in_their_order() {
        let text =
            "[registry.\"docker.io\"]\nmirrors = [\"http://m1:5000\", \"m2.example/hub/\", \"127.0.0.1:1\"]";
        let settings = check(text).unwrap();
        let found: Vec<String> =
            settings.mirrors("docker.io").iter().map(|m| format!("{} {}", m.base, m.prefix)).collect();
        assert_eq!(found, ["http://m1:5000 ", "https://m2.example hub/", "http://127.0.0.1:1 "]);
        assert!(settings.mirrors("ghcr.io").is_empty());
    }

    #[test]
    fn the_key_of_the_most_exact_name_counts() {
        let text = "[registry.\"r.example\"]\nkey = \"/all.pub\"\n[registry.\"r.example/team\"]\nkey = \"/team.pub\"\n\
                    [registry.\"docker.io/library/redis\"]\nkey = \"/redis.pub\"";
        let settings = check(text).unwrap();
        let key = |name: &str| {
            let key = settings.key_for(&Reference::parse(name).unwrap());
            key.map_or_else(String::new, |key| key.display().to_string())
        };
        assert_eq!([key("r.example/a"), key("r.example/team/a/b:1")], ["/all.pub", "/team.pub"]);
        assert_eq!([key("redis"), key("postgres"), key("r.example/teams/a")], ["/redis.pub", "", "/all.pub"]);
    }

    #[test]
    fn a_wrong_file_is_told() {
        for (text, expect) in [
            ("[registry", "registries.toml is malformed: TOML parse error at line 1"),
            ("[registry.a]\nmiror = []", "unknown field `miror`"),
            ("[registry.a]\nmirrors = [\"ftp://x\"]", "the mirror `ftp://x` is neither http nor https"),
            ("[registry.a]\nmirrors = [\"x y\"]", "does not begin with a host name"),
            ("[registry.\"a/b\"]\ninsecure = true", "`a/b` is no host: it can have nothing but a `key`"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
        let nine = format!("[registry.a]\nmirrors = [{}]", "\"m\",".repeat(MAX_MIRRORS + 1));
        assert!(check(&nine).unwrap_err().contains("more than 8 mirrors"));
        assert!(check(&nine.replacen("\"m\",", "", 1)).is_ok());
        assert!(Settings::read(Path::new("/nonexistent/registries.toml")).is_ok());
    }
}
