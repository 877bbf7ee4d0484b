//! What a stream of a connection is still asked to do.
//!
//! The connection puts tasks in, in the order of its messages. They are taken out one by one by the stream's task, or,
//! statement behind statement, by whoever executes them, on any thread. Never by both at a time: the task waits for the
//! stream meanwhile.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use tokio::sync::mpsc;

use super::stream::Replies;
use crate::proto::Response;
use crate::{Answer, Program, Statement, Waiting};

/// What a stream is asked to do. Everything is resolved: SQL ids are texts by now.
pub(super) enum Job {
    Execute(Statement),
    Batch(Program),
    Sequence(Arc<str>),
    Describe(Arc<str>),
    GetAutocommit,
    OpenCursor { cursor_id: i32, program: Program },
    FetchCursor { cursor_id: i32, max_count: u32 },
    CloseCursor { cursor_id: i32 },
    Close,
}

/// A job and the request that it answers.
pub(super) struct Task {
    pub(super) request_id: i32,
    pub(super) job: Job,
}

/// See the module's head.
pub(super) struct Inbox {
    tasks: Mutex<Tasks>,
    replies: Replies,
}

struct Tasks {
    /// Taken out too early: it is the next one.
    first: Option<Task>,
    rest: mpsc::UnboundedReceiver<Task>,
}

impl Inbox {
    pub(super) fn new(rest: mpsc::UnboundedReceiver<Task>, replies: Replies) -> Self {
        Self { tasks: Mutex::new(Tasks { first: None, rest }), replies }
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().expect("no holder of this lock panics")
    }

    /// The next task; none when the connection is gone.
    pub(super) async fn next(&self) -> Option<Task> {
        poll_fn(|context| {
            let mut tasks = self.lock();
            match tasks.first.take() {
                Some(task) => Poll::Ready(Some(task)),
                None => tasks.rest.poll_recv(context),
            }
        })
        .await
    }

    /// Makes this the next task again.
    pub(super) fn put_back(&self, task: Task) {
        let before = self.lock().first.replace(task);
        assert!(before.is_none(), "only the task that was taken out last is put back");
    }
}

impl Waiting for Inbox {
    fn next(&self) -> Option<(Statement, Answer)> {
        if !self.replies.queued.has_room() {
            return None;
        }
        let mut tasks = self.lock();
        let Task { request_id, job } = tasks.first.take().or_else(|| tasks.rest.try_recv().ok())?;
        let Job::Execute(statement) = job else {
            tasks.first = Some(Task { request_id, job });
            return None;
        };
        let replies = self.replies.clone();
        let answer = move |result: Result<_, _>| {
            replies.send(request_id, result.map(|result| Response::Execute { result }));
        };
        Some((statement, Box::new(answer)))
    }
}
