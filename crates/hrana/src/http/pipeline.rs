//! `POST v2/pipeline`, `v3/pipeline` and `v3-protobuf/pipeline`: requests on one stream, executed in order.
//!
//! An error of one request is one of the results; the next request is executed all the same, as
//! the specification demands. The whole response is an error only if nothing was executed.

use std::sync::{Arc, Mutex};

use axum::response::Response;

use super::line::{self, lock};
use super::{App, Call, Dialect, body, reply};
use crate::encoding::Encoding;
use crate::large::{Bulk as _, beside};
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
    let results = Arc::new(Mutex::new(Results::new(encoding, app.limits.response_bytes)));
    let mut requests = requests.into_iter().peekable();
    while let Some(request) = requests.next() {
        // A client that did not close the stream would not know what to do about a closed one.
        let refusal = match request {
            StreamRequest::Close => lock(&results).why_gone(),
            _ => lock(&results).refusal(&app.limits),
        };
        match (request, refusal) {
            (_, Some(why)) => lock(&results).push(Err(why)),
            (StreamRequest::Execute { stmt }, None)
                if matches!(requests.peek(), Some(StreamRequest::Execute { .. })) =>
            {
                match lease.held() {
                    Some(held) => {
                        line::run(held, stmt, &mut requests, &results, &app.limits).await;
                    }
                    None => lock(&results).push(Err(closed())),
                }
            }
            (request, None) => {
                let result = execute(&mut lease, request, version, &app.limits).await;
                if result.is_large() {
                    let results = Arc::clone(&results);
                    beside(move || lock(&results).push(result)).await;
                } else {
                    lock(&results).push(result);
                }
            }
        }
        let gone = lock(&results).gone.clone();
        match gone {
            // Nothing was done on a stream that is found to be gone: as if its baton had expired.
            Some((0, why)) => return Err(why),
            Some(_) => lease.close().await,
            None => {}
        }
    }
    let baton = lease.reserve();
    lease.park().await;
    let body = lock(&results).finish(baton);
    Ok(reply::results(encoding, body, call.accepted).await)
}

fn closed() -> Error {
    let message = "The stream is closed. Send this request before the close, or on another \
                   stream.";
    Error::request(codes::STREAM_CLOSED, message)
}

async fn execute<T: Stream>(
    lease: &mut Lease<T>,
    request: StreamRequest,
    version: Version,
    limits: &Limits,
) -> Result<StreamResponse, Error> {
    let held = lease.held().ok_or_else(closed)?;
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
pub(super) struct Results {
    encoding: Encoding,
    bytes: Vec<u8>,
    count: usize,
    limit: usize,
    /// That the stream was found to be gone, and at which result.
    gone: Option<(usize, Error)>,
    /// It was told at length that there is no more room.
    told: bool,
}

impl Results {
    fn new(encoding: Encoding, limit: usize) -> Self {
        // Most answers fit into this.
        let mut bytes = Vec::with_capacity(512);
        if encoding == Encoding::Json {
            bytes.extend_from_slice(br#"{"results":["#);
        }
        Self { encoding, bytes, count: 0, limit, gone: None, told: false }
    }

    /// Whether a further request is to be executed.
    pub(super) fn has_room(&self) -> bool {
        self.gone.is_none() && self.bytes.len() <= self.limit
    }

    /// Why a further request is not executed, if it is not.
    pub(super) fn refusal(&mut self, limits: &Limits) -> Option<Error> {
        if self.has_room() {
            return None;
        }
        let too_large = || response_too_large(limits, std::mem::replace(&mut self.told, true));
        Some(self.gone.as_ref().map_or_else(too_large, |(_, why)| why.clone()))
    }

    /// Why the stream is gone, if it is.
    fn why_gone(&self) -> Option<Error> {
        self.gone.as_ref().map(|(_, why)| why.clone())
    }

    pub(super) fn push(&mut self, result: Result<StreamResponse, Error>) {
        if let (None, Err(error)) = (&self.gone, &result)
            && error.is_stream_gone()
        {
            self.gone = Some((self.count, error.clone()));
        }
        let result = match result {
            Ok(response) => StreamResult::Ok { response },
            Err(error) => StreamResult::Error { error: error.into() },
        };
        let is_first = self.count == 0;
        self.count += 1;
        self.encoding.append_element(&mut self.bytes, protobuf::RESULTS, is_first, result);
    }

    /// Completes the body, which is a [`proto::PipelineResponse`] with its fields in another order.
    fn finish(&mut self, baton: Option<String>) -> Vec<u8> {
        let rest = proto::CursorResponse { baton, base_url: None };
        match self.encoding {
            Encoding::Json => {
                let rest = serde_json::to_vec(&rest).expect("a baton is JSON");
                self.bytes.extend_from_slice(b"],");
                self.bytes.extend_from_slice(&rest[1..]);
            }
            Encoding::Protobuf => self.bytes.extend_from_slice(&protobuf::encode(rest)),
        }
        std::mem::take(&mut self.bytes)
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
