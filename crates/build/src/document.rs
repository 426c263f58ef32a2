//! The JSON documents of an OCI image, as far as they are read and written here.

use crate::error::BuildError;
use model::Digest;
use model::image::ImageConfig;
use model::service::{HealthTest, Healthcheck};
use model::{DurationMs, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Of a document that stands beside an image and has no configuration (OCI image 1.1).
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Holds a health check that the image format has no words for.
const HEALTH_LABEL: &str = "dev.juchu.healthcheck";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of a document that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Of a document that is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    /// The image that such a document belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub config: Runtime,
    pub rootfs: RootFs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    pub diff_ids: Vec<Digest>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    pub created: String,
    pub created_by: String,
    /// A step that changed no file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Docker writes `null` for what is not there, so every part may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Runtime {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volumes: Option<BTreeMap<String, Empty>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<Health>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Docker's addition to the format; times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_period: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_interval: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
}

pub fn read<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, BuildError> {
    serde_json::from_slice(bytes).map_err(|error| BuildError::malformed(what, error))
}

pub fn write(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have no maps with other keys than strings")
}

/// `2026-09-12T07:55:41Z`.
pub fn date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn some<T: Default + PartialEq + Clone>(value: &T) -> Option<T> {
    (*value != T::default()).then(|| value.clone())
}

impl From<&ImageConfig> for Runtime {
    fn from(image: &ImageConfig) -> Self {
        let mut labels = image.labels.clone();
        let mut healthcheck = None;
        if let Some(check) = &image.healthcheck {
            match command_of(&check.test) {
                Some(test) => healthcheck = Some(Health::of(check, test)),
                None => {
                    let text = String::from_utf8(write(check)).expect("JSON is UTF-8");
                    labels.insert(HEALTH_LABEL.to_owned(), text);
                }
            }
        }
        let ports = image.ports.iter().map(|(port, protocol)| (format!("{port}/{protocol}"), Empty {}));
        let volumes = image.volumes.iter().map(|path| (path.clone(), Empty {}));
        Self {
            user: some(&image.user),
            exposed_ports: some(&ports.collect()),
            env: some(&image.environment.iter().map(|(k, v)| format!("{k}={v}")).collect()),
            entrypoint: some(&image.entrypoint),
            cmd: some(&image.command),
            volumes: some(&volumes.collect()),
            working_dir: some(&image.working_dir),
            labels: some(&labels),
            stop_signal: image.stop_signal.clone(),
            healthcheck,
        }
    }
}

impl From<Runtime> for ImageConfig {
    fn from(runtime: Runtime) -> Self {
        let mut labels = runtime.labels.unwrap_or_default();
        let own = labels.remove(HEALTH_LABEL).and_then(|text| serde_json::from_str(&text).ok());
        let variable = |text: String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        Self {
            entrypoint: runtime.entrypoint.unwrap_or_default(),
            command: runtime.cmd.unwrap_or_default(),
            environment: runtime.env.unwrap_or_default().into_iter().map(variable).collect(),
            user: runtime.user.unwrap_or_default(),
            working_dir: runtime.working_dir.unwrap_or_default(),
            ports: runtime.exposed_ports.unwrap_or_default().keys().filter_map(|text| port(text)).collect(),
            volumes: runtime.volumes.unwrap_or_default().into_keys().collect(),
            stop_signal: runtime.stop_signal,
            labels,
            healthcheck: own.or_else(|| runtime.healthcheck.and_then(Health::read)),
        }
    }
}

fn port(text: &str) -> Option<(u16, String)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((number.parse().ok()?, protocol.to_owned()))
}

/// Docker's form of a test; `None` for one it does not have.
fn command_of(test: &HealthTest) -> Option<Vec<String>> {
    let words = |first: &str, rest: &[String]| {
        let mut words = vec![first.to_owned()];
        words.extend_from_slice(rest);
        words
    };
    match test {
        HealthTest::None => Some(words("NONE", &[])),
        HealthTest::Exec { argv } => Some(words("CMD", argv)),
        HealthTest::Shell { script } => Some(words("CMD-SHELL", std::slice::from_ref(script))),
        HealthTest::Http { .. } | HealthTest::Tcp { .. } => None,
    }
}

impl Health {
    fn of(check: &Healthcheck, test: Vec<String>) -> Self {
        let nanoseconds = |d: DurationMs| i64::try_from(d.0.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        Self {
            test: Some(test),
            interval: check.interval.map(nanoseconds),
            timeout: check.timeout.map(nanoseconds),
            start_period: check.start_period.map(nanoseconds),
            start_interval: check.start_interval.map(nanoseconds),
            retries: check.retries,
        }
    }

    fn read(self) -> Option<Healthcheck> {
        let words = self.test?;
        let (first, rest) = words.split_first()?;
        let test = match first.as_str() {
            "NONE" => HealthTest::None,
            "CMD" => HealthTest::Exec { argv: rest.to_vec() },
            "CMD-SHELL" => HealthTest::Shell { script: rest.join(" ") },
            _ => return None,
        };
        // Zero means "not stated" in this format.
        let time = |n: Option<i64>| {
            n.and_then(|n| u64::try_from(n).ok())
                .filter(|n| *n > 0)
                .map(|n| DurationMs(n.div_ceil(1_000_000)))
        };
        Some(Healthcheck {
            test,
            interval: time(self.interval),
            timeout: time(self.timeout),
            retries: self.retries.filter(|n| *n > 0),
            start_period: time(self.start_period),
            start_interval: time(self.start_interval),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(test: HealthTest) -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/bin/a".to_owned()],
            command: vec!["b".to_owned()],
            environment: [("A".to_owned(), "1=2".to_owned())].into(),
            user: "app".to_owned(),
            working_dir: "/app".to_owned(),
            ports: vec![(53, "udp".to_owned()), (80, "tcp".to_owned())],
            volumes: vec!["/data".to_owned()],
            stop_signal: Some("SIGINT".to_owned()),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            healthcheck: Some(Healthcheck {
                test,
                interval: Some(DurationMs(1500)),
                timeout: None,
                retries: Some(2),
                start_period: Some(DurationMs(5)),
                start_interval: None,
            }),
        }
    }

    #[test]
    fn a_configuration_comes_back_as_it_was() {
        for test in [
            HealthTest::Exec { argv: vec!["true".to_owned()] },
            HealthTest::Shell { script: "exit 0".to_owned() },
            HealthTest::Http { port: 80, path: "/".to_owned() },
            HealthTest::None,
        ] {
            let config = full(test);
            let text = write(&Runtime::from(&config));
            let back: ImageConfig = read::<Runtime>("x", &text).unwrap().into();
            assert_eq!(back, config);
        }
    }

    #[test]
    fn nulls_are_absent() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["x"],"Volumes":null,"Healthcheck":{"Test":null}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config: Config = read("x", text).unwrap();
        assert_eq!(ImageConfig::from(config.config).command, ["x"]);
    }
}
