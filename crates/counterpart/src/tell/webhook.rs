//! A request is sent: the notice as JSON, signed, so that the receiver knows from whom it is.

use std::time::Duration;

use counterpart_node::notices::Notice;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use ureq::Agent;

/// A receiver gets so much time to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Where requests go.
pub struct Webhook {
    url: String,
    secret: Option<Vec<u8>>,
    agent: Agent,
}

impl Webhook {
    /// Requests to this URL, signed if there is a secret.
    pub fn new(url: String, secret: Option<Vec<u8>>) -> Webhook {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(LIMIT))
            .max_redirects(0)
            // An alarm goes where the operator said, not through what the environment names.
            .proxy(None)
            .user_agent(concat!("counterpart/", env!("CARGO_PKG_VERSION")));
        Webhook { url, secret, agent: Agent::new_with_config(config.build()) }
    }

    /// Sends a notice. Told is what the receiver answers with a success.
    pub fn send(&self, notice: &Notice) -> Result<(), String> {
        let body = notice.body.to_string();
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(secret) = &self.secret {
            request = request.header("x-counterpart-signature", signature(secret, body.as_bytes()));
        }
        let answer = request.send(&body).map_err(|error| error.to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the receiver answered {status}")),
        }
    }
}

/// `sha256=` and the HMAC-SHA256 of the body in hexadecimal digits, as many receivers expect it.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key may have any length");
    mac.update(body);
    let digits =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256={digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), expected);
    }
}
