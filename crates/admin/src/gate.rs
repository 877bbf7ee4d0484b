//! Every request of the operator API is asked who it is from, and whether that one may.
//!
//! It stands before each route with what the route needs; the handlers behind it ask nothing more.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use counterpart_access::{Identity, Need};
use counterpart_node::{Operations, Refusal};

use crate::{body::database_name, endpoint::Needs, problem::Problem};

/// What one route is guarded with.
pub struct Gate<O> {
    pub ops: Arc<O>,
    pub needs: Needs,
}

impl<O> Clone for Gate<O> {
    fn clone(&self) -> Gate<O> {
        Gate { ops: Arc::clone(&self.ops), needs: self.needs }
    }
}

/// Lets a request pass, with the [`Identity`] of who sent it, or answers it with why not.
pub async fn check<O: Operations>(
    State(gate): State<Gate<O>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    if gate.needs == Needs::Nothing {
        return next.run(request).await;
    }
    let identity = match gate.ops.who(shown(request.headers())).await {
        Ok(identity) => identity,
        Err(refusal) => return Problem(refusal).into_response(),
    };
    if let Err(problem) = allowed(&identity, gate.needs, path.as_ref().ok()) {
        return problem.into_response();
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
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
