//! `POST v3/cursor` and `v3-protobuf/cursor`: a batch whose entries are streamed as they arise.
//!
//! The database produces in a task of its own and waits while the client reads slowly; the body
//! passes chunks on. The baton in the first line is good at once, but a request that comes with it
//! waits until the cursor has ended: requests on one stream never overlap.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_ENCODING;
use axum::response::Response;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

use super::compress::Compressor;
use super::{App, Call, Dialect, body, reply};
use crate::encoding::Encoding;
use crate::proto::{CursorRequest, CursorResponse};
use crate::registry::Lease;
use crate::resolve::Program;
use crate::sink::{Chunk, CursorSink, error_chunk};
use crate::{Error, Server, Stream};

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

    let (sink, chunks) = CursorSink::new(encoding, app.limits.stream_idle);
    let ended = Arc::new(AtomicBool::new(false));
    tokio::spawn(produce(lease, program, sink, encoding, Arc::clone(&ended)));
    // How much will come is not known yet, but cursors are for much.
    let compressor = call.accepted.map(Compressor::new);
    let body = ChunkBody { head: Some(head), chunks, ended, compressor };
    let mut response = reply::response(StatusCode::OK, encoding, Body::new(body));
    if let Some(coding) = call.accepted {
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
        // A client that no longer reads does not want the error either.
        drop(rest.send(error_chunk(encoding, error)).await);
    }
    // Parked before the channel closes: whoever has read the end of the body may go on at once.
    lease.park().await;
    ended.store(true, Ordering::Release);
    drop(rest);
}

/// The producer panicked, so the entries are not complete.
#[derive(Debug, thiserror::Error)]
#[error("a cursor's stream failed in the server")]
struct Incomplete;

/// A response body that yields the head and then the chunks. It must not end like a complete one
/// when the producer failed: then it is an error, and the client sees the response cut off.
struct ChunkBody {
    head: Option<Chunk>,
    chunks: mpsc::Receiver<Chunk>,
    ended: Arc<AtomicBool>,
    /// Taken at the end.
    compressor: Option<Compressor>,
}

impl ChunkBody {
    fn frame(&mut self, chunk: Chunk) -> Frame<Bytes> {
        let chunk = match &mut self.compressor {
            None => chunk,
            Some(compressor) => compressor.push(&chunk),
        };
        Frame::data(chunk.into())
    }
}

impl axum::body::HttpBody for ChunkBody {
    type Data = Bytes;
    type Error = Incomplete;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(self.frame(head))));
        }
        match self.chunks.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(chunk)) => Poll::Ready(Some(Ok(self.frame(chunk)))),
            Poll::Ready(None) if self.ended.load(Ordering::Acquire) => {
                let last = self.compressor.take().map(|compressor| compressor.finish());
                Poll::Ready(last.map(|last| Ok(Frame::data(last.into()))))
            }
            Poll::Ready(None) => Poll::Ready(Some(Err(Incomplete))),
        }
    }
}
