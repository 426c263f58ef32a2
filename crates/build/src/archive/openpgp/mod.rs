//! A small, strict reader for what a Debian archive is signed with: clear-signed text, version 4
//! RSA and Ed25519 keys, SHA-2. It verifies and nothing else; a full OpenPGP library would bring
//! about 150 crates and a second set of cryptography into the program.

mod key;
mod packet;

use base64::Engine as _;
pub use key::Key;
use packet::Signature;
use std::fmt::Write as _;

/// Signatures made on a machine whose clock runs ahead of ours by up to this are accepted.
const CLOCK_SKEW_SECONDS: u64 = 24 * 3600;
/// More signatures than this on one document are refused.
const MAX_SIGNATURES: usize = 32;
const TEXT_BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE_BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";

/// What is wrong with the form of a key or signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenPgpError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error("the signature does not match the text")]
    Bad,
    #[error("the signature by {0} is expired or lies in the future")]
    NotNow(String),
    #[error("none of the signing keys is trusted ({0})")]
    Untrusted(String),
}

/// Keys that are trusted to sign.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// Adds the signing keys of a keyring file, binary or armoured; answers how many there were.
    pub fn add(&mut self, file: &[u8]) -> Result<usize, OpenPgpError> {
        let binary = match std::str::from_utf8(file) {
            Ok(text) if text.trim_start().starts_with("-----BEGIN PGP") => dearmour(text.trim())?,
            _ => file.to_vec(),
        };
        let found = key::signing_keys(&packet::packets(&binary)?);
        let count = found.len();
        self.keys.extend(found);
        Ok(count)
    }

    /// The text of a clear-signed document when at least one trusted key has signed it.
    /// `now` is in seconds since 1970.
    pub fn verify_clearsigned(&self, document: &str, now: u64) -> Result<String, OpenPgpError> {
        let signed = Clearsigned::parse(document)?;
        let mut failure = OpenPgpError::Untrusted("there is no signature".to_owned());
        let mut strangers = String::new();
        let canonical = signed.canonical();
        for packet in signed.signature_packets()? {
            let Ok(signature) = Signature::parse(packet) else { continue };
            let candidates = self.keys.iter().filter(|key| signature.issuer.is_none_or(|id| id == key.id()));
            let mut known = false;
            for key in candidates {
                known = true;
                match check_signature(key, &signature, canonical.as_bytes(), now) {
                    Ok(()) => return Ok(signed.text),
                    Err(error) => failure = error,
                }
            }
            if !known && let Some(id) = signature.issuer {
                let _ = write!(strangers, "{}{}", if strangers.is_empty() { "" } else { ", " }, hex(&id));
            }
        }
        match failure {
            OpenPgpError::Untrusted(_) if !strangers.is_empty() => Err(OpenPgpError::Untrusted(strangers)),
            other => Err(other),
        }
    }
}

fn check_signature(key: &Key, signature: &Signature<'_>, text: &[u8], now: u64) -> Result<(), OpenPgpError> {
    if signature.kind != 0x01 {
        return Err(OpenPgpError::Unsupported("a signature that is not over text"));
    }
    key.verify(signature, &[text])?;
    let created = u64::from(signature.created);
    let expires = created + u64::from(signature.expires_after);
    let expired = signature.expires_after != 0 && now >= expires;
    if expired || created > now + CLOCK_SKEW_SECONDS || !key.is_valid(created, now) {
        return Err(OpenPgpError::NotNow(hex(&key.fingerprint)));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// A clear-signed document taken apart. Nothing may stand before, between or after its parts, so
/// that what is verified is all there is.
struct Clearsigned {
    /// Lines without trailing white space, joined by `\n`: exactly what is signed.
    text: String,
    signature: Vec<u8>,
}

impl Clearsigned {
    fn parse(document: &str) -> Result<Self, OpenPgpError> {
        let mut lines = document.lines();
        if lines.next().map(str::trim_end) != Some(TEXT_BEGIN) {
            return Err(Malformed("it is not a clear-signed document").into());
        }
        for line in lines.by_ref() {
            match line.trim_end() {
                "" => break,
                header if header.starts_with("Hash:") => {}
                _ => return Err(Malformed("an unknown header stands before the signed text").into()),
            }
        }
        let mut text = String::with_capacity(document.len());
        let mut armour = None;
        for line in lines.by_ref() {
            let line = line.trim_end_matches([' ', '\t', '\r']);
            if line == SIGNATURE_BEGIN {
                armour = Some(String::from(SIGNATURE_BEGIN) + "\n");
                break;
            }
            let line = match line.strip_prefix("- ") {
                Some(escaped) => escaped,
                None if line.starts_with('-') => {
                    return Err(Malformed("a line starts with an unescaped dash").into());
                }
                None => line,
            };
            text.push_str(line);
            text.push('\n');
        }
        let mut armour = armour.ok_or(Malformed("the document has no signature"))?;
        for line in lines {
            armour.push_str(line);
            armour.push('\n');
        }
        text.pop();
        Ok(Self { text, signature: dearmour(armour.trim_end())? })
    }

    /// The form that is hashed: lines end with CR LF, the last one with nothing.
    fn canonical(&self) -> String {
        self.text.replace('\n', "\r\n")
    }

    fn signature_packets(&self) -> Result<Vec<&[u8]>, OpenPgpError> {
        let packets = packet::packets(&self.signature)?;
        if packets.len() > MAX_SIGNATURES {
            return Err(Malformed("there are too many signatures").into());
        }
        if packets.iter().any(|packet| packet.tag != packet::SIGNATURE) {
            return Err(Malformed("something else stands among the signatures").into());
        }
        Ok(packets.into_iter().map(|packet| packet.body).collect())
    }
}

/// The content of one armoured block that is the whole of `text`.
fn dearmour(text: &str) -> Result<Vec<u8>, OpenPgpError> {
    let mut lines = text.lines().map(str::trim_end);
    let first = lines.next().unwrap_or_default();
    let kind = first.strip_prefix("-----BEGIN ").ok_or(Malformed("the armour has no beginning"))?;
    let end = format!("-----END {kind}");
    let mut body = String::with_capacity(text.len());
    let mut in_headers = true;
    let mut ended = false;
    for line in lines {
        if ended {
            return Err(Malformed("something follows the armour").into());
        }
        if line == end {
            ended = true;
        } else if in_headers && line.is_empty() {
            in_headers = false;
        } else if in_headers && line.contains(": ") {
            // Version and comment, which mean nothing.
        } else if !line.starts_with('=') {
            in_headers = false;
            body.push_str(line);
        }
    }
    if !ended {
        return Err(Malformed("the armour has no end").into());
    }
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .map_err(|_| Malformed("the armour is not base64").into())
}

#[cfg(test)]
mod tests;
