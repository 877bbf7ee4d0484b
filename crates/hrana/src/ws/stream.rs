//! The task that owns one stream of a connection and does its jobs in order.
//!
//! Other streams have tasks of their own and run meanwhile. When the connection ends the task is
//! aborted, which drops the stream, which rolls back.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ws::Message;
use tokio::sync::{Notify, mpsc};

use super::cursor::{CursorReader, Entries};
use super::inbox::{Inbox, Job, Task};
use crate::encoding::Encoding;
use crate::large::{self, Bulk as _, beside};
use crate::proto::protobuf;
use crate::proto::{Response, ServerMessage};
use crate::sink::{CursorSink, error_chunk};
use crate::{Error, Program, Server, Stream, Target, Waiting, codes};

/// Where responses go, each as a message. The connection counts requests, so this channel
/// holds no more of them than a connection may have outstanding; and streams wait before they execute
/// more while the client has too many bytes to read.
#[derive(Clone)]
pub(super) struct Replies {
    pub(super) encoding: Encoding,
    pub(super) sender: mpsc::UnboundedSender<Message>,
    pub(super) queued: Arc<Queued>,
}

/// The bytes of the responses that wait for the client.
pub(super) struct Queued {
    bytes: AtomicUsize,
    most: usize,
    drained: Notify,
}

impl Queued {
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), most, drained: Notify::new() }
    }

    fn add(&self, message: &Message) {
        self.bytes.fetch_add(length(message), Ordering::AcqRel);
    }

    /// A response was sent.
    pub(super) fn sent(&self, message: &Message) {
        let length = length(message);
        let before = self.bytes.fetch_sub(length, Ordering::AcqRel);
        if before > self.most && before - length <= self.most {
            self.drained.notify_waiters();
        }
    }

    /// Whether there is room for another response.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) <= self.most
    }

    /// Ready when there is room for another response.
    async fn room(&self) {
        while !self.has_room() {
            let mut drained = pin!(self.drained.notified());
            // From here on no notification is missed.
            drained.as_mut().enable();
            if !self.has_room() {
                drained.await;
            }
        }
    }
}

fn length(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}

impl Replies {
    pub(super) fn send(&self, request_id: i32, result: Result<Response, Error>) {
        let message = match result {
            Ok(response) => ServerMessage::ResponseOk { request_id, response },
            Err(error) => ServerMessage::ResponseError { request_id, error: error.into() },
        };
        self.send_message(self.write(message));
    }

    /// The same for a response that may be large. Others of its stream must wait until it is sent.
    async fn give(&self, request_id: i32, result: Result<Response, Error>) {
        if result.is_large() {
            let replies = self.clone();
            beside(move || replies.send(request_id, result)).await;
        } else {
            self.send(request_id, result);
        }
    }

    /// A message in the connection's encoding.
    pub(super) fn write(&self, message: ServerMessage) -> Message {
        match self.encoding {
            Encoding::Json => {
                let text = serde_json::to_string(&message).expect("a message is JSON");
                Message::Text(text.into())
            }
            Encoding::Protobuf => Message::Binary(protobuf::encode(message).into()),
        }
    }

    /// A [`Response::FetchCursor`], put together from entries that are written already.
    async fn give_entries(&self, request_id: i32, entries: Entries) {
        if large::many(entries.list.len()) {
            let replies = self.clone();
            beside(move || replies.send_entries(request_id, entries)).await;
        } else {
            self.send_entries(request_id, entries);
        }
    }

    fn send_entries(&self, request_id: i32, entries: Entries) {
        let Entries { list, done, .. } = entries;
        self.send_message(match self.encoding {
            Encoding::Json => {
                let list = String::from_utf8(list).expect("entries are JSON");
                let text = format!(
                    r#"{{"type":"response_ok","request_id":{request_id},"response":{{"type":"fetch_cursor","entries":[{list}],"done":{done}}}}}"#
                );
                Message::Text(text.into())
            }
            Encoding::Protobuf => {
                Message::Binary(protobuf::fetched(request_id, list, done).into())
            }
        });
    }

    /// A connection that is gone needs no answer.
    fn send_message(&self, message: Message) {
        self.queued.add(&message);
        drop(self.sender.send(message));
    }
}

/// One stream's task.
pub(super) struct StreamTask<S: Server> {
    pub(super) server: Arc<S>,
    pub(super) replies: Replies,
    pub(super) inbox: Arc<Inbox>,
    /// Bytes of entries after which a fetch response is sent.
    pub(super) response_bytes: usize,
    /// How long an open cursor may wait for the client to fetch more.
    pub(super) cursor_idle: Duration,
}

/// How a cursor came to its end.
enum CursorEnd {
    Closed,
    StreamClosed { request_id: i32 },
    ConnectionGone,
}

impl<S: Server> StreamTask<S> {
    /// Opens the stream for the request `request_id` and works until it is closed.
    pub(super) async fn run(mut self, target: Target, request_id: i32) {
        let mut stream = match self.server.open(&target).await {
            Ok(stream) => {
                self.replies.send(request_id, Ok(Response::OpenStream));
                stream
            }
            Err(error) => {
                self.replies.send(request_id, Err(error));
                return self.refuse().await;
            }
        };
        while let Some(Task { request_id, job }) = self.inbox.next().await {
            let result = match job {
                Job::Close => return self.close(stream, request_id).await,
                Job::OpenCursor { cursor_id, program } => {
                    self.replies.send(request_id, Ok(Response::OpenCursor));
                    match self.serve_cursor(&mut stream, cursor_id, program).await {
                        CursorEnd::Closed => continue,
                        CursorEnd::ConnectionGone => return,
                        CursorEnd::StreamClosed { request_id } => {
                            return self.close(stream, request_id).await;
                        }
                    }
                }
                Job::Execute(_) => {
                    self.replies.queued.room().await;
                    self.inbox.put_back(Task { request_id, job });
                    stream.run(Arc::clone(&self.inbox) as Arc<dyn Waiting>).await;
                    continue;
                }
                job => {
                    self.replies.queued.room().await;
                    execute(&mut stream, job).await
                }
            };
            self.replies.give(request_id, result).await;
        }
    }

    async fn close(self, stream: S::Stream, request_id: i32) {
        stream.close().await;
        self.replies.send(request_id, Ok(Response::CloseStream));
    }

    /// The stream could not be opened: its id stays in use, and everything fails but closing.
    pub(super) async fn refuse(self) {
        while let Some(Task { request_id, job }) = self.inbox.next().await {
            let result = match job {
                Job::Close => return self.replies.send(request_id, Ok(Response::CloseStream)),
                Job::CloseCursor { .. } => Ok(Response::CloseCursor),
                _ => {
                    let message = "The stream could not be opened. Close it and open another.";
                    Err(Error::request(codes::STREAM_NOT_OPEN, message))
                }
            };
            self.replies.send(request_id, result);
        }
    }

    /// Lets the stream produce, and answers fetches, until the cursor is closed.
    async fn serve_cursor(
        &mut self,
        stream: &mut S::Stream,
        open_id: i32,
        program: Program,
    ) -> CursorEnd {
        let encoding = self.replies.encoding;
        let (sink, chunks) = CursorSink::new(encoding, program.steps.len(), self.cursor_idle);
        let rest = sink.sender();
        let mut producer = pin!(async move {
            if let Err(error) = stream.cursor(program, sink).await {
                // If the cursor was closed meanwhile, nobody wants the error.
                rest.send(error_chunk(encoding, error));
            }
        });
        let mut produced = false;
        let mut reader = CursorReader::new(encoding, chunks);
        let end = loop {
            let task = tokio::select! {
                () = &mut producer, if !produced => {
                    produced = true;
                    continue;
                }
                task = self.inbox.next() => task,
            };
            let Some(Task { request_id, job }) = task else {
                return CursorEnd::ConnectionGone;
            };
            match job {
                Job::FetchCursor { cursor_id, max_count } if cursor_id == open_id => {
                    self.replies.queued.room().await;
                    let mut fetch = pin!(reader.fetch(max_count, self.response_bytes));
                    let entries = loop {
                        tokio::select! {
                            () = &mut producer, if !produced => produced = true,
                            entries = &mut fetch => break entries,
                        }
                    };
                    self.replies.give_entries(request_id, entries).await;
                }
                Job::CloseCursor { cursor_id } if cursor_id == open_id => {
                    break CursorClosing { request_id, stream_too: false };
                }
                Job::Close => break CursorClosing { request_id, stream_too: true },
                Job::CloseCursor { .. } => {
                    self.replies.send(request_id, Ok(Response::CloseCursor));
                }
                Job::FetchCursor { .. } => self.replies.send(request_id, Err(cursor_not_open())),
                _ => {
                    let message = "The stream has an open cursor. Close it first.";
                    let error = Error::request(codes::CURSOR_OPEN, message);
                    self.replies.send(request_id, Err(error));
                }
            }
        };
        // The producer sees that nobody reads, and stops.
        drop(reader);
        if !produced {
            producer.await;
        }
        let CursorClosing { request_id, stream_too } = end;
        if stream_too {
            return CursorEnd::StreamClosed { request_id };
        }
        self.replies.send(request_id, Ok(Response::CloseCursor));
        CursorEnd::Closed
    }
}

/// The request that ends a cursor.
struct CursorClosing {
    request_id: i32,
    stream_too: bool,
}

async fn execute<T: Stream>(stream: &mut T, job: Job) -> Result<Response, Error> {
    Ok(match job {
        Job::Batch(program) => Response::Batch { result: stream.batch(program).await? },
        Job::Sequence(sql) => {
            stream.sequence(sql).await?;
            Response::Sequence
        }
        Job::Describe(sql) => Response::Describe { result: stream.describe(sql).await? },
        Job::GetAutocommit => {
            Response::GetAutocommit { is_autocommit: stream.get_autocommit().await? }
        }
        // The cursor's id is in use, but opening it failed.
        Job::FetchCursor { .. } => return Err(cursor_not_open()),
        Job::CloseCursor { .. } => Response::CloseCursor,
        Job::Execute(_) | Job::OpenCursor { .. } | Job::Close => {
            unreachable!("handled by the stream's loop")
        }
    })
}

fn cursor_not_open() -> Error {
    let message = "The cursor could not be opened. Close it and open another.";
    Error::request(codes::CURSOR_NOT_OPEN, message)
}
