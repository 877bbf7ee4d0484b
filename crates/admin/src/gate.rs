//! Every request of the operator API is asked who it is from, and whether that one may; and what it did is noted.
//!
//! It stands before each route with what the route needs; the handlers behind it ask nothing more.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use counterpart_access::{Identity, Need};
use counterpart_node::{
    Operations, Refusal,
    audit::{Act, Ending},
};

use crate::{
    body::{database_name, to_the_end},
    endpoint::{Endpoint, Needs},
    note::Note,
    problem::{Problem, RefusalCode},
};

/// What one route is guarded with.
pub struct Gate<O> {
    pub ops: Arc<O>,
    pub endpoint: Endpoint,
}

impl<O> Clone for Gate<O> {
    fn clone(&self) -> Gate<O> {
        Gate { ops: Arc::clone(&self.ops), endpoint: self.endpoint }
    }
}

/// Lets a request pass, with the [`Identity`] of who sent it and a [`Note`] of what it is about, or answers it with why not.
pub async fn check<O: Operations>(
    State(gate): State<Gate<O>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let (ops, endpoint) = (&gate.ops, gate.endpoint);
    let from = address(&request);
    request.extensions_mut().insert(From(from));
    if endpoint.needs() == Needs::Nothing {
        return next.run(request).await;
    }
    let shown = shown(request.headers());
    let tried = shown.is_some();
    let identity = match ops.who(shown).await {
        Ok(identity) => identity,
        Err(refusal) => {
            if tried {
                ops.note_refused(from, endpoint.name(), refusal.code()).await;
            }
            return Problem(refusal).into_response();
        }
    };
    let allowed = allowed(&identity, endpoint.needs(), path.as_ref().ok());
    let note = Note::default();
    request.extensions_mut().insert(Arc::clone(&identity));
    request.extensions_mut().insert(note.clone());
    if !endpoint.is_noted() {
        return match allowed {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
    }
    let named = named(path.as_ref().ok());
    let act = Act {
        who: Some(identity),
        from,
        what: endpoint.name(),
        about: named,
        ending: Ending::Asked,
    };
    let refused = allowed.is_err();
    let doing = async move {
        match allowed {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        }
    };
    // After a failover this server can't write it down.
    let beforehand = endpoint == Endpoint::Failover && !refused;
    let noted = noted(ops, act, note, beforehand, doing, ending);
    noted.await.unwrap_or_else(IntoResponse::into_response)
}

/// Does something, and notes it with how it ended; with `beforehand` also before it is done. Also if the client goes away
/// meanwhile.
///
/// # Errors
/// What was to be done broke down.
pub async fn noted<O: Operations>(
    ops: &Arc<O>,
    act: Act,
    note: Note,
    beforehand: bool,
    doing: impl Future<Output = Response> + Send + 'static,
    ending: fn(&Response) -> Ending,
) -> Result<Response, Problem> {
    let ops = Arc::clone(ops);
    to_the_end(async move {
        if beforehand {
            ops.note(act.clone()).await;
        }
        let response = doing.await;
        let parts = [act.about.as_str(), note.said().unwrap_or_default()];
        let about = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        ops.note(Act { about: about.join(" "), ending: ending(&response), ..act }).await;
        Ok(response)
    })
    .await
}

/// What a path names.
pub fn named(path: Option<&RawPathParams>) -> String {
    path.into_iter().flatten().map(|(_, value)| value).collect::<Vec<_>>().join("/")
}

/// Where a request comes from, if that is known.
#[derive(Clone, Copy, Debug)]
pub struct From(pub Option<IpAddr>);

/// The address that a request comes from.
pub fn address(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip())
}

/// How a request ended, by its answer.
pub fn ending(response: &Response) -> Ending {
    if response.status().is_success() {
        return Ending::Done;
    }
    let code = response.extensions().get::<RefusalCode>().map(|RefusalCode(code)| code.clone());
    Ending::Refused(code.unwrap_or_else(|| format!("HTTP {}", response.status().as_u16())))
}

/// The token of `authorization: Bearer …`; the scheme's case does not matter.
fn shown(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn allowed(identity: &Identity, needs: Needs, path: Option<&RawPathParams>) -> Result<(), Problem> {
    let database;
    let need = match needs {
        Needs::Nothing | Needs::SignedIn => Need::SignedIn,
        Needs::Operate => Need::Operate,
        Needs::Administer => Need::Administer,
        Needs::Reading => {
            // A path that can't be read names no database; the handler says so, after the same rule.
            let name = path.and_then(|path| path.iter().find(|(name, _)| *name == "name"));
            match name.map(|(_, name)| database_name(name)) {
                Some(name) => {
                    database = name?;
                    Need::Read(&database)
                }
                None => Need::Operate,
            }
        }
    };
    if identity.grant.allows(need) {
        return Ok(());
    }
    Err(Refusal::forbidden(identity, "do this").into())
}
