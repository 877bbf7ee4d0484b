//! `POST v3/cursor` and `v3-protobuf/cursor`: a batch whose entries are streamed.
//!
//! The database produces in a task of its own and waits while the client reads slowly; the body
//! passes chunks on. The baton in the first line is good at once, but a request that comes with it
//! waits until the cursor has ended: requests on one stream never overlap.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_ENCODING;
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::timeout;

use super::packing::Packing;
use super::{App, Call, Dialect, body, reply};
use crate::encoding::Encoding;
use crate::proto::{CursorRequest, CursorResponse};
use crate::registry::Lease;
use crate::resolve::Program;
use crate::sink::{Chunk, Chunks, CursorSink, error_chunk};
use crate::{Error, Server, Stream};

/// How long the first bytes wait for others that would make compressing worth while.
const GRACE: Duration = Duration::from_millis(10);

pub(super) async fn run<S: Server>(
    app: Arc<App<S>>,
    call: Call,
    Dialect { version, encoding }: Dialect,
) -> Result<Response, Error> {
    let bytes = body::read(call.body, call.sent, &app.limits).await?;
    let CursorRequest { baton, batch } = body::parse(&bytes, encoding, "cursor request")?;
    drop(bytes);

    let mut lease = app.lease(&call.target, baton.as_deref(), false).await?;
    let held = lease.held().expect("a fresh lease has its stream");
    let program = held.sqls.program(batch, version);
    let mut head = Chunk::new();
    encoding.append_item(&mut head, CursorResponse { baton: lease.reserve(), base_url: None });

    let steps = program.as_ref().map_or(0, |program| program.steps.len());
    let (mut sink, mut chunks) = CursorSink::new(encoding, steps, app.limits.stream_idle);
    let ended = Arc::new(AtomicBool::new(false));
    let Some(coding) = call.accepted else {
        tokio::spawn(produce(lease, program, sink, encoding, Arc::clone(&ended)));
        let body = ChunkBody { first: Some(head), chunks, ended };
        return Ok(reply::response(StatusCode::OK, encoding, Body::new(body)));
    };
    let packing = Arc::new(Packing::new(coding, head));
    sink.pack(Arc::clone(&packing));
    tokio::spawn(produce(lease, program, sink, encoding, Arc::clone(&ended)));
    let first = loop {
        match timeout(GRACE, chunks.recv()).await {
            Ok(first) => break first,
            Err(_elapsed) => {
                if let Some(first) = packing.begin() {
                    break Some(first);
                }
            }
        }
    };
    let body = Body::new(ChunkBody { first, chunks, ended });
    let mut response = reply::response(StatusCode::OK, encoding, body);
    if packing.is_packed() {
        response.headers_mut().insert(CONTENT_ENCODING, coding.header());
    }
    Ok(response)
}

/// Runs the batch and gives the stream back for the next request.
async fn produce<T: Stream>(
    mut lease: Lease<T>,
    program: Result<Program, Error>,
    sink: CursorSink,
    encoding: Encoding,
    ended: Arc<AtomicBool>,
) {
    let rest = sink.sender();
    let held = lease.held().expect("a fresh lease has its stream");
    let result = match program {
        Ok(program) => tokio::select! {
            biased;
            result = held.stream.cursor(program, sink) => result,
            // Dropped, so that it stops. The stream lives on for the client's next request.
            () = rest.closed() => Ok(()),
        },
        Err(error) => {
            drop(sink);
            Err(error)
        }
    };
    if let Err(error) = result {
        if error.is_stream_gone() {
            lease.close().await;
        }
        rest.send(error_chunk(encoding, error));
    }
    // Parked before the channel closes: whoever has read the end of the body may go on at once.
    lease.park().await;
    rest.finish();
    ended.store(true, Ordering::Release);
    drop(rest);
}

/// The producer panicked, so the entries are not complete.
#[derive(Debug, thiserror::Error)]
#[error("a cursor's stream failed in the server")]
struct Incomplete;

/// A response body that yields the first chunk and then the others. It must not end like a complete one
/// when the producer failed: then it is an error, and the client sees the response cut off.
struct ChunkBody {
    first: Option<Chunk>,
    chunks: Chunks,
    ended: Arc<AtomicBool>,
}

impl axum::body::HttpBody for ChunkBody {
    type Data = Bytes;
    type Error = Incomplete;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first.into()))));
        }
        self.chunks.poll_recv(context).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(Frame::data(chunk.into()))),
            None if self.ended.load(Ordering::Acquire) => None,
            None => Some(Err(Incomplete)),
        })
    }
}
