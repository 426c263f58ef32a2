//! The account with an authority: made once for each directory, kept with its key.

use super::http::Client;
use super::told;
use crate::CertError;
use crate::shelf;
use instant_acme::{Account, AccountCredentials, NewAccount};
use ring::digest::{SHA256, digest};
use std::path::{Path, PathBuf};

/// The account for this directory; made if there is none.
pub async fn open(
    accounts: &Path,
    url: &str,
    email: Option<&str>,
    client: Client,
) -> Result<Account, CertError> {
    let path = file(accounts, url);
    let builder = Account::builder_with_http(Box::new(client));
    if path.exists() {
        let kept = shelf::read(&path)?;
        let unreadable =
            |error: serde_json::Error| CertError::Account { path: path.clone(), reason: error.to_string() };
        let credentials: AccountCredentials = serde_json::from_slice(&kept).map_err(unreadable)?;
        return builder.from_credentials(credentials).await.map_err(told);
    }
    let contact = email.map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    // That the terms are agreed to was declared, or nothing would be asked for.
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, url.to_owned(), None).await.map_err(told)?;
    let kept = serde_json::to_vec(&credentials).map_err(|error| CertError::Acme(error.to_string()))?;
    shelf::write(&path, &kept)?;
    Ok(account)
}

fn file(accounts: &Path, url: &str) -> PathBuf {
    let hash = digest(&SHA256, url.as_bytes());
    let name: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    accounts.join(format!("account-{name}.json"))
}
