//! Alarms: which there are, and who knows of them.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
};
use counterpart_access::Identity;
use counterpart_node::Operations;
use serde_json::Value;

use super::Answer;
use crate::{
    body::{json, to_the_end},
    problem::Problem,
    wire::Nothing,
};

pub async fn list<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Value> {
    Ok(axum::Json(ops.alarms().await?))
}

pub async fn acknowledge<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(identity): Extension<Arc<Identity>>,
    part: Result<Path<u64>, PathRejection>,
    body: Body,
) -> Answer<Value> {
    let Path(id) = part.map_err(|rejection| {
        Problem::path(&rejection, "write the alarm's id as `counterpart alarms list` shows it")
    })?;
    let Nothing {} = json(body).await?;
    let by = identity.name.clone();
    let alarm = to_the_end(async move { Ok(ops.acknowledge_alarm(id, by).await?) }).await?;
    Ok(axum::Json(alarm))
}

pub async fn test<O: Operations>(State(ops): State<Arc<O>>, body: Body) -> Answer<Value> {
    let Nothing {} = json(body).await?;
    Ok(axum::Json(to_the_end(async move { Ok(ops.test_alarms().await?) }).await?))
}
