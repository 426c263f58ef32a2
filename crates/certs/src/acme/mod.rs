//! A certificate by ACME (RFC 8555): account, order, proof, certificate; one attempt at a time.

mod account;
mod http;

use crate::CertError;
use crate::keeper::Announce;
use crate::pem::{self, Facts};
use crate::shelf::{self, Shelf};
use instant_acme::{
    AuthorizationStatus, ChallengeType, Error, Identifier, KeyAuthorization, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use model::certificate::{Acme, Challenge};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The directory of an authority unless another is declared.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long the authority may take to look at the proofs, and then to make the certificate.
const LOOKING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// What an attempt needs beside what is declared.
pub struct Attempt<'a> {
    pub name: &'a str,
    pub hosts: &'a [String],
    pub acme: &'a Acme,
    /// How many came before it; they prove in turn by HTTP and by TLS.
    pub failures: u32,
    /// Where accounts are kept.
    pub accounts: &'a Path,
    pub shelf: &'a Shelf,
    pub announce: &'a dyn Announce,
}

/// Obtains a certificate and puts it on the shelf.
pub async fn obtain(attempt: &Attempt<'_>) -> Result<Facts, CertError> {
    let mut proofs = Proofs { files: Vec::new() };
    let outcome = order(attempt, &mut proofs).await;
    // Whatever came of it, nothing is proved any more.
    let is_proved = !proofs.files.is_empty();
    drop(proofs);
    if is_proved {
        // A gateway that is not told goes on showing what nobody asks for.
        let _ = attempt.announce.announce().await;
    }
    outcome
}

async fn order(attempt: &Attempt<'_>, proofs: &mut Proofs) -> Result<Facts, CertError> {
    let url = attempt.acme.directory.as_deref().unwrap_or(LETS_ENCRYPT);
    let client = http::Client::new(attempt.acme.trust.as_deref().map(Path::new))?;
    let account = account::open(attempt.accounts, url, attempt.acme.email.as_deref(), client).await?;
    let identifiers: Vec<Identifier> = attempt.hosts.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(told)?;
    prove(attempt, &mut order, proofs).await?;
    match order.poll_ready(&LOOKING).await.map_err(told)? {
        OrderStatus::Ready | OrderStatus::Valid => {}
        _ => return Err(refused(&mut order).await),
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(attempt.hosts.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await.map_err(told)?;
    let chain = order.poll_certificate(&LOOKING).await.map_err(told)?;
    let secret = key.serialize_pem();
    let from = Path::new(url);
    let facts = pem::look(chain.as_bytes(), secret.as_bytes(), (from, from))?;
    if let Some(host) = attempt.hosts.iter().find(|host| !facts.is_for(host)) {
        return Err(CertError::NotFor(host.clone()));
    }
    attempt.shelf.put(attempt.name, format!("{chain}\n{secret}").as_bytes())?;
    Ok(facts)
}

/// Puts a proof for each host in its place, has the gateway take note, and says that it is there.
async fn prove(attempt: &Attempt<'_>, order: &mut Order, proofs: &mut Proofs) -> Result<(), CertError> {
    let kind = match attempt.acme.challenge {
        Some(Challenge::Http) => ChallengeType::Http01,
        Some(Challenge::Tls) => ChallengeType::TlsAlpn01,
        None if attempt.failures.is_multiple_of(2) => ChallengeType::Http01,
        None => ChallengeType::TlsAlpn01,
    };
    let word = if kind == ChallengeType::Http01 { "HTTP" } else { "TLS" };
    let mut pending = order.authorizations();
    while let Some(authorization) = pending.next().await {
        let mut authorization = authorization.map_err(told)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let host = authorization.identifier().to_string();
        let mut challenge = authorization
            .challenge(kind.clone())
            .ok_or_else(|| CertError::NoChallenge(word, host.clone()))?;
        let answer = challenge.key_authorization();
        match kind {
            ChallengeType::Http01 => {
                proofs.put(attempt.shelf.token(&challenge.token)?, answer.as_str().as_bytes())?;
            }
            _ => proofs.put(attempt.shelf.proof(&host), proof_by_tls(&host, &answer)?.as_bytes())?,
        }
        attempt.announce.announce().await.map_err(CertError::Announce)?;
        challenge.set_ready().await.map_err(told)?;
    }
    Ok(())
}

/// The certificate that TLS-ALPN-01 asks for (RFC 8737), with its key.
fn proof_by_tls(host: &str, answer: &KeyAuthorization) -> Result<String, CertError> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(answer.digest().as_ref())];
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

/// What the authority found wrong with the proofs.
async fn refused(order: &mut Order) -> CertError {
    let mut pending = order.authorizations();
    while let Some(Ok(authorization)) = pending.next().await {
        let host = authorization.identifier().to_string();
        if let Some(problem) = authorization.challenges.iter().find_map(|found| found.error.as_ref()) {
            return CertError::Acme(format!(
                "{host} could not be proved: {}",
                one_line(&problem.to_string())
            ));
        }
    }
    CertError::Acme("the authority refused without saying why".to_owned())
}

pub(crate) fn told(error: Error) -> CertError {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    CertError::Acme(one_line(&text))
}

/// What others say goes into a list of one line each.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

/// Proofs that lie on the shelf; they are removed when dropped.
struct Proofs {
    files: Vec<PathBuf>,
}

impl Proofs {
    fn put(&mut self, path: PathBuf, content: &[u8]) -> Result<(), CertError> {
        shelf::write(&path, content)?;
        self.files.push(path);
        Ok(())
    }
}

impl Drop for Proofs {
    fn drop(&mut self) {
        for path in &self.files {
            // One that stays proves nothing to anybody.
            let _ = shelf::remove(path);
        }
    }
}
