//! What maintainer scripts would have made in a base layer and programs expect: accounts, name
//! service order, temporary directories, certificates in one file, and a few links.

use crate::deb::MERGED;
use crate::error::BuildError;
use crate::java_trust;
use crate::plan::User;
use crate::spool::Content;
use crate::tree::{Node, NodeKind, Tree};
use std::fmt::Write as _;
use std::sync::Arc;

/// Accounts that exist in every Debian system under these numbers and that programs name.
const ACCOUNTS: [(&str, u32, &str, &str); 7] = [
    ("root", 0, "/root", "/bin/sh"),
    ("daemon", 1, "/usr/sbin", "/usr/sbin/nologin"),
    ("bin", 2, "/bin", "/usr/sbin/nologin"),
    ("sys", 3, "/dev", "/usr/sbin/nologin"),
    ("mail", 8, "/var/mail", "/usr/sbin/nologin"),
    ("www-data", 33, "/var/www", "/usr/sbin/nologin"),
    ("nobody", 65534, "/nonexistent", "/usr/sbin/nologin"),
];
const GROUPS: [(&str, u32); 15] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("mail", 8),
    ("www-data", 33),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("staff", 50),
    ("users", 100),
    ("nogroup", 65534),
];
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
    protocols: files\nservices: files\nethers: files\nrpc: files\n";
const DIRECTORIES: [(&str, u32); 11] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];
/// Links that `update-alternatives` would have made, each to the first choice that is there.
/// `@` is the directory of this machine's libraries.
const ALTERNATIVES: [(&str, &[&str]); 7] = [
    ("usr/bin/awk", &["usr/bin/gawk", "usr/bin/mawk", "usr/bin/original-awk"]),
    ("usr/bin/which", &["usr/bin/which.debianutils", "usr/bin/which.gnu"]),
    ("usr/bin/cc", &["usr/bin/gcc"]),
    ("usr/bin/c++", &["usr/bin/g++"]),
    ("usr/bin/nc", &["usr/bin/nc.openbsd", "usr/bin/nc.traditional"]),
    ("@/libblas.so.3", &["@/openblas-pthread/libblas.so.3", "@/blas/libblas.so.3"]),
    ("@/liblapack.so.3", &["@/openblas-pthread/liblapack.so.3", "@/lapack/liblapack.so.3"]),
];
const CERTIFICATES: &str = "usr/share/ca-certificates/";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Completes the tree of a base layer once all packages are in it.
pub fn complete(tree: &mut Tree, users: &[User], suite: &str) -> Result<(), BuildError> {
    merge(tree);
    for (path, mode) in DIRECTORIES {
        tree.put(path, Node::directory(mode));
    }
    tree.put("var/run", Node::symlink("/run"));
    tree.put("var/lock", Node::symlink("/run/lock"));
    tree.put("run/lock", Node::directory(0o1777));
    tree.put_missing("etc/nsswitch.conf", Node::text(NSSWITCH));
    accounts(tree, users);
    release(tree, suite);
    alternatives(tree);
    let bundle = certificates(tree)?;
    java_trust::complete(tree, &bundle)
}

/// Accounts and temporary directories for an image without a base layer.
pub fn complete_scratch(tree: &mut Tree, users: &[User]) {
    for (path, mode) in [("etc", 0o755), ("tmp", 0o1777), ("run", 0o755)] {
        tree.put_missing(path, Node::directory(mode));
    }
    tree.put_missing("etc/nsswitch.conf", Node::text(NSSWITCH));
    accounts(tree, users);
}

/// Directories at the root that are links into `usr`.
fn merge(tree: &mut Tree) {
    for name in MERGED {
        let target = format!("usr/{name}");
        let is_used = tree.contains(&target) || tree.paths_below(&format!("{target}/")).next().is_some();
        if is_used || matches!(name, "bin" | "sbin" | "lib") {
            tree.put_missing(&target, Node::directory(0o755));
            tree.put_missing(name, Node::symlink(target));
        }
    }
}

fn accounts(tree: &mut Tree, users: &[User]) {
    let mut passwd = String::new();
    let mut group = String::new();
    for (name, id, home, shell) in ACCOUNTS {
        if !users.iter().any(|user| user.name == name) {
            let gid = if name == "nobody" { 65534 } else { id };
            let _ = writeln!(passwd, "{name}:x:{id}:{gid}:{name}:{home}:{shell}");
        }
    }
    for (name, id) in GROUPS {
        if !users.iter().any(|user| user.name == name) {
            let _ = writeln!(group, "{name}:x:{id}:");
        }
    }
    for user in users {
        let _ = writeln!(
            passwd,
            "{}:x:{}:{}:{}:{}:{}",
            user.name, user.uid, user.gid, user.name, user.home, user.shell
        );
        let known = GROUPS.iter().any(|(name, id)| *id == user.gid && *name != user.name);
        if !known {
            let _ = writeln!(group, "{}:x:{}:", user.name, user.gid);
        }
        let home = user.home.trim_matches('/');
        if !home.is_empty() && home != "nonexistent" {
            tree.put_missing(home, Node::directory(0o755).owned(user.uid, user.gid));
        }
    }
    tree.put_missing("etc/passwd", Node::text(passwd));
    tree.put_missing("etc/group", Node::text(group));
}

/// Without `base-files`, scanners still find out that this is Debian, and which.
fn release(tree: &mut Tree, suite: &str) {
    let version = match suite {
        "bookworm" => "VERSION_ID=\"12\"\n",
        "trixie" => "VERSION_ID=\"13\"\n",
        "forky" => "VERSION_ID=\"14\"\n",
        _ => "",
    };
    let text = format!(
        "PRETTY_NAME=\"Debian GNU/Linux ({suite})\"\nNAME=\"Debian GNU/Linux\"\n{version}VERSION_CODENAME={suite}\nID=debian\n"
    );
    tree.put_missing("usr/lib/os-release", Node::text(text));
    tree.put_missing("etc/os-release", Node::symlink("../usr/lib/os-release"));
}

fn alternatives(tree: &mut Tree) {
    let triplet = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };
    let expand = |path: &str| path.replace('@', &format!("usr/lib/{triplet}"));
    for (link, choices) in ALTERNATIVES {
        let link = expand(link);
        if let Some(choice) = choices.iter().map(|c| expand(c)).find(|choice| tree.contains(choice)) {
            tree.put_missing(&link, Node::symlink(format!("/{choice}")));
        }
    }
}

/// All certificate authorities in one file, and where OpenSSL looks for it by default.
fn certificates(tree: &mut Tree) -> Result<Arc<[u8]>, BuildError> {
    let mut bundle = Vec::new();
    for (path, node) in tree.paths_below(CERTIFICATES) {
        if let (true, NodeKind::File(content)) = (path.ends_with(".crt"), &node.kind) {
            let text = content.read_all().map_err(BuildError::io(format!("read /{path}")))?;
            bundle.extend_from_slice(text.trim_ascii_end());
            bundle.push(b'\n');
        }
    }
    let bundle: Arc<[u8]> = Arc::from(bundle);
    if bundle.is_empty() {
        return Ok(bundle);
    }
    let content = Content::Bytes(Arc::clone(&bundle));
    tree.put(BUNDLE, Node { kind: NodeKind::File(content), mode: 0o644, uid: 0, gid: 0 });
    tree.put_missing("usr/lib/ssl/cert.pem", Node::symlink(format!("/{BUNDLE}")));
    Ok(bundle)
}
