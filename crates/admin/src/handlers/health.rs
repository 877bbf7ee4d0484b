//! What load balancers ask. Read from the same status that operators see, so that the two cannot disagree.

use std::sync::Arc;

use axum::{Json, extract::State};
use counterpart_node::Operations;
use serde::Serialize;
use serde_json::Value;

use super::Answer;
use crate::problem::Problem;

/// The answer of a healthy server.
#[derive(Serialize)]
pub struct Health {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

/// 200 as long as the process answers at all.
pub async fn alive() -> Json<Health> {
    Json(Health { healthy: true, role: None })
}

/// 200 where writes are taken.
pub async fn principal<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Health> {
    let status = ops.status().await;
    let role = role(&status);
    if !matches!(role, "principal" | "standalone") {
        return Err(Problem::new(
            "HEALTH_NOT_PRINCIPAL",
            format!("this server takes no writes: its role is {role}"),
            "send writes to the principal",
        ));
    }
    if !says(&status, "admits_writes") {
        return Err(Problem::new(
            "HEALTH_WRITES_REFUSED",
            format!("this server is {role} but takes no writes now"),
            "see last_error in GET /api/v1/status",
        ));
    }
    Ok(Json(Health { healthy: true, role: Some(role.to_owned()) }))
}

/// 200 on a mirror that serves reads.
pub async fn mirror<O: Operations>(State(ops): State<Arc<O>>) -> Answer<Health> {
    let status = ops.status().await;
    let role = role(&status);
    if role != "mirror" {
        return Err(Problem::new(
            "HEALTH_NOT_MIRROR",
            format!("this server is no mirror: its role is {role}"),
            "ask the mirror",
        ));
    }
    if !says(&status, "serves_reads") {
        return Err(Problem::new(
            "HEALTH_READS_REFUSED",
            "this mirror serves no reads now",
            "wait until it is seeded; see GET /api/v1/status",
        ));
    }
    Ok(Json(Health { healthy: true, role: Some(role.to_owned()) }))
}

fn role(status: &Value) -> &str {
    status["role"].as_str().unwrap_or("unknown")
}

/// An absent field counts as no: a load balancer must not send to a server that does not claim to be ready.
fn says(status: &Value, field: &str) -> bool {
    status[field].as_bool().unwrap_or(false)
}
