//! Reading request bodies: bounded, and every failure in the error shape.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

use axum::body::{Body, Bytes, HttpBody};
use counterpart_core::{DatabaseName, DatabaseNameError};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The most that a JSON body may hold, in bytes. The largest request that makes sense is under 1 KiB.
pub const JSON_LIMIT: usize = 64 << 10;

/// The next piece of a body; `None` at its end. An error means that the client went away or broke the framing.
pub async fn next_piece(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers say nothing that is used here.
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads a JSON body. An empty body is read as `{}`, for the requests whose fields are all optional.
pub async fn json<T: DeserializeOwned>(mut body: Body) -> Result<T, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = next_piece(&mut body).await {
        let piece = piece.map_err(|error| invalid(&error))?;
        if bytes.len() + piece.len() > JSON_LIMIT {
            return Err(Problem::new(
                "REQUEST_TOO_LARGE",
                format!("the body is larger than {JSON_LIMIT} bytes"),
                "send only the fields that the API description names",
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        "INVALID_BODY",
        format!("the body is not what this request takes: {error}"),
        "send the JSON object that GET /api/v1/openapi.json describes",
    )
}

/// A database's name, or the refusal that quotes the rule.
pub fn database_name(text: &str) -> Result<DatabaseName, Problem> {
    text.parse().map_err(|error: DatabaseNameError| {
        Problem::new(
            "INVALID_DATABASE_NAME",
            format!("{:?} is not a database name", error.0),
            "use 1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit",
        )
    })
}

/// Lets `operation` run to its end even when the client goes away: half of a failover because somebody closed a
/// terminal would be worse than either.
pub async fn to_the_end<T: Send + 'static>(
    operation: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(operation).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an operator's request broke down");
        Err(Problem::new(
            "SERVER_FAULT",
            "the server failed in a way that it should not have",
            "look into the server's log, check the status, and report what it says there",
        ))
    })
}
