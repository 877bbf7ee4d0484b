//! Tokens that sqld would take are taken, and mean the same; nothing else is, whatever it looks like.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Need, Role};

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys(seeds: &[u8]) -> JwtKeys {
    let line = |seed: &u8| URL_SAFE_NO_PAD.encode(signer(*seed).verifying_key().as_bytes());
    JwtKeys::parse(&seeds.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap()
}

fn token_with(header: &Value, claims: &Value, seed: u8) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = signer(seed).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn token(claims: &Value) -> String {
    token_with(&json!({ "alg": "EdDSA", "typ": "JWT" }), claims, 1)
}

/// What a token allows of reading and writing in `foo`, `bar` and `other`: `rwrwrw` is everything.
fn allows(claims: &Value) -> String {
    let claimed = keys(&[1]).verify(&token(claims)).unwrap();
    let grant = &claimed.who(1000).unwrap().grant;
    assert!(!grant.allows(Need::Operate) && !grant.allows(Need::Administer));
    let mut found = String::new();
    for name in ["foo", "bar", "other"] {
        let name = name.parse().unwrap();
        found.push(if grant.allows(Need::Read(&name)) { 'r' } else { '-' });
        found.push(if grant.allows(Need::Write(&name)) { 'w' } else { '-' });
    }
    found
}

#[test]
fn claims_mean_what_they_mean_to_sqld() {
    for (claims, allowed) in [
        (json!({}), "rwrwrw"),
        (json!({ "a": "rw" }), "rwrwrw"),
        (json!({ "a": "ro" }), "r-r-r-"),
        (json!({ "a": "roa" }), "r-r-r-"),
        (json!({ "id": "foo" }), "rw----"),
        (json!({ "id": "foo", "a": "ro" }), "r-----"),
        (json!({ "p": { "rw": { "ns": ["foo"] } } }), "rw----"),
        (json!({ "id": "x", "a": "rw", "p": { "ro": { "ns": ["foo"] } } }), "r-----"),
        (json!({ "p": { "rw": { "ns": ["foo"] }, "roa": { "ns": ["bar"] } } }), "rwr---"),
        (json!({ "p": { "rwa": { "ns": ["foo", "A/b"] }, "ro": { "ns": ["foo"] } } }), "rw----"),
    ] {
        assert_eq!(allows(&claims), allowed, "{claims}");
    }
    // Rights to nothing let nobody in.
    for claims in [
        json!({ "p": {} }),
        json!({ "p": { "rw": {} } }),
        json!({ "p": { "ro": { "ns": [] } } }),
        json!({ "id": "No Database" }),
    ] {
        assert_eq!(keys(&[1]).verify(&token(&claims)), Err(Refused::Unknown), "{claims}");
    }
    // Nor does what cannot be read.
    for claims in [
        json!([]),
        json!({ "a": "admin" }),
        json!({ "p": { "ddl": { "ns": ["foo"] } } }),
        json!({ "p": { "rw": ["foo"] } }),
        json!({ "exp": "never" }),
        json!({ "id": 7 }),
    ] {
        assert_eq!(keys(&[1]).verify(&token(&claims)), Err(Refused::Unknown), "{claims}");
    }
}

#[test]
fn a_token_is_good_in_its_time_give_or_take_a_minute() {
    let who = |claims: Value, now| {
        let claimed = keys(&[1]).verify(&token(&claims)).unwrap();
        claimed.who(now).map(|identity| identity.to_string())
    };
    let name = || Ok("jwt anna".to_owned());
    let claims = json!({ "exp": 1000, "nbf": 500, "sub": "an\nna" });
    assert_eq!(who(claims.clone(), 700), name());
    assert_eq!(who(claims.clone(), 1059), name());
    assert_eq!(who(claims.clone(), 1060), Err(Refused::Expired));
    assert_eq!(who(claims.clone(), 440), name());
    assert_eq!(who(claims, 439), Err(Refused::Early));
    assert_eq!(who(json!({ "exp": 1000.5 }), u64::MAX), Err(Refused::Expired));
    assert!(who(json!({}), u64::MAX).is_ok());
}

#[test]
fn only_eddsa_is_taken_and_only_of_those_who_may_sign() {
    let claims = json!({ "a": "rw" });
    assert!(keys(&[2, 1]).verify(&token(&claims)).is_ok());
    assert_eq!(keys(&[2, 3]).verify(&token(&claims)), Err(Refused::Unknown));
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "eddsa" }),
        json!({ "alg": "ES256" }),
        json!({}),
        json!({ "alg": "EdDSA", "crit": ["exp"] }),
    ] {
        let forged = token_with(&header, &claims, 1);
        assert_eq!(keys(&[1]).verify(&forged), Err(Refused::Unknown), "{header}");
    }
    // Nothing signed at all, and what HMAC makes of a public key.
    let good = token(&claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for forged in [format!("{signed}."), format!("{signed}.AAAA"), signed.to_owned(), String::new()]
    {
        assert_eq!(keys(&[1]).verify(&forged), Err(Refused::Unknown), "{forged}");
    }
    let long = token(&json!({ "sub": "x".repeat(LONGEST) }));
    assert_eq!(keys(&[1]).verify(&long), Err(Refused::Unknown));
}

#[test]
fn a_key_is_read_in_the_forms_that_sqld_reads() {
    let public = *signer(1).verifying_key().as_bytes();
    let der = STANDARD.encode([&DER_HEAD[..], &public].concat());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n");
    for text in [
        pem.clone(),
        pem.replace('\n', "\r\n"),
        URL_SAFE_NO_PAD.encode(public),
        STANDARD.encode(public) + "\n",
    ] {
        assert_eq!(JwtKeys::parse(&text), Ok(keys(&[1])), "{text}");
    }
    let two = format!("{pem}\n{pem}");
    assert_eq!(JwtKeys::parse(&two), Ok(keys(&[1, 1])));
    let private = pem.replace("PUBLIC", "PRIVATE");
    assert_eq!(JwtKeys::parse(&private), Err(JwtKeyError::Private));
    assert_eq!(JwtKeys::parse(" \n"), Err(JwtKeyError::Empty));
    for text in [
        "AAAA".to_owned(),
        pem.replace(&der, &der[4..]),
        pem.replace("-----END PUBLIC KEY-----", ""),
        "-----BEGIN CERTIFICATE-----".to_owned(),
    ] {
        assert_eq!(JwtKeys::parse(&text), Err(JwtKeyError::Form), "{text}");
    }
}

/// The example of RFC 8037, appendix A.4, whose payload is no claims: the signature is good, and it is refused.
#[test]
fn the_signature_of_the_standards_example_is_known() {
    let keys = JwtKeys::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = Signature::from_slice(&decoded(signature).unwrap()).unwrap();
    assert!(keys.0[0].verify_strict(signed.as_bytes(), &signature).is_ok());
    assert!(keys.claims(&format!("{signed}.{}", BASE64.encode(signature.to_bytes()))).is_none());
}

#[test]
fn a_grant_of_a_token_is_a_writers_or_a_readers() {
    let role =
        |claims: Value| keys(&[1]).verify(&token(&claims)).unwrap().who(0).unwrap().grant.role();
    assert_eq!(role(json!({})), Role::Writer);
    assert_eq!(role(json!({ "a": "ro" })), Role::Reader);
    assert_eq!(role(json!({ "p": { "ro": { "ns": ["foo"] } } })), Role::Reader);
    let both = json!({ "p": { "ro": { "ns": ["foo"] }, "rw": { "ns": ["bar"] } } });
    assert_eq!(role(both), Role::Writer);
}

proptest! {
    #[test]
    fn nothing_that_somebody_invents_is_taken(text in "\\PC{0,120}") {
        prop_assert!(keys(&[1]).verify(&text).is_err());
        let _read = JwtKeys::parse(&text);
    }

    #[test]
    fn nothing_in_three_parts_is_taken_unsigned(
        header in "\\PC{0,40}", claims in "\\PC{0,40}", signature in any::<[u8; 64]>(),
    ) {
        let part = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
        for header in [header.as_str(), r#"{"alg":"EdDSA"}"#] {
            let forged = [header.as_bytes(), claims.as_bytes(), &signature].map(part).join(".");
            prop_assert!(keys(&[1]).verify(&forged).is_err());
        }
    }

    /// One bit of a good token changed.
    #[test]
    fn a_token_that_was_changed_is_not_taken(at in any::<prop::sample::Index>(), bit in 0u8..7) {
        let good = token(&json!({ "exp": 1000, "p": { "ro": { "ns": ["foo"] } } }));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            // The last character of a signature has bits that mean nothing.
            let same = decoded(changed.rsplit_once('.').map_or("", |(_, s)| s))
                == decoded(good.rsplit_once('.').unwrap().1)
                && changed.rsplit_once('.').map(|(s, _)| s) == good.rsplit_once('.').map(|(s, _)| s);
            prop_assert_eq!(keys(&[1]).verify(&changed).is_ok(), same);
        }
    }

    /// Whatever is signed by somebody who may: it is read or refused, and never more than writing.
    #[test]
    fn signed_claims_of_any_form_make_nobody_an_operator(claims in "\\PC{0,80}") {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(signer(1).sign(signed.as_bytes()).to_bytes());
        if let Ok(claimed) = keys(&[1]).verify(&format!("{signed}.{signature}")) {
            prop_assert!(!claimed.identity.grant.allows(Need::Operate));
        }
    }
}
