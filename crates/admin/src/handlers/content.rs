//! A database's content as a plain SQLite file: in and out, streamed.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, HttpBody},
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use counterpart_node::{Operations, operations::DatabaseSummary};

use super::{
    Answer, DONE, Done,
    databases::{NamePart, named},
};
use crate::{body::to_the_end, download, problem::Problem, upload};

pub async fn import<O: Operations>(
    State(ops): State<Arc<O>>,
    name: NamePart,
    body: Body,
) -> Result<(StatusCode, Json<DatabaseSummary>), Problem> {
    let name = named(name)?;
    // Known when the client sent Content-Length; 0 otherwise, and the disk is the only bound.
    let announced = body.size_hint().exact().unwrap_or(0);
    let path = ops.staging_path(&name, announced)?;
    let upload = upload::receive(body, path).await?;
    // From here the file is the operation's, whether or not the client stays to hear the end.
    let made = to_the_end(async move {
        let staged = upload.finished().await?;
        Ok(ops.import_database(name, staged).await?)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn export<O: Operations>(
    State(ops): State<Arc<O>>,
    name: NamePart,
) -> Result<Response, Problem> {
    let name = named(name)?;
    // A name has no character that would need quoting here.
    let disposition = format!("attachment; filename=\"{name}.sqlite\"");
    let export = ops.export_database(name).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, download::body(export)).into_response())
}

pub async fn backup<O: Operations>(State(ops): State<Arc<O>>) -> Result<Response, Problem> {
    let backup = ops.backup().await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"backup.counterpart\""),
    ];
    Ok((headers, download::backup(backup)).into_response())
}

pub async fn take_backup<O: Operations>(
    State(ops): State<Arc<O>>,
    file: Result<Path<String>, PathRejection>,
    body: Body,
) -> Answer<Done> {
    let Path(file) = file.map_err(|rejection| {
        Problem::path(&rejection, "write the file's name without anything that needs to be escaped")
    })?;
    let announced = body.size_hint().exact().unwrap_or(0);
    let path = ops.backup_path(announced).await?;
    let upload = upload::receive(body, path).await?;
    to_the_end(async move {
        let staged = upload.finished().await?;
        Ok(ops.take_backup(file, staged).await?)
    })
    .await?;
    Ok(DONE)
}
