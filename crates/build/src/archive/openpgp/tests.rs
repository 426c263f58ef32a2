//! Against documents that GnuPG signed, and against everything that is nearly one of them.

use super::*;
use proptest::prelude::*;

const RSA_KEY: &[u8] = include_bytes!("fixtures/rsa.gpg");
const ED25519_KEY: &[u8] = include_bytes!("fixtures/ed25519.asc");
const EXPIRED_KEY: &[u8] = include_bytes!("fixtures/expired.gpg");
const REVOKED_KEY: &[u8] = include_bytes!("fixtures/revoked.gpg");
const RSA: &str = include_str!("fixtures/rsa.txt");
const ED25519: &str = include_str!("fixtures/ed25519.txt");
const BOTH: &str = include_str!("fixtures/both.txt");
const EXPIRED: &str = include_str!("fixtures/expired.txt");
const SHA1: &str = include_str!("fixtures/sha1.txt");
/// 2026-01-01 01:00, when the fixtures were signed.
const SIGNED_AT: u64 = 1_767_229_200;
const LATER: u64 = SIGNED_AT + 90 * 24 * 3600;
const TEXT: &str = "Origin: Test\n- dash\n-----BEGIN nothing\n\nlast line";

fn ring_of(files: &[&[u8]]) -> Keyring {
    let mut keyring = Keyring::default();
    for file in files {
        keyring.add(file).unwrap();
    }
    keyring
}

#[test]
fn what_gnupg_signed_is_believed() {
    for (key, document) in [(RSA_KEY, RSA), (ED25519_KEY, ED25519), (RSA_KEY, BOTH), (ED25519_KEY, BOTH)] {
        let text = ring_of(&[key]).verify_clearsigned(document, LATER).unwrap();
        assert_eq!(text, TEXT);
    }
}

#[test]
fn lines_that_end_otherwise_change_nothing() {
    let keyring = ring_of(&[RSA_KEY]);
    assert_eq!(keyring.verify_clearsigned(&RSA.replace('\n', "\r\n"), LATER).unwrap(), TEXT);
    assert_eq!(
        keyring.verify_clearsigned(&RSA.replace("last line  \n", "last line\n"), LATER).unwrap(),
        TEXT
    );
}

#[test]
fn a_changed_text_is_refused() {
    let keyring = ring_of(&[RSA_KEY, ED25519_KEY]);
    for document in [RSA, ED25519, BOTH] {
        let changed = document.replace("last line", "lost line");
        assert_eq!(keyring.verify_clearsigned(&changed, LATER), Err(OpenPgpError::Bad));
    }
}

#[test]
fn other_keys_are_strangers() {
    let error = ring_of(&[ED25519_KEY]).verify_clearsigned(RSA, LATER).unwrap_err();
    assert!(matches!(&error, OpenPgpError::Untrusted(who) if who.len() == 16), "{error}");
    assert!(matches!(Keyring::default().verify_clearsigned(RSA, LATER), Err(OpenPgpError::Untrusted(_))));
}

#[test]
fn time_counts() {
    let keyring = ring_of(&[EXPIRED_KEY, RSA_KEY]);
    assert!(keyring.verify_clearsigned(EXPIRED, SIGNED_AT).is_ok());
    assert!(matches!(keyring.verify_clearsigned(EXPIRED, LATER), Err(OpenPgpError::NotNow(_))));
    let early = SIGNED_AT - 2 * CLOCK_SKEW_SECONDS;
    assert!(matches!(keyring.verify_clearsigned(RSA, early), Err(OpenPgpError::NotNow(_))));
}

#[test]
fn revoked_keys_and_weak_digests_do_not_count() {
    assert_eq!(Keyring::default().add(REVOKED_KEY), Ok(0));
    let error = ring_of(&[RSA_KEY]).verify_clearsigned(SHA1, LATER).unwrap_err();
    assert!(matches!(error, OpenPgpError::Unsupported(_)), "{error}");
}

#[test]
fn nothing_may_stand_around_what_is_signed() {
    let keyring = ring_of(&[RSA_KEY]);
    let end = "-----END PGP SIGNATURE-----\n";
    for (what, document) in [
        ("before", format!("Suite: evil\n{RSA}")),
        ("after", format!("{RSA}Suite: evil\n")),
        ("twice", format!("{RSA}{RSA}")),
        ("header", RSA.replacen("Hash: SHA512\n", "Hash: SHA512\nSuite: evil\n", 1)),
        ("unescaped", RSA.replace("- - dash", "- dash\n-evil")),
        ("no end", RSA.replace(end, "")),
        ("no signature", RSA.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_owned()),
        ("empty", String::new()),
    ] {
        assert!(keyring.verify_clearsigned(&document, LATER).is_err(), "{what}");
    }
}

#[test]
fn a_subkey_counts_only_when_it_is_bound() {
    // The primary key of the RSA fixture may only certify; its subkey signs.
    let packets = packet::packets(RSA_KEY).unwrap();
    assert_eq!(key::signing_keys(&packets).len(), 1);
    let unbound: Vec<_> = packets[..packets.len() - 1].to_vec();
    assert!(key::signing_keys(&unbound).is_empty());
}

#[test]
fn the_built_in_keys_are_debians() {
    let names: Vec<String> =
        crate::archive::debian_keyring().keys.iter().map(|key| hex(&key.fingerprint)).collect();
    for known in [
        "4CB50190207B4758A3F73A796ED0E7B82643E131",
        "B8E5F13176D2A7A75220028078DBA3BC47EF2265",
        "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
    ] {
        assert!(names.iter().any(|name| name == known), "{known} is not among {names:?}");
    }
    // Three of the six files hold a signing subkey beside a primary key that signs too.
    assert!(names.len() >= 6, "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_byte_of_a_key_can_be_changed_unnoticed(at in 0usize..1923, bit in 0u8..8) {
        let mut key = RSA_KEY.to_vec();
        key[at] ^= 1 << bit;
        let mut keyring = Keyring::default();
        // It is refused, or leaves no key, or the same key; never another one that verifies.
        if keyring.add(&key).is_ok() {
            let original = ring_of(&[RSA_KEY]);
            for key in &keyring.keys {
                prop_assert_eq!(key.id(), original.keys[0].id());
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Keyring::default().add(&bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = ring_of(&[RSA_KEY]).verify_clearsigned(&format!("{TEXT_BEGIN}\n\n{text}\n{SIGNATURE_BEGIN}\n\n{text}"), LATER);
        if let Ok(packets) = packet::packets(&bytes) {
            for packet in packets {
                let _ = Signature::parse(packet.body);
            }
        }
    }

    #[test]
    fn no_character_of_a_document_can_be_changed_unnoticed(at in 50usize..600, to in "[a-zA-Z0-9]") {
        let mut document = RSA.to_owned();
        if at + 1 < document.len() && document.is_char_boundary(at) && document.is_char_boundary(at + 1) {
            document.replace_range(at..at + 1, &to);
            if let Ok(text) = ring_of(&[RSA_KEY]).verify_clearsigned(&document, LATER) {
                prop_assert_eq!(text, TEXT);
            }
        }
    }
}
