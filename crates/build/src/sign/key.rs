//! Keys for signatures: ECDSA over P-256 with SHA-256, in PEM files that cosign and OpenSSL read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{ErrorKind, Report};
use ring::rand::SystemRandom;
use ring::signature::{self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What stands before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Uncompressed.
const POINT_BYTES: usize = 65;
const MAX_FILE_BYTES: u64 = 64 << 10;
const PEM_WIDTH: usize = 64;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    #[error("the key {} {reason}", .path.display())]
    Key { path: PathBuf, reason: String },
    #[error("{} is there already", .path.display())]
    There { path: PathBuf },
    #[error("the key {} can be read by others (mode {mode:04o})", .path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("the signature does not hold for this key")]
    Wrong,
    #[error("the signature is for another image than {image}")]
    Other { image: String },
    #[error("the signature is malformed: {reason}")]
    Bundle { reason: String },
    #[error("the image {image} has no valid signature by this key{}", told(*.signatures, .reason.as_deref()))]
    Unsigned { image: String, signatures: usize, reason: Option<String> },
    #[error("the system gave no random numbers")]
    Random,
}

fn told(signatures: usize, reason: Option<&str>) -> String {
    match (signatures, reason) {
        (0, _) => ": it has none at all".to_owned(),
        (_, Some(reason)) => format!(": {reason}"),
        (many, None) => format!(": none of its {many} is by it"),
    }
}

impl SignError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Key { .. } | Self::There { .. } | Self::Open { .. } => ErrorKind::Usage,
            Self::Random => ErrorKind::Environment,
            _ => ErrorKind::Check,
        }
    }

    pub fn hint(&self) -> String {
        match self {
            Self::Key { .. } => "`juchu image keygen` makes a pair of keys".to_owned(),
            Self::There { .. } => "keys are not replaced: name another file, or move it away".to_owned(),
            Self::Open { path, .. } => format!("`chmod 600 {}`", path.display()),
            Self::Unsigned { image, .. } => format!(
                "`juchu image sign {}` signs it with your key; `juchu image pull` brings the signatures of others",
                image.get(7..19).unwrap_or(image)
            ),
            Self::Random => "look at the machine: `head -c 16 /dev/urandom` should answer at once".to_owned(),
            _ => "fetch the image again, or ask who signed it".to_owned(),
        }
    }

    pub fn report(&self) -> Report {
        Report::from_error(self.kind(), self).hint(self.hint())
    }
}

/// It signs; it is never printed.
pub struct PrivateKey(EcdsaKeyPair);

impl PrivateKey {
    /// Makes a pair: `path` for this machine alone, and beside it `.pub` for everybody.
    pub fn generate(path: &Path) -> Result<(Self, PathBuf), SignError> {
        let public = path.with_extension("pub");
        for path in [path, &public] {
            if path.symlink_metadata().is_ok() {
                return Err(SignError::There { path: path.to_owned() });
            }
        }
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| SignError::Random)?;
        let key = Self::of_der(document.as_ref()).ok_or(SignError::Random)?;
        write(path, 0o600, &pem("PRIVATE KEY", document.as_ref()))?;
        write(&public, 0o644, &key.public().to_pem())?;
        Ok((key, public))
    }

    pub fn read(path: &Path) -> Result<Self, SignError> {
        let wrong = |reason: &str| SignError::Key { path: path.to_owned(), reason: reason.to_owned() };
        let bytes = read(path)?;
        let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode() & 0o7777);
        if mode & 0o077 != 0 {
            return Err(SignError::Open { path: path.to_owned(), mode });
        }
        if find(&bytes, b"-----BEGIN ENCRYPTED") {
            return Err(wrong("is encrypted with a passphrase, which is not understood here"));
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(&bytes)
            .map_err(|_| wrong("is no private key in PEM (`-----BEGIN PRIVATE KEY-----`)"))?;
        Self::of_der(der.secret_pkcs8_der()).ok_or_else(|| wrong("is no ECDSA key over P-256"))
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &SystemRandom::new()).ok().map(Self)
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("a point of P-256 has 65 bytes"))
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| SignError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// It tells whether its other half signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; POINT_BYTES]);

impl PublicKey {
    pub fn read(path: &Path) -> Result<Self, SignError> {
        Self::of_pem(&read(path)?)
            .map_err(|reason| SignError::Key { path: path.to_owned(), reason: reason.to_owned() })
    }

    /// The other half of a key pair is not taken: it should not lie where images are verified.
    pub fn of_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "is no public key in PEM (`-----BEGIN PUBLIC KEY-----`)")?;
        let point = der.strip_prefix(&SPKI_PREFIX[..]).and_then(|point| point.try_into().ok());
        point.map(Self).ok_or("is no ECDSA key over P-256")
    }

    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.der())
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0[..]].concat()
    }

    /// By which cosign tells keys apart.
    pub fn hint(&self) -> String {
        STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &self.der()))
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignError> {
        let key = signature::UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0);
        key.verify(message, signature).map_err(|_| SignError::Wrong)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SignError> {
    let wrong = |reason: String| SignError::Key { path: path.to_owned(), reason };
    let about = fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if !about.is_file() || about.len() > MAX_FILE_BYTES {
        return Err(wrong("is no ordinary small file".to_owned()));
    }
    fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), SignError> {
    let wrong = |e: std::io::Error| SignError::Key {
        path: path.to_owned(),
        reason: format!("cannot be written: {e}"),
    };
    let mut file = fs::File::options().write(true).create_new(true).mode(mode).open(path).map_err(wrong)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(wrong)
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(PEM_WIDTH)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
