//! Tokens: who asks, which there are, made, revoked.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use counterpart_access::{Databases, Identity};
use counterpart_node::{
    Operations,
    system::{NewToken, TokenSummary},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, DONE, Done, granted};
use crate::{
    body::{json as read, to_the_end},
    note::Note,
    problem::Problem,
    wire,
};

#[derive(Serialize)]
pub struct Tokens {
    tokens: Vec<TokenSummary>,
}

pub async fn who_am_i(Extension(identity): Extension<Arc<Identity>>) -> Json<Value> {
    Json(described(&identity))
}

/// Somebody, and what that one may do.
pub fn described(identity: &Identity) -> Value {
    let databases = match identity.grant.databases() {
        Databases::All => None,
        Databases::These(names) => Some(names),
    };
    json!({
        "name": identity.name,
        "role": identity.grant.role().name(),
        "databases": databases,
    })
}

pub async fn list<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Tokens> {
    Ok(Json(Tokens { tokens: ops.tokens().await? }))
}

pub async fn create<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let request: wire::NewToken = read(body).await?;
    note.about(format!("{} ({})", request.name, request.role));
    let grant = granted("TOKEN_INVALID", &request.role, request.databases.as_deref())?;
    let name = request.name.clone();
    let new = NewToken { name: request.name, grant, lifetime: request.lifetime_seconds };
    let token = to_the_end(async move { Ok(ops.create_token(new).await?) }).await?;
    let made = json!({ "name": name, "token": token.reveal() });
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn revoke<O: Operations>(
    State(ops): State<Arc<O>>,
    part: Result<Path<String>, PathRejection>,
) -> Answer<Done> {
    let Path(name) =
        part.map_err(|rejection| Problem::path(&rejection, "write the token's name as it is"))?;
    to_the_end(async move { Ok(ops.revoke_token(name).await?) }).await?;
    Ok(DONE)
}
