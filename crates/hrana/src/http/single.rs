//! `POST v1/execute` and `POST v1/batch`: one statement or batch, each on a stream of its own.
//!
//! What fails makes the whole response an error, because the answer has no other place for it. A transaction that the
//! request left open is rolled back with its stream.

use std::sync::Arc;

use axum::response::Response;

use super::compress::Coding;
use super::{App, Call, body, reply};
use crate::encoding::Encoding;
use crate::large::{Bulk, beside};
use crate::proto::{BatchRequest, ExecuteRequest, SingleResponse};
use crate::resolve::SqlStore;
use crate::{Error, Server, Stream, Version};

pub(super) async fn execute<S: Server>(app: Arc<App<S>>, call: Call) -> Result<Response, Error> {
    let bytes = body::read(call.body, call.sent, &app.limits).await?;
    let ExecuteRequest { stmt } = body::parse_json(&bytes, "statement to execute")?;
    let statement = SqlStore::default().statement(stmt)?;
    let mut stream = app.server.open(&call.target).await?;
    let result = stream.execute(statement).await;
    stream.close().await;
    Ok(answer(SingleResponse { result: result? }, call.accepted).await)
}

pub(super) async fn batch<S: Server>(app: Arc<App<S>>, call: Call) -> Result<Response, Error> {
    let bytes = body::read(call.body, call.sent, &app.limits).await?;
    let BatchRequest { batch } = body::parse_json(&bytes, "batch to execute")?;
    let program = SqlStore::default().program(batch, Version::V1)?;
    let mut stream = app.server.open(&call.target).await?;
    let result = stream.batch(program).await;
    stream.close().await;
    Ok(answer(SingleResponse { result: result? }, call.accepted).await)
}

async fn answer<T: Bulk + serde::Serialize + Send + 'static>(
    response: SingleResponse<T>,
    accepted: Option<Coding>,
) -> Response {
    let is_large = response.result.is_large();
    let write = move || serde_json::to_vec(&response).expect("a result is JSON");
    let json = if is_large { beside(write).await } else { write() };
    reply::results(Encoding::Json, json, accepted).await
}
