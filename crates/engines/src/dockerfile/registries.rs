//! Where bases come from when a Dockerfile names them as Docker takes them: short names mean Docker
//! Hub, and registries on this machine speak HTTP. Both are said to the tool in a file of its own.

use std::collections::BTreeSet;
use std::fs;

const SYSTEM: &str = "/etc/containers/registries.conf";

/// The text of that file; `None` where the system's own says everything already.
pub fn needed(dockerfile: &str) -> Option<String> {
    compose(&fs::read_to_string(SYSTEM).unwrap_or_default(), &local(dockerfile))
}

fn compose(system: &str, local: &BTreeSet<String>) -> Option<String> {
    let has_search =
        system.lines().any(|line| line.trim_start().starts_with("unqualified-search-registries"));
    let missing: Vec<_> = local.iter().filter(|name| !system.contains(name.as_str())).collect();
    if has_search && missing.is_empty() {
        return None;
    }
    // Keys of the top come before the first table.
    let search = if has_search { "" } else { "unqualified-search-registries = [\"docker.io\"]\n" };
    let tables =
        missing.iter().map(|name| format!("\n[[registry]]\nlocation = \"{name}\"\ninsecure = true\n"));
    Some(format!("{search}{system}\n{}", tables.collect::<String>()))
}

/// Registries on loopback that a `FROM` or `COPY --from` names, as `HOST:PORT`.
fn local(dockerfile: &str) -> BTreeSet<String> {
    let words = dockerfile.split_whitespace().map(|word| word.strip_prefix("--from=").unwrap_or(word));
    let hosts = words.filter_map(|word| Some(word.split_once('/')?.0));
    let is_local = |host: &&str| {
        let name = host.split_once(':').map_or("", |(name, port)| match port.parse::<u16>() {
            Ok(_) => name,
            Err(_) => "",
        });
        name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    };
    hosts.filter(is_local).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_registries_of_this_machine_are_added_where_they_are_missing() {
        let file =
            "FROM 127.0.0.1:5000/base:1 AS a\nCOPY --from=localhost:81/x /a /b\nFROM debian:12\nRUN cat a/b";
        let local = local(file);
        assert_eq!(local.iter().map(String::as_str).collect::<Vec<_>>(), ["127.0.0.1:5000", "localhost:81"]);
        let text = compose("# nothing\n", &local).expect("needed");
        assert!(text.starts_with("unqualified-search-registries = [\"docker.io\"]\n# nothing"), "{text}");
        assert!(text.contains("location = \"127.0.0.1:5000\"\ninsecure = true"), "{text}");
        let stated = "unqualified-search-registries = [\"example.org\"]\n";
        assert_eq!(compose(stated, &BTreeSet::new()), None);
        assert!(!compose(stated, &local).expect("needed").contains("docker.io"));
    }
}
