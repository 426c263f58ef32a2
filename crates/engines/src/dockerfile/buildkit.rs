//! The command line of BuildKit's client. The daemon behind it keeps the containers, so the limits
//! of a build do not reach them; the image comes back as one archive.

use super::Request;
use super::arguments::{Line, Place, epoch, key};
use model::{ErrorKind, Report};
use std::path::Path;

/// The archive that the client writes.
pub const ARCHIVE: &str = "image.tar";

pub fn build(request: &Request<'_>, place: &Place) -> Result<Line, Report> {
    let spec = request.spec;
    let mut line = Line { arguments: Vec::new(), variables: Vec::new() };
    line.add(["build", "--progress=plain", "--frontend=dockerfile.v0", "--no-cache"]);
    line.option("--local", format!("context={}", place.context.display()));
    // A directory, in which the file has a name that nobody else's ignore file is for.
    let directory = place.file.parent().unwrap_or(Path::new("."));
    line.option("--local", format!("dockerfile={}", directory.display()));
    let mut opt = |name: &str, value: &str| line.option("--opt", format!("{name}={value}"));
    opt("filename", &place.file.file_name().unwrap_or_default().to_string_lossy());
    opt("image-resolve-mode", "pull");
    if let Some(target) = &spec.target {
        opt("target", target);
    }
    if let Some(platform) = spec.platform.as_deref().or(request.platform) {
        opt("platform", platform);
    }
    for (name, value) in &spec.args {
        opt(&format!("build-arg:{name}"), value);
    }
    for (name, value) in &spec.labels {
        opt(&format!("label:{name}"), value);
    }
    let epoch = epoch(request)?;
    opt("build-arg:SOURCE_DATE_EPOCH", &epoch.to_string());
    if spec.limits.network == Some(false) {
        opt("force-network-mode", "none");
    }
    for (number, (name, from)) in spec.additional_contexts.iter().enumerate() {
        match Path::new(from).is_dir() {
            true => {
                line.option("--opt", format!("context:{name}=local:more{number}"));
                line.option("--local", format!("more{number}={from}"));
            }
            false if from.contains("://") => line.option("--opt", format!("context:{name}={from}")),
            false => {
                return Err(Report::new(
                    ErrorKind::Build,
                    format!("the further context {from} is not there"),
                )
                .hint("check `build.additional_contexts`"));
            }
        }
    }
    for (id, path) in &request.secrets {
        line.option("--secret", format!("id={id},src={}", path.display()));
    }
    for (id, path) in &spec.ssh {
        line.option("--ssh", key(id, path, request)?);
    }
    let archive = place.scratch.join(ARCHIVE);
    line.option("--output", format!("type=oci,rewrite-timestamp=true,dest={}", archive.display()));
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::run_root::RunRoot;
    use model::image::BuildSpec;
    use std::collections::BTreeMap;

    fn line(spec: &BuildSpec) -> Result<String, Report> {
        let scratch = tempfile::tempdir().expect("a directory");
        let environment = BTreeMap::from([("SOURCE_DATE_EPOCH".to_owned(), "7".to_owned())]);
        let request = Request {
            spec,
            platform: None,
            scratch: scratch.path(),
            secrets: vec![("tok", Path::new("/run/tok"))],
            group: None,
            environment: &environment,
        };
        let place = Place {
            scratch: "/scratch".into(),
            run: RunRoot::new(scratch.path()).expect("it can be made"),
            context: "/srv/app".into(),
            file: "/srv/other/Web.Dockerfile".into(),
            shown: String::new(),
            text: String::new(),
            registries: None,
            out: "/scratch/out".into(),
        };
        Ok(build(&request, &place)?.arguments.join(" "))
    }

    #[test]
    fn everything_that_is_declared_is_on_the_line() {
        let more = tempfile::tempdir().expect("a directory");
        let more = more.path().display().to_string();
        let mut spec = BuildSpec { target: Some("prod".into()), ..BuildSpec::default() };
        spec.args.insert("A".into(), "b c".into());
        spec.labels.insert("l".into(), "m".into());
        spec.platform = Some("linux/amd64".into());
        spec.limits.network = Some(false);
        spec.ssh.insert("k".into(), "/key".into());
        spec.additional_contexts.insert("dir".into(), more.clone());
        spec.additional_contexts.insert("image".into(), "docker-image://debian:13".into());
        let text = line(&spec).expect("a line");
        for expected in [
            "build --progress=plain --frontend=dockerfile.v0 --no-cache --local context=/srv/app \
             --local dockerfile=/srv/other --opt filename=Web.Dockerfile --opt image-resolve-mode=pull",
            "--opt target=prod",
            "--opt platform=linux/amd64",
            "--opt build-arg:A=b c",
            "--opt label:l=m",
            "--opt build-arg:SOURCE_DATE_EPOCH=7",
            "--opt force-network-mode=none",
            &format!("--opt context:dir=local:more0 --local more0={more}"),
            "--opt context:image=docker-image://debian:13",
            "--secret id=tok,src=/run/tok --ssh k=/key",
            "--output type=oci,rewrite-timestamp=true,dest=/scratch/image.tar",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        spec.additional_contexts.insert("gone".into(), "/no/such/place".into());
        assert!(line(&spec).expect_err("refused").error.contains("/no/such/place"));
    }
}
