//! A Sigstore bundle v0.3 with a DSSE envelope around an in-toto statement, as cosign 3 writes it
//! for `cosign sign`. The format: sigstore/protobuf-specs, in-toto attestation v1, DSSE v1.

use super::BUNDLE;
use super::key::{PrivateKey, PublicKey, SignError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const MAX_BUNDLE_BYTES: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyHint>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyHint {
    #[serde(default)]
    hint: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    #[serde(default)]
    predicate: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, serde_json::Value>,
}

impl Bundle {
    /// A statement about this manifest, signed.
    pub fn sign(image: &Digest, key: &PrivateKey) -> Result<Self, SignError> {
        let digest = [("sha256".to_owned(), image.hex().to_owned())].into();
        let statement = Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject { digest, annotations: BTreeMap::new() }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: serde_json::json!({}),
        };
        let payload = serde_json::to_vec(&statement).expect("plain data");
        let sig = STANDARD.encode(key.sign(&encode(PAYLOAD_TYPE, &payload))?);
        Ok(Self {
            media_type: BUNDLE.to_owned(),
            verification_material: Material { public_key: Some(KeyHint { hint: key.public().hint() }) },
            dsse_envelope: Envelope {
                payload: STANDARD.encode(payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: vec![Signature { sig }],
            },
        })
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    pub fn read(bytes: &[u8]) -> Result<Self, SignError> {
        let malformed = |reason: String| SignError::Bundle { reason };
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(malformed(format!("it is larger than {}", model::Bytes(MAX_BUNDLE_BYTES as u64))));
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        match bundle.media_type == BUNDLE {
            true => Ok(bundle),
            false => Err(malformed(format!("it is of the kind `{}`", bundle.media_type))),
        }
    }

    /// Checks the signature first, and only then believes what was signed.
    pub fn verify(&self, image: &Digest, key: &PublicKey) -> Result<(), SignError> {
        let malformed = |reason: &str| SignError::Bundle { reason: reason.to_owned() };
        let envelope = &self.dsse_envelope;
        let payload =
            STANDARD.decode(&envelope.payload).map_err(|_| malformed("its payload is no base64"))?;
        // The format has exactly one.
        let [signature] = &envelope.signatures[..] else {
            return Err(malformed("it does not have one signature"));
        };
        let signature =
            STANDARD.decode(&signature.sig).map_err(|_| malformed("its signature is no base64"))?;
        key.verify(&encode(&envelope.payload_type, &payload), &signature)?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(malformed("what was signed is no statement"));
        }
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|_| malformed("what was signed is no statement"))?;
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
            return Err(malformed("what was signed is no signature of an image"));
        }
        let names_it = |subject: &Subject| subject.digest.get("sha256").is_some_and(|hex| hex == image.hex());
        match statement.subject.iter().any(names_it) {
            true => Ok(()),
            false => Err(SignError::Other { image: image.to_string() }),
        }
    }
}

/// What is signed: the pre-authentication encoding of DSSE.
fn encode(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}
