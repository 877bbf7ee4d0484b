//! One connection: reads its messages, knows its ids, and hands jobs to the tasks of its streams.
//!
//! ```text
//!  socket --messages--> connection --jobs--> stream task (one per stream)
//!     ^                     |                    |
//!     +----- responses -----+<---- replies ------+
//! ```
//!
//! What is answered here and what in the stream's task: ids and stored SQL belong to the
//! connection and are settled here, in the order of the messages; all that touches a database
//! happens in the stream's task. A message that breaks the protocol's rules ends the connection; a
//! request that merely fails is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite;

use super::close::Close;
use super::inbox::{Inbox, Job, Task};
use super::stream::{Queued, Replies, StreamTask};
use crate::encoding::Encoding;
use crate::http::App;
use crate::proto::{ClientMessage, Request, Response, ServerMessage};
use crate::resolve::SqlStore;
use crate::{Error, Server, Target, Version, codes};

/// Pings without any message in return after which a client is taken for dead. Without this, a
/// client whose machine lost its network would keep its streams until the end of time.
const SILENT_PINGS: u32 = 3;

/// How long the server waits for a client to hear that its connection is closed.
const PARTING: Duration = Duration::from_secs(1);

struct Connection<S: Server> {
    app: Arc<App<S>>,
    target: Target,
    version: Version,
    encoding: Encoding,
    greeted: bool,
    streams: HashMap<i32, mpsc::UnboundedSender<Task>>,
    /// The stream of each cursor id in use, whether the cursor could be opened or not.
    cursors: HashMap<i32, i32>,
    sqls: SqlStore,
    /// Aborted when the connection ends, which drops the streams, which rolls back.
    tasks: JoinSet<()>,
    replies: Replies,
    /// Requests that are not answered yet.
    outstanding: usize,
}

/// Serves a connection until either side closes it.
pub(super) async fn run<S: Server>(
    app: Arc<App<S>>,
    target: Target,
    version: Version,
    encoding: Encoding,
    mut socket: WebSocket,
) {
    let (sender, mut replies) = mpsc::unbounded_channel();
    let mut stopping = app.stopping.subscribe();
    let queued = Arc::new(Queued::new(app.limits.response_bytes));
    let mut connection = Connection {
        app,
        target,
        version,
        encoding,
        greeted: false,
        streams: HashMap::new(),
        cursors: HashMap::new(),
        sqls: SqlStore::default(),
        tasks: JoinSet::new(),
        replies: Replies { encoding, sender, queued },
        outstanding: 0,
    };
    let mut ping = interval(connection.app.limits.ws_ping);
    // Not at once: who has just come is there.
    ping.reset();
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    let mut ending = false;
    let close = loop {
        // What was begun is answered first: of a write whose answer is lost nobody knows whether it is there.
        if ending && connection.outstanding == 0 {
            break Close::going_away();
        }
        let may_read = !ending && connection.has_room();
        tokio::select! {
            message = socket.recv(), if may_read => {
                let Some(message) = message else { return };
                silent = 0;
                match connection.receive_all(message, &mut socket).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(close) => break close,
                }
            }
            Some(reply) = replies.recv() => {
                if connection.answer(reply, &mut replies, &mut socket).await.is_err() {
                    return;
                }
            }
            Some(ended) = connection.tasks.join_next() => if ended.is_err() {
                break Close::internal();
            },
            // While nothing is read, silence says nothing.
            _ = ping.tick(), if may_read => {
                if silent >= SILENT_PINGS {
                    break Close::silent();
                }
                silent += 1;
                if socket.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            }
            () = until_set(&mut stopping), if !ending => ending = true,
        }
    };
    tracing::debug!(code = close.code, "closing a connection: {}", close.reason);
    drop(connection);
    part(socket, close).await;
}

/// Says why the connection ends, and reads on until the client has heard it: a socket that is closed with
/// unread bytes in it, and a pong is enough, is reset, and a reset can overtake the last answers.
async fn part(mut socket: WebSocket, close: Close) {
    let parting = async {
        // The client may be gone already; then there is nobody to tell.
        if socket.send(Message::Close(Some(close.into_frame()))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    if timeout(PARTING, parting).await.is_err() {
        tracing::debug!("a client did not answer that its connection is closed");
    }
}

impl<S: Server> Connection<S> {
    /// Whether another request may be read.
    fn has_room(&self) -> bool {
        self.outstanding < self.app.limits.ws_requests
    }

    /// Handles a message and those that have come with it; false if the client left.
    async fn receive_all(
        &mut self,
        first: Result<Message, axum::Error>,
        socket: &mut WebSocket,
    ) -> Result<bool, Close> {
        let mut message = first;
        while self.receive(message, socket).await? {
            if !self.has_room() {
                return Ok(true);
            }
            match socket.recv().now_or_never() {
                None => return Ok(true),
                Some(None) => break,
                Some(Some(next)) => message = next,
            }
        }
        Ok(false)
    }

    /// Sends an answer, and those that are there by now with it: each write to a socket costs more than most answers.
    async fn answer(
        &mut self,
        first: Message,
        replies: &mut mpsc::UnboundedReceiver<Message>,
        socket: &mut WebSocket,
    ) -> Result<(), axum::Error> {
        let mut next = Some(first);
        while let Some(reply) = next {
            self.outstanding -= 1;
            self.replies.queued.sent(&reply);
            socket.feed(reply).await?;
            next = replies.try_recv().ok();
        }
        socket.flush().await
    }

    /// Handles what came from the socket; false if the client left.
    async fn receive(
        &mut self,
        message: Result<Message, axum::Error>,
        socket: &mut WebSocket,
    ) -> Result<bool, Close> {
        let message: ClientMessage = match message {
            Ok(Message::Text(text)) if self.encoding == Encoding::Json => {
                serde_json::from_str(&text).map_err(|error| Close::malformed(&error.into()))?
            }
            Ok(Message::Binary(bytes)) if self.encoding == Encoding::Protobuf => {
                self.encoding.read(&bytes).map_err(|error| Close::malformed(&error))?
            }
            Ok(Message::Text(_) | Message::Binary(_)) => {
                return Err(Close::wrong_frame(self.encoding));
            }
            // Pings are answered by the WebSocket library.
            Ok(Message::Ping(_) | Message::Pong(_)) => return Ok(true),
            Ok(Message::Close(_)) => return Ok(false),
            Err(error) if is_too_large(&error) => {
                return Err(Close::too_large(self.app.limits.request_bytes));
            }
            Err(error) => {
                tracing::debug!("a connection broke: {error}");
                return Ok(false);
            }
        };
        match message {
            ClientMessage::Hello { jwt } => self.hello(jwt, socket).await,
            ClientMessage::Request { .. } if !self.greeted => {
                Err(Close::violation("A request came before the hello message."))
            }
            ClientMessage::Request { request_id, request } => {
                self.outstanding += 1;
                if let Some(result) = self.dispatch(request_id, request)? {
                    self.replies.send(request_id, result);
                }
                Ok(true)
            }
        }
    }

    /// Judges the credentials; the first hello opens the door, a later one renews them.
    async fn hello(&mut self, jwt: Option<String>, socket: &mut WebSocket) -> Result<bool, Close> {
        if self.greeted && self.version < Version::V2 {
            return Err(Close::violation("Version 1 of the protocol has only one hello."));
        }
        // Without a token in the message, the one of the handshake's header stays good.
        self.target.credentials = jwt.or_else(|| self.target.credentials.take());
        let result = self.app.server.hello(&self.target).await;
        let answer = match &result {
            Ok(()) => ServerMessage::HelloOk,
            Err(error) => ServerMessage::HelloError { error: error.clone().into() },
        };
        let sent = socket.send(self.replies.write(answer)).await;
        if let Err(error) = result {
            return Err(Close::violation(error.message));
        }
        self.greeted = true;
        Ok(sent.is_ok())
    }

    /// Answers a request that concerns only the connection, or hands it to its stream.
    fn dispatch(
        &mut self,
        request_id: i32,
        request: Request,
    ) -> Result<Option<Result<Response, Error>>, Close> {
        if let Err(error) = self.check_version(&request) {
            return Ok(Some(Err(error)));
        }
        let (stream_id, job) = match request {
            Request::StoreSql { sql_id, sql } => return self.store_sql(sql_id, sql).map(Some),
            Request::CloseSql { sql_id } => {
                self.sqls.close(sql_id);
                return Ok(Some(Ok(Response::CloseSql)));
            }
            Request::OpenStream { stream_id } => return self.open_stream(request_id, stream_id),
            Request::CloseStream { stream_id } => {
                self.cursors.retain(|_, stream| *stream != stream_id);
                let stream = self.streams.remove(&stream_id);
                let stream = stream.ok_or_else(|| unknown("stream", stream_id))?;
                hand_over(&stream, request_id, Job::Close);
                return Ok(None);
            }
            Request::Execute { stream_id, stmt } => {
                (stream_id, self.sqls.statement(stmt).map(Job::Execute))
            }
            Request::Batch { stream_id, batch } => {
                (stream_id, self.sqls.program(batch, self.version).map(Job::Batch))
            }
            Request::Sequence { stream_id, sql, sql_id } => {
                (stream_id, self.sqls.sql(sql, sql_id).map(Job::Sequence))
            }
            Request::Describe { stream_id, sql, sql_id } => {
                (stream_id, self.sqls.sql(sql, sql_id).map(Job::Describe))
            }
            Request::GetAutocommit { stream_id } => (stream_id, Ok(Job::GetAutocommit)),
            Request::OpenCursor { stream_id, cursor_id, batch } => {
                self.register_cursor(cursor_id, stream_id)?;
                let program = self.sqls.program(batch, self.version);
                (stream_id, program.map(|program| Job::OpenCursor { cursor_id, program }))
            }
            Request::FetchCursor { cursor_id, max_count } => {
                let stream_id = self.cursors.get(&cursor_id);
                let stream_id = *stream_id.ok_or_else(|| unknown("cursor", cursor_id))?;
                (stream_id, Ok(Job::FetchCursor { cursor_id, max_count }))
            }
            Request::CloseCursor { cursor_id } => {
                let stream_id = self.cursors.remove(&cursor_id);
                let stream_id = stream_id.ok_or_else(|| unknown("cursor", cursor_id))?;
                (stream_id, Ok(Job::CloseCursor { cursor_id }))
            }
        };
        let stream = self.streams.get(&stream_id).ok_or_else(|| unknown("stream", stream_id))?;
        match job {
            Ok(job) => {
                hand_over(stream, request_id, job);
                Ok(None)
            }
            Err(error) => Ok(Some(Err(error))),
        }
    }

    fn check_version(&self, request: &Request) -> Result<(), Error> {
        let (since, what) = match request {
            Request::OpenStream { .. }
            | Request::CloseStream { .. }
            | Request::Execute { .. }
            | Request::Batch { .. } => return Ok(()),
            Request::Sequence { .. } => (Version::V2, "The request sequence"),
            Request::Describe { .. } => (Version::V2, "The request describe"),
            Request::StoreSql { .. } => (Version::V2, "The request store_sql"),
            Request::CloseSql { .. } => (Version::V2, "The request close_sql"),
            Request::OpenCursor { .. } => (Version::V3, "The request open_cursor"),
            Request::FetchCursor { .. } => (Version::V3, "The request fetch_cursor"),
            Request::CloseCursor { .. } => (Version::V3, "The request close_cursor"),
            Request::GetAutocommit { .. } => (Version::V3, "The request get_autocommit"),
        };
        self.version.require(since, what)
    }

    /// The id counts as used from here on, even if the cursor cannot be opened.
    fn register_cursor(&mut self, cursor_id: i32, stream_id: i32) -> Result<(), Close> {
        if !self.streams.contains_key(&stream_id) {
            return Err(unknown("stream", stream_id));
        }
        if self.cursors.len() >= self.most_ids() {
            return Err(Close::violation("Too many cursors were opened and not closed."));
        }
        match self.cursors.insert(cursor_id, stream_id) {
            None => Ok(()),
            Some(_) => Err(in_use("cursor", cursor_id)),
        }
    }

    /// Ids in use beyond which a client that goes on opening is cut off: those that were refused
    /// stay in use, and need memory, until the client closes them.
    fn most_ids(&self) -> usize {
        self.app.limits.ws_streams * 2
    }

    /// An id in use is a violation, by the specification; a full store is an error.
    fn store_sql(&mut self, sql_id: i32, sql: String) -> Result<Result<Response, Error>, Close> {
        if self.sqls.contains(sql_id) {
            return Err(in_use("SQL text", sql_id));
        }
        let stored = self.sqls.store(sql_id, sql, &self.app.limits);
        Ok(stored.map(|()| Response::StoreSql))
    }

    fn open_stream(
        &mut self,
        request_id: i32,
        stream_id: i32,
    ) -> Result<Option<Result<Response, Error>>, Close> {
        if self.streams.contains_key(&stream_id) {
            return Err(in_use("stream", stream_id));
        }
        if self.streams.len() >= self.most_ids() {
            return Err(Close::violation("Too many streams were opened and not closed."));
        }
        let (sender, tasks) = mpsc::unbounded_channel();
        self.streams.insert(stream_id, sender);
        let task = StreamTask {
            server: Arc::clone(&self.app.server),
            replies: self.replies.clone(),
            inbox: Arc::new(Inbox::new(tasks, self.replies.clone())),
            response_bytes: self.app.limits.response_bytes,
            cursor_idle: self.app.limits.stream_idle,
        };
        // An id counts as used even if opening fails, so a refusal needs a task, too.
        if self.streams.len() > self.app.limits.ws_streams {
            let limit = self.app.limits.ws_streams;
            let message = format!(
                "{limit} streams are open on this connection, which is the limit. Close some, or \
                 open another connection."
            );
            self.tasks.spawn(task.refuse());
            return Ok(Some(Err(Error::request(codes::TOO_MANY_STREAMS, message))));
        }
        self.tasks.spawn(task.run(self.target.clone(), request_id));
        Ok(None)
    }
}

/// Ready when the flag is set. Its sender lives as long as the connection, in what connections share.
async fn until_set(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending().await
    }
}

fn hand_over(stream: &mpsc::UnboundedSender<Task>, request_id: i32, job: Job) {
    // A task that panicked does not listen; the connection learns that from its join set.
    drop(stream.send(Task { request_id, job }));
}

fn unknown(what: &str, id: i32) -> Close {
    Close::violation(format!("There is no {what} with the id {id}."))
}

fn in_use(what: &str, id: i32) -> Close {
    Close::violation(format!("The {what} id {id} is already in use."))
}

/// Whether the WebSocket library refused a message for its size.
fn is_too_large(error: &axum::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<tungstenite::Error>() {
            return matches!(error, tungstenite::Error::Capacity(_));
        }
        source = error.source();
    }
    false
}
