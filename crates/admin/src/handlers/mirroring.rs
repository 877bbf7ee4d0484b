//! Mirroring: the steps of starting it, and the commands of a session. Where each is allowed is the core's to say.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
};
use counterpart_node::{Operations, operations::PeerIdentity};
use serde_json::Value;

use super::{Answer, DONE, Done};
use crate::{
    body::{json, to_the_end},
    note::Note,
    problem::Problem,
    wire::{
        CheckJoin, Failover, Join, Nothing, Partner, Probe, Promote, WhichPartner, host_and_port,
    },
};

pub async fn probe<O: Operations>(State(ops): State<Arc<O>>, body: Body) -> Answer<PeerIdentity> {
    let request: Probe = json(body).await?;
    Ok(Json(ops.probe(host_and_port(request.partner_address)?).await?))
}

pub async fn check_join<O: Operations>(State(ops): State<Arc<O>>, body: Body) -> Answer<Done> {
    let request: CheckJoin = json(body).await?;
    let principal = request.principal_partner_address.map(host_and_port).transpose()?;
    ops.check_join(request.replace, request.bytes, principal).await?;
    Ok(DONE)
}

pub async fn join<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Done> {
    let request = json::<Join>(body).await?.checked()?;
    note.about(&request.principal_client_url);
    to_the_end(async move { Ok(ops.join(request).await?) }).await?;
    Ok(DONE)
}

pub async fn cancel_join<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Done> {
    to_the_end(async move { Ok(ops.cancel_join().await?) }).await?;
    Ok(DONE)
}

pub async fn add_partner<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Done> {
    let request = json::<Partner>(body).await?.checked()?;
    note.about(&request.client_url);
    to_the_end(async move { Ok(ops.add_partner(request).await?) }).await?;
    Ok(DONE)
}

pub async fn failover<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Value> {
    let request: Failover = json(body).await?;
    note.about_any(request.to);
    to_the_end(async move { Ok(ops.failover(request.to).await?) }).await.map(Json)
}

pub async fn assess_promotion<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Value> {
    Ok(Json(ops.assess_promotion().await?))
}

pub async fn promote<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Value> {
    let Promote { force } = json(body).await?;
    note.about_any(force.then_some("with force"));
    to_the_end(async move { Ok(ops.promote(force).await?) }).await.map(Json)
}

pub async fn suspend<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Done> {
    let request: WhichPartner = json(body).await?;
    note.about_any(request.partner);
    to_the_end(async move { Ok(ops.suspend(request.partner).await?) }).await?;
    Ok(DONE)
}

pub async fn resume<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Answer<Done> {
    let request: WhichPartner = json(body).await?;
    note.about_any(request.partner);
    to_the_end(async move { Ok(ops.resume(request.partner).await?) }).await?;
    Ok(DONE)
}

pub async fn rejoin<O: Operations>(State(ops): State<Arc<O>>, body: Body) -> Answer<Done> {
    let Nothing {} = json(body).await?;
    to_the_end(async move { Ok(ops.rejoin().await?) }).await?;
    Ok(DONE)
}

pub async fn stop<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    query: Result<Query<WhichPartner>, QueryRejection>,
) -> Answer<Done> {
    let Query(request) = query.map_err(|rejection| {
        Problem::new(
            "INVALID_QUERY",
            format!("the query cannot be read: {}", rejection.body_text()),
            "use ?partner=ID with the partner's 16 hexadecimal digits, or no query",
        )
    })?;
    note.about_any(request.partner);
    to_the_end(async move { Ok(ops.stop_mirroring(request.partner).await?) }).await?;
    Ok(DONE)
}
