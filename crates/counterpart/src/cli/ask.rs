//! Finding the partner that an operator means by its identity, URL or address.

use serde_json::Value;

use super::{client::Client, view};
use crate::exit::{Exit, Failure};

/// The identity of the partner that `meant` names, by asking the server for its partners.
///
/// An identity is taken as it is, so that a partner can be named that the status does not show.
pub fn partner_id(client: &Client, meant: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(meant) = meant else { return Ok(None) };
    if meant.len() == 16 && meant.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Some(meant.to_owned()));
    }
    let status = client.status()?;
    let wanted = meant.trim_end_matches('/');
    let matches = |partner: &&Value| {
        [view::client_url(partner), view::partner_address(partner)]
            .into_iter()
            .flatten()
            .any(|known| known == wanted)
    };
    let found = view::partners(&status).iter().find(matches).and_then(view::server);
    found.map(|id| Some(id.to_owned())).ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            "UNKNOWN_PARTNER",
            format!("{} has no partner {meant}", client.url()),
            "give a partner's identity, URL or partner address as `counterpart status` shows it",
        )
    })
}
