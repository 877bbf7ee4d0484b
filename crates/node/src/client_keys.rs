//! Which TLS keys are shown to clients: this server's own, as status tells it, and those of its mirrors, as they told.
//!
//! Nothing here makes or checks a key; it is about knowing whom to take for a partner.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use counterpart_core::{Fingerprint, ServerId};
use serde_json::{Value, json};

/// The certificate that this server shows its clients at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of its public key: stays when the certificate is renewed.
    pub key: Fingerprint,
    /// SHA-256 of the whole certificate, as browsers show it.
    pub certificate: Fingerprint,
    /// Whether this server made it itself.
    pub self_signed: bool,
}

impl ShownCertificate {
    /// As status tells it.
    pub(crate) fn show(&self) -> Value {
        json!({
            "fingerprint": self.key.to_string(),
            "certificate_fingerprint": self.certificate.to_string(),
            "self_signed": self.self_signed,
        })
    }
}

/// The keys that partners told since this process began, the newest of each.
#[derive(Clone, Debug, Default)]
pub struct ClientKeys(Arc<Mutex<BTreeMap<ServerId, Fingerprint>>>);

impl ClientKeys {
    /// A partner said which key it shows.
    pub(crate) fn note(&self, server: ServerId, key: Fingerprint) {
        self.0.lock().expect("no holder of this lock panics").insert(server, key);
    }

    /// Whether a partner said that it shows this key.
    #[must_use]
    pub fn contains(&self, key: &Fingerprint) -> bool {
        self.0.lock().expect("no holder of this lock panics").values().any(|known| known == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partner_is_known_by_the_key_that_it_told_last() {
        let keys = ClientKeys::default();
        let [old, new] = [1, 2].map(|byte| Fingerprint([byte; 32]));
        assert!(!keys.contains(&old));
        keys.note(ServerId(7), old);
        assert!(keys.contains(&old));
        keys.note(ServerId(7), new);
        assert!(keys.contains(&new) && !keys.contains(&old));
    }
}
