//! What proves that the data is what it should be: scrubs, checksums and their comparison.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State};
use counterpart_node::{
    Operations,
    checksums::{Checksum, Comparison},
    scrub,
};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::{body::json, wire::Nothing};

/// The checksums of one server.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksums {
    databases: Vec<Checksum>,
}

/// What a comparison found.
#[derive(Serialize)]
pub struct Comparisons {
    databases: Vec<Comparison>,
}

pub async fn scrub<O: Operations>(State(ops): State<Arc<O>>) -> Json<scrub::Progress> {
    Json(ops.scrub())
}

pub async fn start_scrub<O: Operations>(
    State(ops): State<Arc<O>>,
    body: Body,
) -> Answer<scrub::Progress> {
    let Nothing {} = json(body).await?;
    Ok(Json(ops.start_scrub()))
}

pub async fn checksums<O: Operations>(State(ops): State<Arc<O>>) -> Json<Checksums> {
    Json(Checksums { databases: ops.checksums() })
}

pub async fn compare<O: Operations>(State(ops): State<Arc<O>>, body: Body) -> Answer<Comparisons> {
    let theirs: Checksums = json(body).await?;
    Ok(Json(Comparisons { databases: ops.compare_checksums(theirs.databases).await? }))
}
