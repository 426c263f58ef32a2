//! A site of files, served by Debian's nginx on port 8080 as an unprivileged user.
//!
//! Files of a reproducible image have no useful times, so nginx's own validators (time and size)
//! would call changed pages unchanged. Each file gets an entity tag from its content instead.

use super::detect::site_directory;
use super::draft::{APP_DIRECTORY, Draft, file_with};
use super::settings::Project;
use super::tree::{Tree, TreeKind, file_digest};
use crate::BuildError;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub const PORT: u16 = 8080;
const CONFIGURATION: &str = "/etc/juchu/nginx.conf";
/// Sites with more files are served without entity tags, to keep nginx's table small.
const TAGGED_FILE_LIMIT: usize = 20_000;
/// Longer addresses get no entity tag; the table's buckets hold 1 KiB.
const TAGGED_PATH_LIMIT: usize = 900;

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let Some(directory) = site_directory(tree) else {
        return Err(BuildError::input_hint(
            format!("{} has no index.html", project.place()),
            "put one there or in public/, dist/, build/ or site/",
        ));
    };
    let mut draft = plan_from(tree, directory)?;
    if !directory.is_empty() {
        draft.note(format!("serving the directory {directory}/"));
    }
    Ok(draft)
}

/// The pages of one directory of a tree, which may be what a build has left.
pub fn plan_from(tree: &Tree, directory: &str) -> Result<Draft, BuildError> {
    let mut draft = Draft::default();
    draft.package("nginx");
    draft.exclude = vec!["iproute2".to_owned()];
    draft.add_tree(tree, directory, APP_DIRECTORY);
    let tags = entity_tags(tree, directory)?;
    let has_404 = tree.below(directory).any(|(path, _)| path == "404.html");
    draft.base_extra.push(file_with(CONFIGURATION, configuration(has_404), false));
    draft.app.push(file_with("/etc/juchu/entity-tags.map", tags, false));
    draft.command = ["/usr/sbin/nginx", "-e", "stderr", "-c", CONFIGURATION].map(str::to_owned).to_vec();
    draft.ports = vec![(PORT, "tcp".to_owned())];
    draft.stop_signal = Some("SIGQUIT".to_owned());
    Ok(draft)
}

/// One line for each address: `"/about.html" "\"0123…\"";`, also for the short forms `/about` and `/dir/`.
fn entity_tags(tree: &Tree, directory: &str) -> Result<String, BuildError> {
    let mut tags: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (path, file) in tree.below(directory) {
        if !matches!(file.kind, TreeKind::File { .. }) {
            continue;
        }
        if tags.len() > TAGGED_FILE_LIMIT {
            return Ok(String::new());
        }
        let digest = file_digest(&tree.root.join(&file.path))?;
        for address in addresses(path) {
            // nginx compares without case: two files that differ by case alone get no tag.
            tags.entry(address.to_lowercase())
                .and_modify(|tag| *tag = None)
                .or_insert(Some(digest.hex()[..24].to_owned()));
        }
    }
    let mut text = String::new();
    for (address, tag) in tags {
        if let Some(tag) = tag {
            let address = address.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(text, "\"{address}\" '\"{tag}\"';").expect("writing to a String cannot fail");
        }
    }
    Ok(text)
}

fn addresses(path: &str) -> Vec<String> {
    if path.len() > TAGGED_PATH_LIMIT || path.chars().any(char::is_control) {
        return Vec::new();
    }
    let mut all = vec![format!("/{path}")];
    if let Some(stem) = path.strip_suffix("index.html").filter(|stem| stem.is_empty() || stem.ends_with('/'))
    {
        all.push(format!("/{stem}"));
    } else if let Some(stem) = path.strip_suffix(".html") {
        all.push(format!("/{stem}"));
    }
    all
}

fn configuration(has_404: bool) -> String {
    let error_page = match has_404 {
        true => "    error_page 404 /404.html;\n    location = /404.html { internal; }\n",
        false => "",
    };
    TEMPLATE.replace("    # 404\n", error_page)
}

/// Everything it keeps goes to /dev/shm, so that it also runs with a read-only root.
const TEMPLATE: &str = r#"daemon off;
pid /dev/shm/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 1024; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  charset utf-8;
  access_log /dev/stdout;
  sendfile on;
  tcp_nopush on;
  server_tokens off;
  keepalive_timeout 75s;
  client_body_temp_path /dev/shm/nginx-body;
  proxy_temp_path /dev/shm/nginx-proxy;
  fastcgi_temp_path /dev/shm/nginx-fastcgi;
  uwsgi_temp_path /dev/shm/nginx-uwsgi;
  scgi_temp_path /dev/shm/nginx-scgi;
  gzip on;
  gzip_vary on;
  gzip_min_length 1024;
  gzip_types text/css text/plain text/javascript application/javascript application/json application/xml image/svg+xml;
  etag off;
  if_modified_since off;
  map_hash_max_size 65536;
  map_hash_bucket_size 1024;
  map $uri $entity_tag {
    default "";
    include /etc/juchu/entity-tags.map;
  }
  map $http_if_none_match $known_tag {
    default "-";
    "~^(?:W/)?(?<tag>\"[0-9a-f]+\")$" $tag;
  }
  server {
    listen 8080;
    listen [::]:8080;
    server_name _;
    root /app;
    index index.html;
    absolute_redirect off;
    add_header ETag $entity_tag;
    add_header Last-Modified "";
    add_header Cache-Control "no-cache";
    add_header X-Content-Type-Options nosniff;
    if ($known_tag = $entity_tag) { return 304; }
    # 404
    location / {
      if (-d $request_filename) { rewrite [^/]$ $uri/ permanent; }
      try_files $uri ${uri}index.html $uri.html =404;
    }
    location ~ /\.(?!well-known/) { return 404; }
  }
}
"#;

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{Fixture, content};

    #[test]
    fn a_site_is_served_on_8080_with_tags_from_its_content() {
        let fixture = Fixture::new()
            .file("index.html", "<h1>a</h1>")
            .file("about.html", "b")
            .file("docs/index.html", "c");
        let planned = fixture.plan().unwrap();
        assert_eq!(planned.plan.packages, ["nginx"]);
        assert_eq!(planned.plan.config.ports, [(8080, "tcp".to_owned())]);
        let tags = content(&planned.plan.app, "/etc/juchu/entity-tags.map");
        let addresses: Vec<_> = tags.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
        assert_eq!(addresses, ["/", "/about", "/about.html", "/docs/", "/docs/index.html", "/index.html"]);
        assert!(!content(&planned.plan.base_extra, "/etc/juchu/nginx.conf").contains("404.html"));
    }

    #[test]
    fn a_built_site_is_found_in_its_directory() {
        let fixture =
            Fixture::new().file("dist/index.html", "x").file("dist/404.html", "x").file("src/a.ts", "x");
        let planned = fixture.plan().unwrap();
        assert!(planned.plan.app.iter().any(|entry| entry.path == "/app/index.html"));
        assert!(!planned.plan.app.iter().any(|entry| entry.path.contains("a.ts")));
        assert!(content(&planned.plan.base_extra, "/etc/juchu/nginx.conf").contains("error_page 404"));
        assert_eq!(planned.notes, ["serving the directory dist/"]);
    }

    #[test]
    fn names_that_differ_by_case_alone_share_no_tag() {
        let fixture = Fixture::new().file("index.html", "x").file("a.css", "1").file("A.css", "2");
        let tags = content(&fixture.plan().unwrap().plan.app, "/etc/juchu/entity-tags.map");
        assert!(!tags.contains("a.css"), "{tags}");
    }
}
