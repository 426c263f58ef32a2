//! Dockerfiles by a daemon that speaks Docker's API, Docker's own or Podman's. The image is fetched
//! from it and taken away there; what the API cannot be told is refused beforehand.

mod client;
mod context;
mod said;

use super::arguments::{Place, epoch};
use super::{Request, saved};
use build::{BuildError, Job};
use client::{ApiError, Client};
use hyper::Method;
use model::{ErrorKind, Report};
use said::Listener;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A version that Docker since 20.10 and Podman since 4 speak.
const VERSION: &str = "/v1.41";
/// Names of images under way begin with it; the number of the process follows.
const PREFIX: &str = "juchu-build-";
const CPU_PERIOD_US: u64 = 100_000;

/// A socket at which the API is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub path: PathBuf,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "RepoDigests")]
    digests: Option<Vec<String>>,
}

/// Whether somebody answers at `socket` within a few seconds.
pub fn answers(socket: &Path) -> bool {
    const LIMIT: Duration = Duration::from_secs(3);
    let client = Client::new(socket);
    let work = async {
        let asked = client.bytes(Method::GET, "/_ping");
        tokio::time::timeout(LIMIT, asked).await.is_ok_and(|answer| answer.is_ok())
    };
    client::run(work, &|| false).ok().flatten().unwrap_or(false)
}

/// Builds the image and writes it to `place.out` as a layout.
pub fn build(socket: &Socket, request: &Request<'_>, place: &Place, job: &Job<'_>) -> Result<(), Report> {
    refuse_what_it_cannot(request)?;
    let ignore = super::inputs::ignore_file_of(request.spec);
    let context = context::pack(place, ignore.as_deref(), job.cancel).map_err(|error| error.report())?;
    let name = format!("{PREFIX}{}", std::process::id());
    let target = target(request, &name)?;
    let limit = Duration::from_millis(request.spec.limits.timeout().0);
    let headers = [("content-type", "application/x-tar".to_owned())];
    let client = Client::new(&socket.path);
    let saved = place.scratch.join("image.tar");
    let mut listener = Listener::new(job);
    let cancelled = || job.cancel.load(Ordering::Relaxed);
    let work = async {
        forget_ended(&client).await;
        let built = client.build(&target, context, &headers, limit, &mut |line| listener.hear(line)).await;
        match built {
            // What is wrong with the Dockerfile as a whole is said before any step.
            Err(ApiError::Refused { message, .. }) => listener.refuse(message),
            other => other.map_err(|error| report(&error))?,
        }
        listener.verdict(place, job)?;
        let fetch = format!("{VERSION}/images/{name}/get");
        client.save(&fetch, &saved).await.map_err(|error| report(&error))
    };
    let done = client::run(work, &cancelled).map_err(own)?;
    // Also after a failure: what is left there is of no use to anybody.
    client::run(remove(&client, &name, &listener.made), &|| false).map_err(own)?;
    done.unwrap_or_else(|| Err(BuildError::Cancelled.report()))?;
    saved::unpack(&saved, &place.out).map_err(|error| error.report())
}

fn own(error: io::Error) -> Report {
    BuildError::io("start the client of the builder")(error).report()
}

fn report(error: &ApiError) -> Report {
    let report = Report::from_error(ErrorKind::Build, error);
    match error {
        ApiError::Connect { .. } => {
            report.hint("start it again, or install a builder: apt install buildah runc")
        }
        ApiError::Late { .. } | ApiError::Broken { .. } => {
            report.hint("look at the log of the daemon behind the socket; `juchu doctor` names the socket")
        }
        _ => report,
    }
}

/// What only a program on the command line, or a session of BuildKit, can be given.
fn refuse_what_it_cannot(request: &Request<'_>) -> Result<(), Report> {
    let spec = request.spec;
    let wanted = [
        (!request.secrets.is_empty(), "secrets"),
        (!spec.ssh.is_empty(), "ssh"),
        (!spec.additional_contexts.is_empty(), "additional_contexts"),
    ];
    match wanted.iter().find(|(is_wanted, _)| *is_wanted) {
        None => Ok(()),
        Some((_, key)) => Err(Report::usage(format!(
            "`build.{key}` cannot be given to a builder behind Docker's API"
        ))
        .hint("apt install buildah runc")
        .hint(
            "or install BuildKit (`buildctl` and a `buildkitd` that runs); `juchu doctor` says which is used",
        )),
    }
}

/// The request with everything that is declared.
fn target(request: &Request<'_>, name: &str) -> Result<String, Report> {
    let (spec, limits) = (request.spec, &request.spec.limits);
    let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).expect("texts are always JSON");
    let mut query = vec![
        ("dockerfile", context::DOCKERFILE.to_owned()),
        ("t", name.to_owned()),
        ("nocache", "true".to_owned()),
        ("pull", "true".to_owned()),
        ("rm", "true".to_owned()),
        ("forcerm", "true".to_owned()),
        // These two are Podman's: one layer over the base, and one time for all files.
        ("layers", "false".to_owned()),
        ("timestamp", epoch(request)?.to_string()),
        ("networkmode", if limits.network.unwrap_or(true) { "host" } else { "none" }.to_owned()),
        ("buildargs", json(&spec.args)),
        ("labels", json(&spec.labels)),
    ];
    query.extend(spec.target.as_ref().map(|target| ("target", target.clone())));
    let platform = spec.platform.as_deref().or(request.platform);
    query.extend(platform.map(|platform| ("platform", platform.to_owned())));
    query.extend(limits.memory.map(|memory| ("memory", memory.0.to_string())));
    query.extend(limits.weight.map(|weight| ("cpushares", weight.to_string())));
    if let Some(cpus) = limits.cpus {
        query.push(("cpuperiod", CPU_PERIOD_US.to_string()));
        query.push(("cpuquota", (u64::from(cpus.0) * CPU_PERIOD_US / 1000).to_string()));
    }
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(query);
    Ok(format!("{VERSION}/build?{}", encoded.finish()))
}

/// Takes the image away, and what earlier stages left without a name.
async fn remove(client: &Client, name: &str, made: &[String]) {
    // A build that failed has no image; whoever has stopped meanwhile keeps what there is.
    let _ = client.bytes(Method::DELETE, &format!("{VERSION}/images/{name}?force=true")).await;
    for id in made.iter().rev() {
        let about: Result<Details, _> = client.ask(Method::GET, &format!("{VERSION}/images/{id}/json")).await;
        let is_named = |names: &Option<Vec<String>>| names.as_ref().is_some_and(|names| !names.is_empty());
        match about {
            Ok(about) if !is_named(&about.tags) && !is_named(&about.digests) => {
                let _ = client.bytes(Method::DELETE, &format!("{VERSION}/images/{id}")).await;
            }
            _ => {}
        }
    }
}

/// Takes away what builds left that were killed.
async fn forget_ended(client: &Client) {
    let Ok(images) = client.ask::<Vec<Summary>>(Method::GET, &format!("{VERSION}/images/json")).await else {
        return;
    };
    for tag in images.into_iter().flat_map(|image| image.tags.unwrap_or_default()) {
        if process_of(&tag).is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let name = tag.rsplit('/').next().unwrap_or_default();
            let _ = client.bytes(Method::DELETE, &format!("{VERSION}/images/{name}?force=true")).await;
        }
    }
}

/// `juchu-build-17:latest`, also with `localhost/` before it.
fn process_of(tag: &str) -> Option<u32> {
    tag.rsplit('/').next()?.strip_prefix(PREFIX)?.split(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
