//! The certificate authorities as Java reads them (the key store format JKS), and Java's programs
//! where people look for them: what the scripts of Debian's Java packages would have made.

use crate::error::BuildError;
use crate::spool::Content;
use crate::tree::{Node, NodeKind, Tree};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::sync::Arc;

const MACHINES: &str = "usr/lib/jvm/";
/// Where Debian's Java looks for authorities.
const STORE: &str = "etc/ssl/certs/java/cacerts";
const PROGRAMS: [&str; 4] = ["java", "javac", "jar", "keytool"];
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// As the key store of every JDK has it: it is no secret.
const PASSWORD: &str = "changeit";
const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED: u32 = 2;

/// Completes a tree that holds a Java machine; `bundle` is all authorities in PEM.
pub fn complete(tree: &mut Tree, bundle: &[u8]) -> Result<(), BuildError> {
    for program in PROGRAMS {
        let end = format!("/bin/{program}");
        let is_file = |node: &Node| matches!(node.kind, NodeKind::File(_));
        let found = tree.paths_below(MACHINES).filter(|(path, node)| path.ends_with(&end) && is_file(node));
        // The newest, where there are several.
        if let Some(path) = found.map(|(path, _)| path.to_owned()).max_by_key(|path| release(path)) {
            tree.put_missing(&format!("usr/bin/{program}"), Node::symlink(format!("/{path}")));
        }
    }
    let has_machine = tree.paths_below(MACHINES).any(|(path, _)| path.ends_with("/security/cacerts"));
    if !has_machine || bundle.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(bundle);
    let certificates = certificates(&text)
        .ok_or_else(|| BuildError::malformed("the package ca-certificates", "a certificate is no PEM"))?;
    let content = Content::Bytes(Arc::from(store(&certificates)));
    tree.put_missing(STORE, Node { kind: NodeKind::File(content), mode: 0o644, uid: 0, gid: 0 });
    Ok(())
}

/// `usr/lib/jvm/java-21-openjdk-amd64/bin/java` → 21.
fn release(path: &str) -> u32 {
    let name = path.strip_prefix(MACHINES).unwrap_or_default();
    name.split('-').find_map(|part| part.parse().ok()).unwrap_or(0)
}

fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    pem.split(BEGIN)
        .skip(1)
        .map(|rest| {
            let body: String = rest.split_once(END)?.0.split_whitespace().collect();
            STANDARD.decode(body).ok()
        })
        .collect()
}

/// Entries without a time, so that the same authorities give the same bytes.
fn store(certificates: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(certificates.len()).expect("authorities are some hundred");
    let mut bytes = [MAGIC, VERSION, count].map(u32::to_be_bytes).concat();
    for (number, certificate) in certificates.iter().enumerate() {
        bytes.extend(TRUSTED.to_be_bytes());
        text(&mut bytes, &format!("debian:{number:04}"));
        bytes.extend(0u64.to_be_bytes());
        text(&mut bytes, "X.509");
        bytes.extend(u32::try_from(certificate.len()).expect("a certificate is small").to_be_bytes());
        bytes.extend(certificate);
    }
    let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    PASSWORD.encode_utf16().for_each(|unit| sum.update(&unit.to_be_bytes()));
    sum.update(b"Mighty Aphrodite");
    sum.update(&bytes);
    bytes.extend(sum.finish().as_ref());
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(u16::try_from(text.len()).expect("our own words are short").to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_finds_its_programs_and_every_authority() {
        let mut tree = Tree::default();
        for path in ["java-17-openjdk-amd64/bin/java", "java-21-openjdk-amd64/bin/java"] {
            tree.put(&format!("{MACHINES}{path}"), Node::text(""));
        }
        tree.put(&format!("{MACHINES}java-21-openjdk-amd64/lib/security/cacerts"), Node::symlink("/x"));
        let bundle = format!("{BEGIN}\nAAEC\nAwQF\n{END}\n{BEGIN}\nBg==\n{END}\n");
        complete(&mut tree, bundle.as_bytes()).expect("completed");
        let node = |path: &str| tree.iter().find(|(at, _)| *at == path).map(|(_, node)| node.kind.clone());
        let Some(NodeKind::Symlink(target)) = node("usr/bin/java") else { panic!("no java") };
        assert_eq!(target, "/usr/lib/jvm/java-21-openjdk-amd64/bin/java");
        let Some(NodeKind::File(content)) = node(STORE) else { panic!("no authorities") };
        let bytes = content.read_all().expect("readable");
        // One header, two entries with their own bytes, one sum.
        let entry = 4 + 2 + 11 + 8 + 2 + 5 + 4;
        assert_eq!(bytes.len(), 12 + 2 * entry + 6 + 1 + 20);
        assert!(bytes.windows(6).any(|part| part == [0, 1, 2, 3, 4, 5]));
        assert_eq!(&bytes[..12], [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert!(complete(&mut tree, b"-----BEGIN CERTIFICATE-----\nno").is_err());
    }

    #[test]
    fn without_java_nothing_is_made() {
        let mut tree = Tree::default();
        complete(&mut tree, b"").expect("completed");
        assert_eq!(tree.iter().count(), 0);
    }
}
