//! Public keys of a keyring: which of them may sign, from when until when. A subkey counts only
//! with a binding signature by its primary key and its own signature back.

use super::packet::{self, Packet, Reader, Signature};
use super::{Malformed, OpenPgpError};
use ring::digest;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};

const RSA: u8 = 1;
const RSA_SIGN_ONLY: u8 = 3;
const EDDSA_LEGACY: u8 = 22;
const ED25519: u8 = 27;
/// 1.3.6.1.4.1.11591.15.1
const ED25519_OID: [u8; 9] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];
const FLAG_SIGN: u8 = 0x02;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ed25519([u8; 32]),
}

/// A key that may sign documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub fingerprint: [u8; 20],
    material: Material,
    /// Seconds since 1970.
    created: u32,
    /// Seconds since 1970; 0 is never.
    expires: u64,
    /// The packet's body, which signatures over the key cover.
    body: Vec<u8>,
}

impl Key {
    fn parse(body: &[u8]) -> Result<Self, OpenPgpError> {
        let mut reader = Reader(body);
        if reader.u8()? != 4 {
            return Err(OpenPgpError::Unsupported("a key that is not of version 4"));
        }
        let created = reader.u32()?;
        let material = match reader.u8()? {
            RSA | RSA_SIGN_ONLY => Material::Rsa { n: reader.mpi()?.to_vec(), e: reader.mpi()?.to_vec() },
            EDDSA_LEGACY => Material::Ed25519(legacy_point(&mut reader)?),
            ED25519 => Material::Ed25519(reader.take(32)?.try_into().expect("32 bytes were taken")),
            _ => return Err(OpenPgpError::Unsupported("a key that is neither RSA nor Ed25519")),
        };
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&key_prefix(body)?);
        context.update(body);
        let fingerprint = context.finish().as_ref().try_into().expect("SHA-1 has 20 bytes");
        Ok(Self { fingerprint, material, created, expires: 0, body: body.to_vec() })
    }

    pub fn id(&self) -> [u8; 8] {
        self.fingerprint[12..].try_into().expect("eight of twenty bytes")
    }

    /// Whether this key may have signed at `at` and still counts at `now`.
    pub fn is_valid(&self, at: u64, now: u64) -> bool {
        at >= u64::from(self.created) && (self.expires == 0 || now < self.expires)
    }

    /// Checks `signature` over `data` with this key: weak digests and other algorithms are refused.
    pub fn verify(&self, signature: &Signature<'_>, data: &[&[u8]]) -> Result<(), OpenPgpError> {
        let mut message = data.concat();
        message.extend_from_slice(signature.hashed);
        message.extend_from_slice(&[4, 0xFF]);
        message.extend_from_slice(&(signature.hashed.len() as u32).to_be_bytes());
        let mut value = Reader(signature.value);
        let good = match (&self.material, signature.key_algorithm) {
            (Material::Rsa { n, e }, RSA | RSA_SIGN_ONLY) => {
                let parameters = rsa_parameters(signature.hash_algorithm)?;
                let value = pad(value.mpi()?, n.len())?;
                RsaPublicKeyComponents { n, e }.verify(parameters, &message, &value)
            }
            (Material::Ed25519(point), EDDSA_LEGACY) => {
                let mut raw = pad(value.mpi()?, 32)?;
                raw.extend(pad(value.mpi()?, 32)?);
                verify_ed25519(point, signature.hash_algorithm, &message, &raw)?
            }
            (Material::Ed25519(point), ED25519) => {
                verify_ed25519(point, signature.hash_algorithm, &message, value.take(64)?)?
            }
            _ => return Err(OpenPgpError::Unsupported("a signature of another algorithm than its key")),
        };
        good.map_err(|_| OpenPgpError::Bad)
    }
}

fn legacy_point(reader: &mut Reader<'_>) -> Result<[u8; 32], OpenPgpError> {
    let length = usize::from(reader.u8()?);
    if reader.take(length)? != ED25519_OID {
        return Err(OpenPgpError::Unsupported("a key on another curve than Ed25519"));
    }
    match reader.mpi()?.split_first() {
        Some((0x40, point)) => {
            point.try_into().map_err(|_| Malformed("an Ed25519 key has another length").into())
        }
        _ => Err(Malformed("an Ed25519 key is not a native point").into()),
    }
}

fn rsa_parameters(hash: u8) -> Result<&'static signature::RsaParameters, OpenPgpError> {
    match hash {
        8 => Ok(&signature::RSA_PKCS1_2048_8192_SHA256),
        9 => Ok(&signature::RSA_PKCS1_2048_8192_SHA384),
        10 => Ok(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => Err(OpenPgpError::Unsupported("a digest that is not SHA-256, SHA-384 or SHA-512")),
    }
}

fn verify_ed25519(
    point: &[u8; 32],
    hash: u8,
    message: &[u8],
    value: &[u8],
) -> Result<Result<(), ring::error::Unspecified>, OpenPgpError> {
    let algorithm = match hash {
        8 => &digest::SHA256,
        9 => &digest::SHA384,
        10 => &digest::SHA512,
        _ => return Err(OpenPgpError::Unsupported("a digest that is not SHA-256, SHA-384 or SHA-512")),
    };
    let hashed = digest::digest(algorithm, message);
    Ok(UnparsedPublicKey::new(&signature::ED25519, point).verify(hashed.as_ref(), value))
}

/// Integers lose their leading zeros on the wire; both algorithms want them back.
fn pad(bytes: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let missing = length.checked_sub(bytes.len()).ok_or(Malformed("a signature is longer than its key"))?;
    let mut padded = vec![0; missing];
    padded.extend_from_slice(bytes);
    Ok(padded)
}

/// What precedes a key's body wherever it is hashed.
fn key_prefix(body: &[u8]) -> Result<[u8; 3], Malformed> {
    let length = u16::try_from(body.len()).map_err(|_| Malformed("a key is too long"))?.to_be_bytes();
    Ok([0x99, length[0], length[1]])
}

/// The signing keys among `packets`. Keys of a kind that is not supported, without a valid
/// signature of their own, or with any revocation, are left out.
pub fn signing_keys(packets: &[Packet<'_>]) -> Vec<Key> {
    let starts: Vec<usize> = (0..packets.len()).filter(|i| packets[*i].tag == packet::PUBLIC_KEY).collect();
    let mut keys = Vec::new();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(packets.len());
        keys.extend(certificate_keys(&packets[*start..end]).unwrap_or_default());
    }
    keys
}

/// One primary key with everything that belongs to it.
fn certificate_keys(packets: &[Packet<'_>]) -> Result<Vec<Key>, OpenPgpError> {
    let mut primary = Key::parse(packets[0].body)?;
    let mut own_flags = None;
    let mut newest = 0;
    let mut keys = Vec::new();
    let mut subject = packets[0];
    for packet in &packets[1..] {
        match packet.tag {
            packet::SIGNATURE => {
                let Ok(signature) = Signature::parse(packet.body) else { continue };
                match signature.kind {
                    0x20 => return Ok(Vec::new()),
                    0x28 => keys.retain(|key: &Key| key.body != subject.body),
                    0x10..=0x13 | 0x1F
                        if signature.created >= newest && is_self_signed(&primary, &subject, &signature) =>
                    {
                        newest = signature.created;
                        own_flags = Some(signature.key_flags.unwrap_or(FLAG_SIGN));
                        primary.expires = expiry(primary.created, &signature);
                    }
                    0x18 if subject.tag == packet::PUBLIC_SUBKEY => {
                        keys.extend(bound_subkey(&primary, subject.body, &signature));
                    }
                    _ => {}
                }
            }
            _ => subject = *packet,
        }
    }
    let Some(flags) = own_flags else { return Ok(Vec::new()) };
    for key in &mut keys {
        key.expires = earlier(key.expires, primary.expires);
    }
    if flags & FLAG_SIGN != 0 {
        keys.push(primary);
    }
    Ok(keys)
}

fn expiry(created: u32, signature: &Signature<'_>) -> u64 {
    match signature.key_expires_after {
        0 => 0,
        seconds => u64::from(created) + u64::from(seconds),
    }
}

fn earlier(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}

fn is_self_signed(primary: &Key, subject: &Packet<'_>, signature: &Signature<'_>) -> bool {
    let Ok(prefix) = key_prefix(&primary.body) else { return false };
    let length = (subject.body.len() as u32).to_be_bytes();
    let parts: &[&[u8]] = match (subject.tag, signature.kind) {
        (packet::PUBLIC_KEY, 0x1F) => &[&prefix, &primary.body],
        (packet::USER_ID, 0x10..=0x13) => &[&prefix, &primary.body, &[0xB4], &length, subject.body],
        _ => return false,
    };
    primary.verify(signature, parts).is_ok()
}

fn bound_subkey(primary: &Key, body: &[u8], binding: &Signature<'_>) -> Option<Key> {
    let mut subkey = Key::parse(body).ok()?;
    let (first, second) = (key_prefix(&primary.body).ok()?, key_prefix(body).ok()?);
    let parts: [&[u8]; 4] = [&first, &primary.body, &second, body];
    primary.verify(binding, &parts).ok()?;
    if binding.key_flags.unwrap_or(0) & FLAG_SIGN == 0 {
        return None;
    }
    let back = Signature::parse(binding.embedded?).ok()?;
    if back.kind != 0x19 {
        return None;
    }
    subkey.verify(&back, &parts).ok()?;
    subkey.expires = expiry(subkey.created, binding);
    Some(subkey)
}
