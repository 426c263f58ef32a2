//! Where the image comes from: `x-juchu.component` before `build` and `x-juchu.image` before `image`.

use super::{build_extras, text, texts_of};
use crate::diagnostics::{Pos, Sink};
use crate::paths::is_remote;
use crate::tree::Node;
use model::ServiceName;
use model::image::{BuildSpec, Builder, ImageSource, NativeImage, PullPolicy};
use std::path::{Path, PathBuf};

pub(super) fn image(
    node: &Node,
    name: &ServiceName,
    key: Pos,
    root: &Node,
    directory: &Path,
    sink: &mut Sink,
) -> Option<ImageSource> {
    let policy = node.get("x-juchu");
    if let Some(component) = policy.and_then(|policy| text(policy, "component")) {
        let options = policy.and_then(|policy| policy.get("options"));
        let options = options.map_or(serde_json::Value::Null, Node::to_json);
        return Some(ImageSource::Component { name: component, options });
    }
    let stated = policy.and_then(|policy| policy.get("image"));
    if let Some(options) = policy.and_then(|policy| policy.get("options")) {
        sink.warning(options.pos, format!("`x-juchu.options` of `{name}` has no effect without `component`"));
    }
    if node.get("build").is_some() || stated.is_some() {
        return build(node, stated, root, directory, sink).map(|spec| ImageSource::Build(spec.into()));
    }
    let pull = pull_policy(node, key, sink);
    let reference = text(node, "image")?;
    if reference.trim().is_empty() {
        let pos = node.get("image").map(|node| node.pos);
        sink.error_hint(
            pos,
            format!("the image of `{name}` is an empty text"),
            "name an image, such as `debian:12`",
        );
        return None;
    }
    Some(ImageSource::Pull { reference, policy: pull })
}

fn build(
    node: &Node,
    stated: Option<&Node>,
    root: &Node,
    directory: &Path,
    sink: &mut Sink,
) -> Option<BuildSpec> {
    let build = node.get("build");
    let policy = node.get("x-juchu");
    let context = build.and_then(|build| build.get("context"));
    if let Some(context) = context
        && let Some(address) = context.as_text().filter(|text| is_remote(text))
    {
        let message = format!("a build context is a directory, `{address}` is somewhere else");
        sink.error_hint(context.pos, message, "fetch it into a directory and name that");
        return None;
    }
    let image = match stated {
        Some(stated) => native_image(stated, sink)?,
        None => NativeImage::default(),
    };
    let builder = match policy.and_then(|policy| text(policy, "builder")).as_deref() {
        Some("native") => Builder::Native,
        Some("dockerfile") => Builder::Dockerfile,
        _ => Builder::Auto,
    };
    let of_build = |key: &str| build.and_then(|build| text(build, key));
    Some(BuildSpec {
        // `build` without a context means the directory of the project.
        context: context.and_then(Node::as_text).or(build.and(directory.to_str())).map(PathBuf::from),
        builder,
        dockerfile: of_build("dockerfile").map(PathBuf::from),
        dockerfile_inline: of_build("dockerfile_inline"),
        target: of_build("target"),
        args: texts_of(build.and_then(|build| build.get("args"))),
        labels: texts_of(build.and_then(|build| build.get("labels"))),
        image,
        limits: build_extras::limits(node, sink),
        tools: build_extras::tools(node),
        secrets: build_extras::secrets(build, root, sink),
        additional_contexts: build_extras::contexts(build, sink),
        ssh: build_extras::keys(build),
        platform: build_extras::platform(build, sink),
    })
}

fn native_image(stated: &Node, sink: &mut Sink) -> Option<NativeImage> {
    match serde_json::from_value(stated.to_json()) {
        Ok(image) => Some(image),
        Err(error) => {
            // What the schema refuses is reported there, key by key.
            if sink.is_clean() {
                sink.error(stated.pos, format!("`x-juchu.image`: {error}"));
            }
            None
        }
    }
}

fn pull_policy(node: &Node, key: Pos, sink: &mut Sink) -> PullPolicy {
    let Some(found) = node.get("pull_policy") else { return PullPolicy::Missing };
    match found.as_text().unwrap_or_default() {
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "missing" | "if_not_present" => PullPolicy::Missing,
        "build" => {
            sink.warning(found.pos, "`pull_policy: build` has no effect without `build`");
            PullPolicy::Missing
        }
        "daily" | "weekly" => refreshed(found, sink),
        other if other.starts_with("every_") => refreshed(found, sink),
        other => {
            let at = if found.pos.line == 0 { key } else { found.pos };
            let hint = "use always, missing, never or build";
            sink.error_hint(at, format!("`pull_policy` cannot be `{other}`"), hint);
            PullPolicy::Missing
        }
    }
}

fn refreshed(found: &Node, sink: &mut Sink) -> PullPolicy {
    let text = found.as_text().unwrap_or_default();
    let why = "the image is pulled when it is missing; use `always` to look at every deploy";
    sink.no_effect(found.pos, &format!("pull_policy: {text}"), why);
    PullPolicy::Missing
}
