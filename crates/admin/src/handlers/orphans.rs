//! Orphans: listed, shown, exported, deleted.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::header,
    response::{IntoResponse, Response},
};
use counterpart_core::DatabaseName;
use counterpart_node::{
    Operations,
    orphans::{Form, OrphanSet},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Answer, DONE, Done};
use crate::{
    body::{database_name, to_the_end},
    download,
    note::Note,
    problem::Problem,
};

/// The part of a path that names a set.
type SetPart = Result<Path<String>, PathRejection>;

/// Rows that are told when nobody says how many.
const ROWS: usize = 100;

#[derive(Serialize)]
pub struct OrphanSets {
    sets: Vec<OrphanSet>,
}

#[derive(Serialize)]
pub struct OrphanRows {
    rows: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    database: Option<String>,
    limit: Option<usize>,
    form: Option<String>,
}

fn set(part: SetPart) -> Result<String, Problem> {
    part.map(|Path(text)| text).map_err(|rejection| {
        Problem::path(&rejection, "write the set's name as `GET /api/v1/orphans` does")
    })
}

fn invalid_query(why: &str) -> Problem {
    Problem::new(
        "INVALID_QUERY",
        format!("the query cannot be read: {why}"),
        "use database=NAME, limit=N, and form=sqlite, sql or rows, where they apply",
    )
}

type WhichPart = Result<Query<Which>, QueryRejection>;

fn which(query: WhichPart) -> Result<(Option<DatabaseName>, Which), Problem> {
    let Query(which) = query.map_err(|rejection| invalid_query(&rejection.body_text()))?;
    Ok((which.database.as_deref().map(touched).transpose()?, which))
}

/// A database that orphans can have touched: the server's own is one.
fn touched(name: &str) -> Result<DatabaseName, Problem> {
    if name == DatabaseName::system().as_str() {
        return Ok(DatabaseName::system());
    }
    database_name(name)
}

pub async fn list<O: Operations>(State(ops): State<Arc<O>>) -> Answer<OrphanSets> {
    Ok(Json(OrphanSets { sets: ops.orphans().await? }))
}

pub async fn show<O: Operations>(State(ops): State<Arc<O>>, part: SetPart) -> Answer<OrphanSet> {
    Ok(Json(ops.orphan_set(set(part)?).await?))
}

pub async fn rows<O: Operations>(
    State(ops): State<Arc<O>>,
    part: SetPart,
    query: WhichPart,
) -> Answer<OrphanRows> {
    let (set, (database, which)) = (set(part)?, which(query)?);
    let rows = ops.orphan_rows(set, database, which.limit.unwrap_or(ROWS)).await?;
    Ok(Json(OrphanRows { rows }))
}

pub async fn export<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    part: SetPart,
    query: WhichPart,
) -> Result<Response, Problem> {
    let (set, (database, which)) = (set(part)?, which(query)?);
    note.about_any(database.as_ref());
    let (form, kind) = match which.form.as_deref() {
        None | Some("sqlite") => (Form::Sqlite, "application/vnd.sqlite3"),
        Some("sql") => (Form::Sql, "application/sql"),
        Some("rows") => (Form::Rows, "application/x-ndjson"),
        Some(other) => return Err(invalid_query(&format!("{other:?} is no form"))),
    };
    let export = ops.export_orphans(set, database, form).await?;
    Ok(([(header::CONTENT_TYPE, kind)], download::body(export)).into_response())
}

pub async fn drop_set<O: Operations>(State(ops): State<Arc<O>>, part: SetPart) -> Answer<Done> {
    let set = set(part)?;
    to_the_end(async move { Ok(ops.drop_orphans(set).await?) }).await?;
    Ok(DONE)
}
