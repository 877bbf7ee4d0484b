//! The audit log, newest entries first, page by page.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use counterpart_node::{Operations, audit::AuditEntry};
use serde::{Deserialize, Serialize};

use super::Answer;
use crate::problem::Problem;

/// Entries that are told when nobody says how many.
const ENTRIES: usize = 100;

/// Entries that are told at most.
const MOST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub struct AuditLog {
    entries: Vec<AuditEntry>,
}

pub async fn list<O: Operations>(
    State(ops): State<Arc<O>>,
    query: Result<Query<Which>, QueryRejection>,
) -> Answer<AuditLog> {
    let Query(Which { before, limit }) = query.map_err(|rejection| {
        Problem::new(
            "INVALID_QUERY",
            format!("the query cannot be read: {}", rejection.body_text()),
            "use limit=N, and before=ID with the smallest id of the page before",
        )
    })?;
    let entries = ops.audit(before, limit.unwrap_or(ENTRIES).min(MOST)).await?;
    Ok(Json(AuditLog { entries }))
}
