//! From an endpoint to the function that answers it. The `match` in [`of`] is closed: an endpoint without a
//! handler does not compile, and a handler without an endpoint is never reached.

mod alarms;
mod audit;
pub mod content;
pub mod databases;
mod health;
mod integrity;
mod login;
mod mirroring;
mod orphans;
mod tokens;
mod users;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{Uri, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{MethodRouter, on},
};
use counterpart_access::{Grant, GrantError};
use counterpart_node::Operations;
use serde::Serialize;
use serde_json::Value;

use crate::{endpoint::Endpoint, openapi, problem::Problem};

/// What every handler gives.
type Answer<T> = Result<Json<T>, Problem>;

/// The answer of an operation that has nothing to tell but that it is done.
#[derive(Serialize)]
pub struct Done {
    done: bool,
}

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const DONE: Json<Done> = Json(Done { done: true });

/// What somebody is to be allowed, as a request words it; `code` is that of the refusal.
fn granted(code: &'static str, role: &str, databases: Option<&[String]>) -> Result<Grant, Problem> {
    let grant = role.parse().and_then(|role| Grant::new(role, databases));
    grant.map_err(|error: GrantError| {
        let remedy = "give a role of admin, operator, writer or reader, the last two with databases if you like";
        Problem::new(code, error.to_string(), remedy)
    })
}

/// The handler of `endpoint`, for its method only.
pub fn of<O: Operations>(endpoint: Endpoint) -> MethodRouter<Arc<O>> {
    let method = endpoint.route().method.filter();
    match endpoint {
        Endpoint::Status => on(method, status::<O>),
        Endpoint::Metrics => on(method, metrics::<O>),
        Endpoint::ListAlarms => on(method, alarms::list::<O>),
        Endpoint::TestAlarms => on(method, alarms::test::<O>),
        Endpoint::AcknowledgeAlarm => on(method, alarms::acknowledge::<O>),
        Endpoint::ListDatabases => on(method, databases::list::<O>),
        Endpoint::CreateDatabase => on(method, databases::create::<O>),
        Endpoint::DescribeDatabase => on(method, databases::describe::<O>),
        Endpoint::DropDatabase => on(method, databases::drop_one::<O>),
        Endpoint::ImportDatabase => on(method, content::import::<O>),
        Endpoint::ExportDatabase => on(method, content::export::<O>),
        Endpoint::Backup => on(method, content::backup::<O>),
        Endpoint::TakeBackup => on(method, content::take_backup::<O>),
        Endpoint::Probe => on(method, mirroring::probe::<O>),
        Endpoint::CheckJoin => on(method, mirroring::check_join::<O>),
        Endpoint::Join => on(method, mirroring::join::<O>),
        Endpoint::CancelJoin => on(method, mirroring::cancel_join::<O>),
        Endpoint::AddPartner => on(method, mirroring::add_partner::<O>),
        Endpoint::Failover => on(method, mirroring::failover::<O>),
        Endpoint::AssessPromotion => on(method, mirroring::assess_promotion::<O>),
        Endpoint::Promote => on(method, mirroring::promote::<O>),
        Endpoint::Suspend => on(method, mirroring::suspend::<O>),
        Endpoint::Resume => on(method, mirroring::resume::<O>),
        Endpoint::Rejoin => on(method, mirroring::rejoin::<O>),
        Endpoint::StopMirroring => on(method, mirroring::stop::<O>),
        Endpoint::Scrub => on(method, integrity::scrub::<O>),
        Endpoint::StartScrub => on(method, integrity::start_scrub::<O>),
        Endpoint::Checksums => on(method, integrity::checksums::<O>),
        Endpoint::CompareChecksums => on(method, integrity::compare::<O>),
        Endpoint::ListOrphans => on(method, orphans::list::<O>),
        Endpoint::ShowOrphans => on(method, orphans::show::<O>),
        Endpoint::OrphanRows => on(method, orphans::rows::<O>),
        Endpoint::ExportOrphans => on(method, orphans::export::<O>),
        Endpoint::DropOrphans => on(method, orphans::drop_set::<O>),
        Endpoint::WhoAmI => on(method, tokens::who_am_i),
        Endpoint::ListTokens => on(method, tokens::list::<O>),
        Endpoint::CreateToken => on(method, tokens::create::<O>),
        Endpoint::RevokeToken => on(method, tokens::revoke::<O>),
        Endpoint::ListUsers => on(method, users::list::<O>),
        Endpoint::CreateUser => on(method, users::create::<O>),
        Endpoint::SetPassword => on(method, users::set_password::<O>),
        Endpoint::DropUser => on(method, users::drop_one::<O>),
        Endpoint::Login => on(method, login::login::<O>),
        Endpoint::Audit => on(method, audit::list::<O>),
        Endpoint::Health => on(method, health::alive),
        Endpoint::HealthPrincipal => on(method, health::principal::<O>),
        Endpoint::HealthMirror => on(method, health::mirror::<O>),
        Endpoint::OpenApi => on(method, open_api),
    }
}

async fn status<O: Operations>(State(ops): State<Arc<O>>) -> Json<Value> {
    Json(ops.status().await)
}

/// The content type says which version of the format it is, as Prometheus asks for.
async fn metrics<O: Operations>(State(ops): State<Arc<O>>) -> Result<impl IntoResponse, Problem> {
    Ok(([(CONTENT_TYPE, METRICS)], ops.metrics().await?))
}

async fn open_api() -> Json<Value> {
    Json(openapi::document())
}

/// Answers everything below `/api` that is not a route.
pub async fn unknown_route(uri: Uri) -> Problem {
    Problem::new(
        "ROUTE_NOT_FOUND",
        format!("there is nothing at {}", uri.path()),
        "GET /api/v1/openapi.json lists what there is",
    )
}

/// Answers a route that exists, with a method that it does not have. axum adds the `Allow` header.
pub async fn wrong_method(uri: Uri) -> Problem {
    Problem::new(
        "METHOD_NOT_ALLOWED",
        format!("{} does not take this method", uri.path()),
        "use a method that the Allow header names; GET /api/v1/openapi.json describes each",
    )
}
