//! `POST v2/pipeline`, `v3/pipeline` and `v3-protobuf/pipeline`: requests on one stream, executed in order.
//!
//! An error of one request is one of the results; the next request is executed all the same, as
//! the specification demands. The whole response is an error only if nothing was executed.

use std::sync::Arc;

use axum::response::Response;

use super::{App, Call, Dialect, body, reply};
use crate::encoding::Encoding;
use crate::proto::{self, PipelineRequest, StreamRequest, StreamResponse, StreamResult, protobuf};
use crate::registry::Lease;
use crate::{Error, Limits, Server, Stream, Version, codes};

pub(super) async fn run<S: Server>(
    app: Arc<App<S>>,
    call: Call,
    Dialect { version, encoding }: Dialect,
) -> Result<Response, Error> {
    let bytes = body::read(call.body, call.sent, &app.limits).await?;
    let PipelineRequest { baton, requests } = body::parse(&bytes, encoding, "pipeline")?;
    drop(bytes);

    let will_close = requests.contains(&StreamRequest::Close);
    let mut lease = app.lease(&call.target, baton.as_deref(), will_close).await?;
    let mut results = Results::new(encoding, app.limits.response_bytes);
    let mut gone = None;
    let mut told = false;
    for request in requests {
        if let Some(why) = &gone {
            // The client did not close the stream, and would not know what to do about a closed one.
            results.push(Err(Error::clone(why)));
            continue;
        }
        if results.is_full() && request != StreamRequest::Close {
            results.push(Err(response_too_large(&app.limits, std::mem::replace(&mut told, true))));
            continue;
        }
        let result = execute(&mut lease, request, version, &app.limits).await;
        match &result {
            // Nothing was done on a stream that is found to be gone: as if its baton had expired.
            Err(error) if error.is_stream_gone() && results.is_empty() => {
                return Err(error.clone());
            }
            Err(error) if error.is_stream_gone() => {
                lease.close().await;
                gone = Some(error.clone());
            }
            _ => {}
        }
        results.push(result);
    }
    let baton = lease.reserve();
    lease.park().await;
    Ok(reply::results(encoding, results.finish(baton), call.accepted).await)
}

async fn execute<T: Stream>(
    lease: &mut Lease<T>,
    request: StreamRequest,
    version: Version,
    limits: &Limits,
) -> Result<StreamResponse, Error> {
    let Some(held) = lease.held() else {
        let message = "The stream is closed. Send this request before the close, or on another \
                       stream.";
        return Err(Error::request(codes::STREAM_CLOSED, message));
    };
    let (stream, sqls) = (&mut held.stream, &mut held.sqls);
    Ok(match request {
        StreamRequest::Close => {
            lease.close().await;
            StreamResponse::Close
        }
        StreamRequest::Execute { stmt } => {
            StreamResponse::Execute { result: stream.execute(sqls.statement(stmt)?).await? }
        }
        StreamRequest::Batch { batch } => {
            StreamResponse::Batch { result: stream.batch(sqls.program(batch, version)?).await? }
        }
        StreamRequest::Sequence { sql, sql_id } => {
            stream.sequence(sqls.sql(sql, sql_id)?).await?;
            StreamResponse::Sequence
        }
        StreamRequest::Describe { sql, sql_id } => {
            StreamResponse::Describe { result: stream.describe(sqls.sql(sql, sql_id)?).await? }
        }
        StreamRequest::StoreSql { sql_id, sql } => {
            sqls.store(sql_id, sql, limits)?;
            StreamResponse::StoreSql
        }
        StreamRequest::CloseSql { sql_id } => {
            sqls.close(sql_id);
            StreamResponse::CloseSql
        }
        StreamRequest::GetAutocommit => {
            version.require(Version::V3, "The request get_autocommit")?;
            StreamResponse::GetAutocommit { is_autocommit: stream.get_autocommit().await? }
        }
    })
}

/// Told once at length: a pipeline has room for hundreds of thousands of requests, and their refusals must not need
/// more memory than the results that were one too many.
fn response_too_large(limits: &Limits, told: bool) -> Error {
    if told {
        return Error::request(codes::RESPONSE_TOO_LARGE, "Not executed either.");
    }
    let message = format!(
        "The results of the earlier requests of this pipeline exceed {} bytes, so this one was not \
         executed. Send fewer requests at once.",
        limits.response_bytes
    );
    Error::request(codes::RESPONSE_TOO_LARGE, message)
}

/// The response body, written as the results arise, so that no result is held twice.
struct Results {
    encoding: Encoding,
    bytes: Vec<u8>,
    count: usize,
    limit: usize,
}

impl Results {
    fn new(encoding: Encoding, limit: usize) -> Self {
        // Most answers fit into this.
        let mut bytes = Vec::with_capacity(512);
        if encoding == Encoding::Json {
            bytes.extend_from_slice(br#"{"results":["#);
        }
        Self { encoding, bytes, count: 0, limit }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_full(&self) -> bool {
        self.bytes.len() > self.limit
    }

    fn push(&mut self, result: Result<StreamResponse, Error>) {
        let result = match result {
            Ok(response) => StreamResult::Ok { response },
            Err(error) => StreamResult::Error { error: error.into() },
        };
        let is_first = self.count == 0;
        self.count += 1;
        self.encoding.append_element(&mut self.bytes, protobuf::RESULTS, is_first, result);
    }

    /// Completes the body, which is a [`proto::PipelineResponse`] with its fields in another order.
    fn finish(mut self, baton: Option<String>) -> Vec<u8> {
        let rest = proto::CursorResponse { baton, base_url: None };
        match self.encoding {
            Encoding::Json => {
                let rest = serde_json::to_vec(&rest).expect("a baton is JSON");
                self.bytes.extend_from_slice(b"],");
                self.bytes.extend_from_slice(&rest[1..]);
            }
            Encoding::Protobuf => self.bytes.extend_from_slice(&protobuf::encode(rest)),
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::PipelineResponse;

    #[test]
    fn the_body_is_a_pipeline_response() {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut results = Results::new(encoding, 100);
            results.push(Ok(StreamResponse::Close));
            results.push(Err(Error::request("CODE", "message")));
            let body = results.finish(Some("baton".into()));
            let response: PipelineResponse = encoding.read(&body).unwrap();
            assert_eq!(response.baton.as_deref(), Some("baton"));
            assert_eq!(response.base_url, None);
            assert_eq!(response.results[0], StreamResult::Ok { response: StreamResponse::Close });
            assert_eq!(response.results.len(), 2);
        }
    }

    #[test]
    fn an_empty_pipeline_has_an_empty_array_of_results() {
        let body = Results::new(Encoding::Json, 100).finish(None);
        assert_eq!(body, br#"{"results":[],"baton":null,"base_url":null}"#);
    }
}
