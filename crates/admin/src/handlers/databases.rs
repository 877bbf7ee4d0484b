//! Databases: listed, made, described, dropped.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use counterpart_core::DatabaseName;
use counterpart_node::{
    Operations,
    operations::{DatabaseDetails, DatabaseSummary},
};
use serde::Serialize;

use super::{Answer, DONE, Done};
use crate::{
    body::{database_name, json, to_the_end},
    note::Note,
    problem::Problem,
    wire::NewDatabase,
};

/// The part of a path that names a database.
pub type NamePart = Result<Path<String>, PathRejection>;

/// The database that a path names.
pub fn named(part: NamePart) -> Result<DatabaseName, Problem> {
    match part {
        Ok(Path(text)) => database_name(&text),
        Err(rejection) => Err(Problem::path(
            &rejection,
            "write the database's name as it is; names need no escapes",
        )),
    }
}

#[derive(Serialize)]
pub struct DatabaseList {
    databases: Vec<DatabaseSummary>,
}

pub async fn list<O: Operations>(State(ops): State<Arc<O>>) -> Json<DatabaseList> {
    Json(DatabaseList { databases: ops.databases() })
}

pub async fn create<O: Operations>(
    State(ops): State<Arc<O>>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Result<(StatusCode, Json<DatabaseSummary>), Problem> {
    let request: NewDatabase = json(body).await?;
    note.about(&request.name);
    let name = database_name(&request.name)?;
    let made = to_the_end(async move { Ok(ops.create_database(name).await?) }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn describe<O: Operations>(
    State(ops): State<Arc<O>>,
    name: NamePart,
) -> Answer<DatabaseDetails> {
    Ok(Json(ops.database(named(name)?).await?))
}

pub async fn drop_one<O: Operations>(State(ops): State<Arc<O>>, name: NamePart) -> Answer<Done> {
    let name = named(name)?;
    to_the_end(async move { Ok(ops.drop_database(name).await?) }).await?;
    Ok(DONE)
}
