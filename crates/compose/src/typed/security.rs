//! `security_opt`: what can be done, what is done anyway, and the profile that a file holds.

use crate::diagnostics::Sink;
use crate::tree::Node;
use crate::unit::Loader;
use model::Service;
use std::path::Path;

#[derive(Default)]
pub(super) struct Security {
    pub no_new_privileges: bool,
    pub seccomp_unconfined: bool,
}

pub(super) fn options(node: &Node, sink: &mut Sink) -> Security {
    let mut security = Security::default();
    for item in node.get("security_opt").map(Node::items).unwrap_or_default() {
        let text = item.as_text().unwrap_or_default();
        match split(text) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp_unconfined = true,
            // Without a profile and without labels nobody confines by them.
            ("seccomp", _) | ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor", _) => no_effect(item, text, "no profile of AppArmor is put in force", sink),
            ("label", _) => no_effect(item, text, "no labels of SELinux are set", sink),
            _ => no_effect(item, text, "no such option is known here", sink),
        }
    }
    security
}

fn no_effect(item: &Node, text: &str, why: &str, sink: &mut Sink) {
    sink.no_effect(item.pos, &format!("security_opt: {text}"), why);
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(['=', ':']).unwrap_or((text, ""))
}

/// Reads the file of `seccomp=FILE`, which is part of what is declared: with another content, another
/// instance is wanted.
pub(super) fn read_profile(service: &mut Service, node: &Node, directory: &Path, loader: &mut Loader<'_>) {
    let items = node.get("security_opt").map(Node::items).unwrap_or_default();
    let named = items.iter().filter_map(|item| match split(item.as_text()?) {
        ("seccomp", file) if !matches!(file, "unconfined" | "builtin" | "") => Some((item, file)),
        _ => None,
    });
    for (item, file) in named {
        let path = directory.join(file);
        let shown = loader.sink.show(&path);
        let content = loader.files.read(&path).map_err(|error| error.to_string());
        let read = content.and_then(|content| {
            let text = String::from_utf8(content).map_err(|error| error.to_string())?;
            let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            match json.get("defaultAction").and_then(serde_json::Value::as_str) {
                Some(_) => Ok(json.to_string()),
                None => Err("it has no `defaultAction`".to_owned()),
            }
        });
        match read {
            Ok(profile) => service.process.seccomp_profile = Some(profile),
            Err(reason) => {
                let message = format!("the seccomp profile {shown} cannot be used: {reason}");
                let hint = "name a file in the form of Docker's profiles, relative to the project directory";
                loader.sink.error_hint(item.pos, message, hint);
            }
        }
    }
}
