//! The bodies of requests, as operators write them. Unknown fields are refused everywhere, because a misspelt
//! `replace` or `safety` that is silently ignored does something else than what was asked.

use counterpart_core::{ServerId, SessionId};
use counterpart_node::operations::{JoinRequest, PartnerRequest};
use serde::Deserialize;

use crate::problem::Problem;

/// `POST /api/v1/databases`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDatabase {
    /// Kept as text here, so that a bad name is answered with its own code.
    pub name: String,
}

/// `POST /api/v1/tokens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    pub role: String,
    /// Those it is limited to; all without.
    #[serde(default)]
    pub databases: Option<Vec<String>>,
    /// How long it is good; without, until it is revoked.
    #[serde(default)]
    pub lifetime_seconds: Option<u64>,
}

/// `POST /api/v1/users`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    pub name: String,
    pub role: String,
    /// Those it is limited to; all without.
    #[serde(default)]
    pub databases: Option<Vec<String>>,
    pub password: String,
}

/// `POST /api/v1/users/{user}/password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub password: String,
}

/// `POST /api/v1/login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub name: String,
    pub password: String,
    /// How long the login is good; 12 hours without.
    #[serde(default)]
    pub lifetime_seconds: Option<u64>,
}

/// `POST /api/v1/mirroring/probe`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub partner_address: String,
}

/// `POST /api/v1/mirroring/check-join`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckJoin {
    pub replace: bool,
    /// Bytes that the principal's databases take.
    pub bytes: u64,
    /// Where the principal is reached, so that data of its own origin is recognized.
    #[serde(default)]
    pub principal_partner_address: Option<String>,
}

/// `POST /api/v1/mirroring/join`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    session: SessionId,
    principal: ServerId,
    principal_partner_address: String,
    principal_client_url: String,
    #[serde(default)]
    replace: bool,
}

impl Join {
    /// The request in the node's words.
    pub fn checked(self) -> Result<JoinRequest, Problem> {
        Ok(JoinRequest {
            session: self.session,
            principal: self.principal,
            principal_partner_address: host_and_port(self.principal_partner_address)?,
            principal_client_url: client_url(self.principal_client_url)?,
            replace: self.replace,
        })
    }
}

/// `POST /api/v1/mirroring/partners`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    session: SessionId,
    server: ServerId,
    partner_address: String,
    client_url: String,
    safety: Option<String>,
}

impl Partner {
    /// The request in the node's words.
    pub fn checked(self) -> Result<PartnerRequest, Problem> {
        if let Some(other) = self.safety.as_deref().filter(|s| !matches!(*s, "full" | "off")) {
            return Err(Problem::new(
                "INVALID_SAFETY",
                format!("{other:?} is not a safety"),
                "use full or off",
            ));
        }
        Ok(PartnerRequest {
            session: self.session,
            server: self.server,
            partner_address: host_and_port(self.partner_address)?,
            client_url: client_url(self.client_url)?,
            safety: self.safety,
        })
    }
}

/// `POST /api/v1/mirroring/failover`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failover {
    #[serde(default)]
    pub to: Option<ServerId>,
}

/// `POST /api/v1/mirroring/suspend` and `resume`, and the query of `DELETE /api/v1/mirroring`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhichPartner {
    #[serde(default)]
    pub partner: Option<ServerId>,
}

/// `POST /api/v1/mirroring/promotion`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// Also where the server says that something speaks against it.
    #[serde(default)]
    pub force: bool,
}

/// A request that takes no fields; an empty body and `{}` are the same.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Checks that `text` names a host and a port; whether anybody answers there is for the node to find out.
pub fn host_and_port(text: String) -> Result<String, Problem> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@')
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if good {
        return Ok(text);
    }
    Err(Problem::new(
        "INVALID_ADDRESS",
        format!("{text:?} is not a partner address"),
        "give HOST:PORT, for example 10.0.0.2:6481",
    ))
}

/// Checks that `text` can be where clients connect: it is shown to operators and clients, and requests go there.
fn client_url(text: String) -> Result<String, Problem> {
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let good = authority.is_some_and(|authority| {
        !authority.is_empty()
            && authority.chars().all(|c| c.is_ascii_graphic() && !"\"<>\\@?#".contains(c))
    });
    if good {
        return Ok(text);
    }
    Err(Problem::new(
        "INVALID_ADDRESS",
        format!("{text:?} is not a client URL"),
        "give http://HOST:PORT, for example http://10.0.0.2:6480",
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_url_is_one_and_no_more() {
        for good in ["http://10.0.0.2:6480", "https://db.example", "http://[::1]:6480"] {
            assert!(client_url(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "db:6480",
            "http://",
            "javascript:alert(1)",
            "http://a\u{1b}[2J",
            "http://a b",
            "http://a\n",
        ] {
            assert!(client_url(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_address_that_is_accepted_is_a_host_and_a_port(text in ".{0,40}") {
            if let Ok(address) = host_and_port(text.clone()) {
                let (host, port) = address.rsplit_once(':').unwrap();
                prop_assert_eq!(&address, &text);
                prop_assert!(!host.is_empty() && port.parse::<u16>().unwrap() > 0);
            }
        }

        #[test]
        fn hosts_with_ports_are_accepted(host in "[a-z0-9.-]{1,30}", port in 1u16..) {
            let address = format!("{host}:{port}");
            prop_assert!(host_and_port(address).is_ok());
        }

        #[test]
        fn no_body_makes_the_readers_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Random bytes are no request; all that matters is that both say so.
            prop_assert!(serde_json::from_slice::<Join>(&body).map(Join::checked).is_err());
            prop_assert!(serde_json::from_slice::<Partner>(&body).map(Partner::checked).is_err());
        }
    }
}
