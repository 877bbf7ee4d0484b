//! Tokens that somebody else has signed, as libSQL's server (sqld) takes them: JWTs with Ed25519.
//!
//! ```text
//! header     {"alg":"EdDSA"}             no other algorithm, whatever the token says
//! claims     exp, nbf   seconds of UTC since 1970, with a minute's leeway
//!            p          {"ro":{"ns":[…]},"rw":{…},"roa":{…},"rwa":{…}}: rights by namespace; then `a` and `id` say nothing
//!            a          "ro", "roa" or "rw": reads, or writes as well; "rw" without
//!            id         the only namespace; all without
//!            sub        who it is, for logs
//! ```
//!
//! That is how `libsql-server/src/auth` of <https://github.com/tursodatabase/libsql> reads them: `user_auth_strategies/jwt.rs` has the claims
//! and what is assumed without them, `authorized.rs` the rights by namespace, `parsers.rs` the two forms of a key. A namespace is a
//! database here. One thing is stricter: `nbf` is looked at. Rights to attach (`roa`, `rwa`) are those to read and to write, as there is
//! nothing to attach.
//!
//! Nobody is an operator or an admin by such a token, and it cannot be revoked: it ends with `exp`, or with the key.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use counterpart_core::DatabaseName;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

use crate::{Credential, Grant, Identity, Refused};

/// Bytes of a token. Nobody sends more in a header.
const LONGEST: usize = 8 << 10;

/// Seconds that clocks may differ by, as sqld has it.
const LEEWAY: f64 = 60.0;

/// Letters of a `sub` that are shown.
const NAME: usize = 63;

/// What stands before the 32 bytes of an Ed25519 key in the DER of a PEM file (RFC 8410, section 4).
const DER_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// base64url; padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a file holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtKeyError {
    /// It says that it holds a private one, which has no business on a server.
    #[error("it holds a private key; the server needs the public one")]
    Private,
    /// It is neither of the two forms.
    #[error("it holds neither the PEM of an Ed25519 public key nor 32 bytes in base64")]
    Form,
    /// There is nothing in it.
    #[error("it holds no key")]
    Empty,
}

/// The public keys of those who may sign tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtKeys(Vec<VerifyingKey>);

/// What a token says, once its signature is known to be good.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    identity: Arc<Identity>,
    not_before: Option<f64>,
    expires: Option<f64>,
}

impl Claimed {
    /// Who shows the token, at this second of UTC since 1970.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn who(&self, now: u64) -> Result<&Arc<Identity>, Refused> {
        let now = now as f64;
        if self.expires.is_some_and(|expires| now >= expires + LEEWAY) {
            return Err(Refused::Expired);
        }
        if self.not_before.is_some_and(|not_before| now < not_before - LEEWAY) {
            return Err(Refused::Early);
        }
        Ok(&self.identity)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    a: Option<Access>,
    id: Option<String>,
    p: Option<BTreeMap<Access, Scopes>>,
    sub: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Access {
    Ro,
    Roa,
    Rw,
    Rwa,
}

impl Access {
    fn writes(self) -> bool {
        matches!(self, Access::Rw | Access::Rwa)
    }
}

#[derive(Default, Deserialize)]
struct Scopes {
    ns: Option<Vec<String>>,
}

impl JwtKeys {
    /// The keys in a file: PEM blocks, or lines of base64, one key each.
    ///
    /// # Errors
    /// [`JwtKeyError`].
    pub fn parse(text: &str) -> Result<JwtKeys, JwtKeyError> {
        let mut keys = Vec::new();
        let mut block: Option<String> = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match (line, &mut block) {
                ("-----BEGIN PUBLIC KEY-----", None) => block = Some(String::new()),
                ("-----END PUBLIC KEY-----", Some(body)) => {
                    let der = decoded(body).ok_or(JwtKeyError::Form)?;
                    keys.push(key(der.strip_prefix(&DER_HEAD).ok_or(JwtKeyError::Form)?)?);
                    block = None;
                }
                (line, _) if line.contains("PRIVATE KEY") => return Err(JwtKeyError::Private),
                (line, Some(body)) => body.push_str(line),
                (line, None) => keys.push(key(&decoded(line).ok_or(JwtKeyError::Form)?)?),
            }
        }
        match (block, keys.is_empty()) {
            (Some(_open), _) => Err(JwtKeyError::Form),
            (None, true) => Err(JwtKeyError::Empty),
            (None, false) => Ok(JwtKeys(keys)),
        }
    }

    /// Whether something has the form of such a token: none of ours has.
    #[must_use]
    pub fn is_one(shown: &str) -> bool {
        shown.split('.').count() == 3
    }

    /// What a token says, if one of the keys has signed it. When it is good is looked at later.
    ///
    /// # Errors
    /// [`Refused::Unknown`], and nothing about why: who forges tokens learns nothing from it.
    pub fn verify(&self, token: &str) -> Result<Claimed, Refused> {
        let claims = self.claims(token).ok_or(Refused::Unknown)?;
        let grant = claims.grant().ok_or(Refused::Unknown)?;
        let sub = claims.sub.unwrap_or_default();
        let name: String = sub.chars().filter(|c| !c.is_control()).take(NAME).collect();
        let name = if name.is_empty() { "without a name".to_owned() } else { name };
        Ok(Claimed {
            identity: Arc::new(Identity { name, by: Credential::Jwt, grant }),
            not_before: claims.nbf,
            expires: claims.exp,
        })
    }

    fn claims(&self, token: &str) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        if header.alg != "EdDSA" || header.crit.is_some() {
            return None;
        }
        let signature = Signature::from_slice(&decoded(signature)?).ok()?;
        let is_signed =
            |key: &VerifyingKey| key.verify_strict(signed.as_bytes(), &signature).is_ok();
        if !self.0.iter().any(is_signed) {
            return None;
        }
        serde_json::from_slice(&decoded(claims)?).ok()
    }
}

impl Claims {
    /// What it allows; nothing if that is nothing.
    fn grant(&self) -> Option<Grant> {
        let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
        match (&self.p, &self.id) {
            (Some(rights), _) => {
                for (access, scopes) in rights {
                    let names = if access.writes() { &mut writes } else { &mut reads };
                    names.extend(scopes.ns.iter().flatten().filter_map(|name| database(name)));
                }
            }
            (None, Some(only)) => {
                let names = if self.writes() { &mut writes } else { &mut reads };
                names.extend(database(only));
            }
            (None, None) => return Some(Grant::of_all(self.writes())),
        }
        Grant::of_these(reads, writes)
    }

    fn writes(&self) -> bool {
        self.a.is_none_or(Access::writes)
    }
}

/// A namespace that is no name of a database is none that is here.
fn database(name: &str) -> Option<DatabaseName> {
    name.parse().ok()
}

/// Either alphabet of base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace('+', "-").replace('/', "_")).ok()
}

fn key(bytes: &[u8]) -> Result<VerifyingKey, JwtKeyError> {
    let bytes = bytes.try_into().map_err(|_| JwtKeyError::Form)?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| JwtKeyError::Form)
}

#[cfg(test)]
mod tests;
