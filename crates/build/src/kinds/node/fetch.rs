//! Packages from an npm registry: fetched by the lock's address, checked against its integrity,
//! unpacked once into the cache.

use super::lock::Package;
use crate::http::{Http, read_body};
use crate::kinds::cache::Cache;
use crate::kinds::settings::{Context, Project};
use crate::{BuildError, durable};
use base64::Engine as _;
use model::Digest;
use sha2::Digest as _;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";
const PACKAGE_LIMIT: u64 = 512 << 20;
const UNPACKED_LIMIT: u64 = 4 << 30;
const FILE_LIMIT: usize = 200_000;

pub struct Registry<'a> {
    ctx: &'a Context<'a>,
    http: Http,
    settings: Settings,
}

/// What of npm's configuration matters for fetching.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    registry: Option<String>,
    /// Scope with its `@` → registry.
    scopes: Vec<(String, String)>,
    /// Address without scheme → value of the authorization header.
    tokens: Vec<(String, String)>,
}

impl<'a> Registry<'a> {
    pub fn new(project: &'a Project<'a>) -> Result<Self, BuildError> {
        let ctx = project.ctx;
        let registry = ctx.variable("npm_config_registry").or(ctx.variable("NPM_CONFIG_REGISTRY")).map(tidy);
        let mut settings = Settings { registry, ..Settings::default() };
        if let Some(text) = project.tree()?.text(".npmrc")? {
            settings.read(&text, ctx);
        }
        let own = ctx
            .variable("npm_config_userconfig")
            .or(ctx.variable("NPM_CONFIG_USERCONFIG"))
            .map(PathBuf::from);
        if let Some(path) = own.or_else(|| ctx.home().map(|home| home.join(".npmrc"))) {
            settings.read(&fs::read_to_string(path).unwrap_or_default(), ctx);
        }
        Ok(Self { ctx, http: Http::new(), settings })
    }

    /// The unpacked package and a digest that stands for its bytes.
    pub fn fetch(&self, package: &Package) -> Result<(PathBuf, Digest), BuildError> {
        let (algorithm, expected) = integrity(package)?;
        let name = format!("{algorithm}-{}", hexadecimal(&expected));
        let root = Cache::of(self.ctx).directory("unpacked-packages", &name, |into| {
            let url = self.settings.address(package)?;
            self.ctx.say(&format!("fetching {}@{}", package.name, package.version));
            let bytes = self.download(&url)?;
            verify(&url, algorithm, &expected, &bytes)?;
            unpack(&url, &bytes, into)
        })?;
        Ok((root, super::input_digest(&name)))
    }

    fn download(&self, url: &str) -> Result<Vec<u8>, BuildError> {
        let header = self.settings.authorisation(url);
        let headers: Vec<(&str, &str)> =
            header.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = self.http.get(url, &headers)?;
        match answer.status().as_u16() {
            200 => read_body(url, answer.into_body(), PACKAGE_LIMIT),
            status => Err(BuildError::Status { url: url.to_owned(), status }),
        }
    }
}

fn tidy(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

impl Settings {
    /// Reads one `.npmrc`; what is already known wins.
    fn read(&mut self, text: &str, ctx: &Context) {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), expand(value.trim().trim_matches('"'), ctx));
            if key == "registry" {
                self.registry.get_or_insert(tidy(&value));
            } else if let (true, Some(scope)) = (key.starts_with('@'), key.strip_suffix(":registry")) {
                self.scopes.push((scope.to_owned(), tidy(&value)));
            } else if let Some(place) = key.strip_suffix(":_authToken") {
                self.tokens.push((place.trim_matches('/').to_owned(), format!("Bearer {value}")));
            } else if let Some(place) = key.strip_suffix(":_auth") {
                self.tokens.push((place.trim_matches('/').to_owned(), format!("Basic {value}")));
            }
        }
    }

    /// The lock's own address, with npm's public registry replaced by the configured one.
    fn address(&self, package: &Package) -> Result<String, BuildError> {
        let scope = package.name.split_once('/').map(|(scope, _)| scope);
        let scoped =
            self.scopes.iter().find(|(name, _)| Some(name.as_str()) == scope).map(|(_, url)| url.as_str());
        let registry = scoped.or(self.registry.as_deref()).unwrap_or(DEFAULT_REGISTRY);
        let plain = package.name.rsplit('/').next().unwrap_or(&package.name);
        match &package.resolved {
            None => Ok(format!("{registry}/{}/-/{plain}-{}.tgz", package.name, package.version)),
            Some(url) if url.starts_with(DEFAULT_REGISTRY) => Ok(url.replacen(DEFAULT_REGISTRY, registry, 1)),
            Some(url) if url.starts_with("https://") || url.starts_with("http://") => Ok(url.clone()),
            Some(other) => Err(BuildError::input_hint(
                format!(
                    "package-lock.json takes {} from `{other}`, which is not supported yet",
                    package.name
                ),
                "use a version from a registry",
            )),
        }
    }

    fn authorisation(&self, url: &str) -> Option<String> {
        let place = url.split_once("://")?.1;
        let covers = |prefix: &str| place.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        self.tokens.iter().find(|(prefix, _)| covers(prefix)).map(|(_, value)| value.clone())
    }
}

/// `${NAME}` of the environment, as npm does it.
fn expand(value: &str, ctx: &Context) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(ctx.variable(name).unwrap_or(""));
        rest = tail;
    }
    out + rest
}

/// The strongest digest the lock gives.
fn integrity(package: &Package) -> Result<(&'static str, Vec<u8>), BuildError> {
    let text = package.integrity.as_deref().unwrap_or("");
    for algorithm in ["sha512", "sha384", "sha256"] {
        let value = text.split_whitespace().find_map(|part| part.strip_prefix(algorithm)?.strip_prefix('-'));
        let value = value.map(|value| value.split('?').next().unwrap_or(value));
        let bytes = value.and_then(|value| base64::engine::general_purpose::STANDARD.decode(value).ok());
        if let Some(bytes) = bytes {
            return Ok((algorithm, bytes));
        }
    }
    Err(BuildError::input_hint(
        format!("package-lock.json has no usable integrity for {}", package.name),
        "make it anew with npm 7 or later: remove node_modules and package-lock.json, then `npm install`",
    ))
}

fn verify(url: &str, algorithm: &str, expected: &[u8], bytes: &[u8]) -> Result<(), BuildError> {
    let found = match algorithm {
        "sha512" => sha2::Sha512::digest(bytes).to_vec(),
        "sha384" => sha2::Sha384::digest(bytes).to_vec(),
        _ => sha2::Sha256::digest(bytes).to_vec(),
    };
    if found == expected {
        return Ok(());
    }
    Err(BuildError::Digest {
        what: url.to_owned(),
        expected: hexadecimal(expected),
        found: hexadecimal(&found),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    crate::download::hex(bytes)
}

/// Unpacks a package without its first directory; links and odd paths are refused.
fn unpack(url: &str, bytes: &[u8], into: &Path) -> Result<(), BuildError> {
    let bad = |reason: &dyn std::fmt::Display| BuildError::malformed(url, reason.to_string());
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes).take(UNPACKED_LIMIT));
    for (count, entry) in archive.entries().map_err(|error| bad(&error))?.enumerate() {
        if count >= FILE_LIMIT {
            return Err(bad(&format!("it holds more than {FILE_LIMIT} files")));
        }
        let mut entry = entry.map_err(|error| bad(&error))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| bad(&error))?.into_owned();
        let inner: PathBuf = path.components().skip(1).collect();
        let plain = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || inner.as_os_str().is_empty() {
            return Err(bad(&format!("{} leads out of it", path.display())));
        }
        let target = into.join(inner);
        durable::create_directories(target.parent().unwrap_or(into))?;
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        let mut file =
            File::create(&target).map_err(BuildError::io(format!("write {}", target.display())))?;
        std::io::copy(&mut entry, &mut file).map_err(|error| bad(&error))?;
        if executable {
            fs::set_permissions(&target, Permissions::from_mode(0o755))
                .map_err(BuildError::io(format!("write {}", target.display())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::node::lock::Lock;
    use crate::kinds::runner::NoRunner;
    use crate::kinds::settings::Machine;
    use crate::kinds::testing::Fixture;

    fn package(fields: &str) -> Package {
        let text = format!(
            r#"{{"lockfileVersion": 3, "packages": {{"node_modules/@s/a": {{"version": "1.0.0", {fields}}}}}}}"#
        );
        Lock::parse(&text, "lock").unwrap().production(Machine::X86_64).remove(0)
    }

    #[test]
    fn npm_settings_choose_the_registry_and_its_token() {
        let fixture = Fixture::new().variable("TOKEN", "secret");
        let ctx = fixture.context(&NoRunner);
        let mut settings = Settings::default();
        settings.read("registry=https://r.example/npm/\n@s:registry=https://s.example/\n//s.example/:_authToken=${TOKEN}\n", &ctx);
        let from_lock = package(r#""resolved": "https://registry.npmjs.org/@s/a/-/a-1.0.0.tgz""#);
        assert_eq!(settings.address(&from_lock).unwrap(), "https://s.example/@s/a/-/a-1.0.0.tgz");
        assert_eq!(settings.authorisation("https://s.example/@s/a").as_deref(), Some("Bearer secret"));
        assert_eq!(settings.authorisation("https://s.example.evil/@s/a"), None);
        settings.scopes.clear();
        assert_eq!(
            settings.address(&package(r#""x": 1"#)).unwrap(),
            "https://r.example/npm/@s/a/-/a-1.0.0.tgz"
        );
        assert!(settings.address(&package(r#""resolved": "git+ssh://x/y""#)).is_err());
    }

    #[test]
    fn wrong_bytes_and_missing_digests_are_refused() {
        assert!(integrity(&package(r#""x": 1"#)).is_err());
        assert!(integrity(&package(r#""integrity": "sha1-AAAA""#)).is_err());
        let (algorithm, expected) = integrity(&package(
            r#""integrity": "sha1-AAAA sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=""#,
        ))
        .unwrap();
        assert!(verify("u", algorithm, &expected, b"").is_ok());
        assert!(verify("u", algorithm, &expected, b"x").unwrap_err().to_string().contains("has digest"));
    }

    #[test]
    fn an_archive_cannot_write_outside_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder =
            tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..14].copy_from_slice(b"package/../../");
        header.as_gnu_mut().unwrap().name[14..18].copy_from_slice(b"evil");
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        let error = unpack("u", &bytes, dir.path()).unwrap_err().to_string();
        assert!(error.contains("leads out of it"), "{error}");
    }
}
