//! Signatures of images.

/// The kind of a document that holds a signature.
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
