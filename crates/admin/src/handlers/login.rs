//! A name and a password in, a token out. Open to everybody: who asks is what is to be found out.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State};
use counterpart_node::{Operations, system::Attempt};
use serde_json::{Value, json};

use super::{Answer, tokens::described};
use crate::{
    body::{json as read, to_the_end},
    gate::From,
    wire,
};

pub async fn login<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(From(from)): Extension<From>,
    body: Body,
) -> Answer<Value> {
    let request: wire::Login = read(body).await?;
    let attempt = Attempt {
        name: request.name,
        password: request.password,
        from,
        lifetime: request.lifetime_seconds,
    };
    let logged_in = to_the_end(async move { Ok(ops.login(attempt).await?) }).await?;
    Ok(Json(json!({
        "token": logged_in.token.reveal(),
        "expires": logged_in.expires,
        "identity": described(&logged_in.identity),
    })))
}
