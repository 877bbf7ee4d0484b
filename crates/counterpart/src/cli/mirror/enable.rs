//! The two changes that start mirroring, and their undoing: join on the mirror, enable on the principal.

use counterpart_core::SessionId;
use serde_json::json;

use super::{super::view, check::Side};
use crate::exit::{Exit, Failure};

const JOIN: &str = "/api/v1/mirroring/join";

/// Asks the mirror to join.
pub fn join(
    session: SessionId,
    principal: &Side,
    mirror: &Side,
    replace: bool,
) -> Result<(), Failure> {
    let body = json!({
        "session": session,
        "principal": principal.server,
        "principal_partner_address": principal.partner_address,
        "principal_client_url": principal.client_url,
        "replace": replace,
    });
    let joined = mirror.client.post(JOIN, &body);
    joined.map(|_done| ()).map_err(|failure| match failure.exit {
        Exit::Refused => failure,
        // It may have joined before the answer was lost.
        _ => undone(failure, cancel(session, mirror)),
    })
}

/// Asks the principal to take the mirror that has joined. If it does not, the join is taken back.
pub fn enable(
    session: SessionId,
    principal: &Side,
    mirror: &Side,
    safety: Option<&str>,
) -> Result<(), Failure> {
    let body = json!({
        "session": session,
        "server": mirror.server,
        "partner_address": mirror.partner_address,
        "client_url": mirror.client_url,
        "safety": safety,
    });
    let enabled = principal.client.post("/api/v1/mirroring/partners", &body);
    enabled.map(|_done| ()).map_err(|failure| match failure.exit {
        Exit::Refused => undone(failure, cancel(session, mirror)),
        // It may have enabled before the answer was lost.
        _ => undone(failure, disable(session, principal, mirror)),
    })
}

/// Takes everything back: the principal forgets the mirror, the mirror its join.
pub fn disable(session: SessionId, principal: &Side, mirror: &Side) -> Result<(), Failure> {
    // One that was a partner before stays one: it was to be seeded anew, and forgetting it would change more.
    let before = view::partner(&principal.status, &mirror.server.to_string()).is_some();
    let stopped = if before { Ok(()) } else { forget(principal, mirror) };
    cancel(session, mirror).and(stopped)
}

fn forget(principal: &Side, mirror: &Side) -> Result<(), Failure> {
    let path = format!("/api/v1/mirroring?partner={}", mirror.server);
    match principal.client.delete(&path) {
        Ok(_done) => Ok(()),
        // It does not know the mirror: that is what was wanted.
        Err(failure) if failure.exit == Exit::Refused => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn cancel(session: SessionId, mirror: &Side) -> Result<(), Failure> {
    match mirror.client.delete(JOIN) {
        Ok(_done) => Ok(()),
        Err(failure) if failure.exit == Exit::Refused => leave(session, mirror, failure),
        Err(failure) => Err(failure),
    }
}

/// There is no join to take back: it never happened, or it is too late. The mirror's own word decides.
///
/// A server that was in the session before is left alone: a deposed principal that were let go from it would take
/// writes of its own.
fn leave(session: SessionId, mirror: &Side, refused: Failure) -> Result<(), Failure> {
    let session = session.to_string();
    let is_in = |status| view::session(status) == Some(session.as_str());
    if is_in(&mirror.status) {
        return Err(refused);
    }
    if !is_in(&mirror.client.status()?) {
        return Ok(());
    }
    mirror.client.delete("/api/v1/mirroring").map(|_done| ())
}

/// `failure`, with what became of the undoing.
pub fn undone(failure: Failure, undoing: Result<(), Failure>) -> Failure {
    let Err(also) = undoing else {
        return Failure {
            what: format!("{}; both servers are as they were", failure.what),
            ..failure
        };
    };
    Failure {
        what: format!("{}; and undoing it failed: {}", failure.what, also.what),
        remedy: format!(
            "{}; run `counterpart mirror stop` on each server once it can be reached",
            failure.remedy
        ),
        ..failure
    }
}
