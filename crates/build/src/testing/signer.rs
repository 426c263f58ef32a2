//! An OpenPGP signer just able to sign what `archive::openpgp` reads.

use base64::Engine as _;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

const CREATED: u32 = 1_700_000_000;
const EDDSA: u8 = 22;
const OID: [u8; 9] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];

pub struct Signer {
    key: Ed25519KeyPair,
}

impl Signer {
    pub fn new(seed: u8) -> Self {
        Self { key: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed") }
    }

    fn key_body(&self) -> Vec<u8> {
        let mut body = vec![4];
        body.extend(CREATED.to_be_bytes());
        body.push(EDDSA);
        body.push(OID.len() as u8);
        body.extend(OID);
        let mut point = vec![0x40];
        point.extend(self.key.public_key().as_ref());
        body.extend(mpi(&point));
        body
    }

    fn hashed_key(&self) -> Vec<u8> {
        let body = self.key_body();
        let mut bytes = vec![0x99];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// The public key with a user id, as a keyring file.
    pub fn keyring(&self) -> Vec<u8> {
        let user = b"Test <test@test.invalid>";
        let mut certified = self.hashed_key();
        certified.push(0xB4);
        certified.extend((user.len() as u32).to_be_bytes());
        certified.extend(user);
        let mut file = packet(6, &self.key_body());
        file.extend(packet(13, user));
        file.extend(packet(2, &self.signature(0x13, &certified, CREATED)));
        file
    }

    fn signature(&self, kind: u8, data: &[u8], created: u32) -> Vec<u8> {
        let mut hashed = vec![5, 2];
        hashed.extend(created.to_be_bytes());
        hashed.extend([2, 27, 0x03]);
        let mut body = vec![4, kind, EDDSA, 8];
        body.extend((hashed.len() as u16).to_be_bytes());
        body.extend(&hashed);
        let mut message = data.to_vec();
        message.extend(&body);
        message.extend([4, 0xFF]);
        message.extend((body.len() as u32).to_be_bytes());
        let hash = digest(&SHA256, &message);
        let signature = self.key.sign(hash.as_ref());
        let fingerprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.hashed_key());
        let mut issuer = vec![9, 16];
        issuer.extend(&fingerprint.as_ref()[12..]);
        body.extend((issuer.len() as u16).to_be_bytes());
        body.extend(issuer);
        body.extend(&hash.as_ref()[..2]);
        body.extend(mpi(&signature.as_ref()[..32]));
        body.extend(mpi(&signature.as_ref()[32..]));
        body
    }

    pub fn clearsign(&self, text: &str) -> String {
        let text = text.trim_end();
        let canonical = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\r\n");
        let packet = packet(2, &self.signature(0x01, canonical.as_bytes(), CREATED + 1));
        let armour = base64::engine::general_purpose::STANDARD.encode(packet);
        format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n-----BEGIN PGP SIGNATURE-----\n\n{armour}\n-----END PGP SIGNATURE-----\n"
        )
    }
}

fn mpi(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().take_while(|b| **b == 0).count();
    let bytes = &bytes[start..];
    let bits = bytes.first().map_or(0, |first| bytes.len() * 8 - first.leading_zeros() as usize);
    let mut out = (bits as u16).to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xC0 | tag, 0xFF];
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out
}
