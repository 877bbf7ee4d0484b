//! Who waits for which position to become final.
//!
//! Every answer to a client passes here: a write waits for its own LSN, a read for the newest LSN that its snapshot
//! could contain. A waiter is woken once, when its own position is final, and never for somebody else's. Whoever waits
//! for a position is told before those who wait for a later one, and before those who asked for the same one later.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use counterpart_core::Lsn;
use tokio::sync::oneshot;

use crate::refusal::Refusal;

/// The commit LSN as this server knows it, and those who wait for it to grow.
#[derive(Default)]
pub struct Confirmations {
    commit: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// What is done once a position is final, or known never to be confirmed by this server.
type Then = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

#[derive(Default)]
struct Waiting {
    /// Keyed by position, then by order of arrival.
    by_lsn: BTreeMap<(Lsn, u64), Then>,
    arrivals: u64,
    /// What is known and not told yet, in order.
    known: VecDeque<(Then, Result<(), Refusal>)>,
    /// A thread is telling: others leave it what they find out, or it would be told out of order.
    telling: bool,
    /// Set when nothing further will be confirmed by this server as it is now.
    ended: Option<Refusal>,
}

impl Confirmations {
    /// Everything up to here is final.
    #[must_use]
    pub fn commit_lsn(&self) -> Lsn {
        Lsn(self.commit.load(Ordering::Acquire))
    }

    /// Waits until `lsn` is final.
    ///
    /// # Errors
    /// The refusal given to [`end`](Self::end), when this server will not confirm `lsn` any more.
    pub async fn wait(&self, lsn: Lsn) -> Result<(), Refusal> {
        if lsn <= self.commit_lsn() {
            return Ok(());
        }
        self.wait_in_order(lsn).await
    }

    /// [`wait`](Self::wait), and until everybody has been told who is to be told before.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_in_order(&self, lsn: Lsn) -> Result<(), Refusal> {
        self.register(lsn).await.unwrap_or_else(|_gone| Err(Refusal::stopping()))
    }

    /// [`wait`](Self::wait) for a thread that may block.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_blocking(&self, lsn: Lsn) -> Result<(), Refusal> {
        if lsn <= self.commit_lsn() {
            return Ok(());
        }
        self.register(lsn).blocking_recv().unwrap_or_else(|_gone| Err(Refusal::stopping()))
    }

    /// [`wait_in_order`](Self::wait_in_order), from now on and not only from when it is awaited.
    pub fn register(&self, lsn: Lsn) -> oneshot::Receiver<Result<(), Refusal>> {
        let (sender, receiver) = oneshot::channel();
        // A client that has gone does not need its answer.
        self.then(lsn, move |confirmed| drop(sender.send(confirmed)));
        receiver
    }

    /// Calls `then` once `lsn` is final, or with the refusal given to [`end`](Self::end): on this thread or on another one
    /// that finds out. It must be quick.
    pub fn then(&self, lsn: Lsn, then: impl FnOnce(Result<(), Refusal>) + Send + 'static) {
        let mut waiting = self.lock();
        let known = match &waiting.ended {
            _ if lsn <= self.commit_lsn() => Ok(()),
            Some(refusal) => Err(refusal.clone()),
            None => {
                let arrival = waiting.arrivals;
                waiting.arrivals += 1;
                waiting.by_lsn.insert((lsn, arrival), Box::new(then));
                return;
            }
        };
        waiting.known.push_back((Box::new(then), known));
        self.tell(waiting);
    }

    /// Everything up to `lsn` has become final; wakes exactly those who waited for it.
    pub fn advance(&self, lsn: Lsn) {
        let mut waiting = self.lock();
        if lsn <= self.commit_lsn() {
            return;
        }
        self.commit.store(lsn.0, Ordering::Release);
        let later = waiting.by_lsn.split_off(&(lsn.next(), 0));
        let due = std::mem::replace(&mut waiting.by_lsn, later);
        waiting.known.extend(due.into_values().map(|then| (then, Ok(()))));
        self.tell(waiting);
    }

    /// Nothing above the commit LSN will be confirmed any more (deposed, poisoned, stopping): all who wait are told,
    /// and so is everyone who comes later, until [`begin`](Self::begin).
    pub fn end(&self, refusal: &Refusal) {
        let mut waiting = self.lock();
        waiting.ended = Some(refusal.clone());
        let all = std::mem::take(&mut waiting.by_lsn);
        waiting.known.extend(all.into_values().map(|then| (then, Err(refusal.clone()))));
        self.tell(waiting);
    }

    /// Tells what is known, unless somebody does already, who will come to it. Whoever panics when it is told hinders
    /// nobody else: the panic goes on when all others have been told.
    fn tell<'a>(&'a self, mut waiting: MutexGuard<'a, Waiting>) {
        if waiting.telling {
            return;
        }
        waiting.telling = true;
        let mut panicked = None;
        while !waiting.known.is_empty() {
            let known = std::mem::take(&mut waiting.known);
            drop(waiting);
            for (then, confirmed) in known {
                let told = catch_unwind(AssertUnwindSafe(|| then(confirmed)));
                panicked = panicked.or(told.err());
            }
            waiting = self.lock();
        }
        waiting.telling = false;
        drop(waiting);
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    /// Confirming goes on, from `lsn`. A commit LSN never shrinks on a server that has told it to anybody; it may
    /// only when a server's data is replaced as a whole.
    pub fn begin(&self, lsn: Lsn) {
        let mut waiting = self.lock();
        waiting.ended = None;
        self.commit.store(lsn.0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn what_is_final_needs_no_wait_and_what_is_not_waits() {
        let confirmations = Confirmations::default();
        confirmations.advance(Lsn(5));
        assert_eq!(soon(confirmations.wait(Lsn(5))), Some(Ok(())));
        assert_eq!(soon(confirmations.wait(Lsn(6))), None);
    }

    #[tokio::test]
    async fn only_those_whose_position_is_reached_are_woken() {
        let confirmations = Confirmations::default();
        let mut early = std::pin::pin!(confirmations.wait(Lsn(1)));
        let mut late = std::pin::pin!(confirmations.wait(Lsn(3)));
        assert!(soon(early.as_mut()).is_none() && soon(late.as_mut()).is_none());
        confirmations.advance(Lsn(2));
        assert_eq!(soon(early), Some(Ok(())));
        assert_eq!(soon(late.as_mut()), None);
        confirmations.advance(Lsn(3));
        assert_eq!(soon(late), Some(Ok(())));
    }

    #[test]
    fn who_is_told_of_an_earlier_position_is_told_first_also_by_whoever_comes_meanwhile() {
        let confirmations = Arc::new(Confirmations::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let told = Arc::clone(&told);
            move |_confirmed| told.lock().unwrap().push(what)
        };
        confirmations.then(Lsn(2), note("second"));
        let (late, others) = (note("known already, and yet behind"), Arc::clone(&confirmations));
        let first = note("first");
        confirmations.then(Lsn(1), move |confirmed| {
            first(confirmed);
            others.then(Lsn(2), late);
        });
        confirmations.advance(Lsn(2));
        assert_eq!(*told.lock().unwrap(), ["first", "second", "known already, and yet behind"]);
    }

    #[tokio::test]
    async fn one_who_panics_when_it_is_told_leaves_nobody_waiting() {
        let confirmations = Confirmations::default();
        confirmations.then(Lsn(1), |_confirmed| panic!("as the test wants it"));
        let mut behind = std::pin::pin!(confirmations.wait(Lsn(1)));
        assert!(soon(behind.as_mut()).is_none());
        let told = catch_unwind(AssertUnwindSafe(|| confirmations.advance(Lsn(1))));
        assert!(told.is_err(), "the panic is not kept secret");
        assert_eq!(soon(behind), Some(Ok(())));
        let mut later = std::pin::pin!(confirmations.wait(Lsn(2)));
        assert!(soon(later.as_mut()).is_none());
        confirmations.advance(Lsn(2));
        assert_eq!(soon(later), Some(Ok(())));
    }

    #[tokio::test]
    async fn ending_tells_those_who_wait_and_those_who_come_but_not_what_is_final() {
        let confirmations = Confirmations::default();
        confirmations.advance(Lsn(1));
        let mut waiter = std::pin::pin!(confirmations.wait(Lsn(2)));
        assert!(soon(waiter.as_mut()).is_none());
        let why = Refusal::stopping();
        confirmations.end(&why);
        assert_eq!(soon(waiter), Some(Err(why.clone())));
        assert_eq!(soon(confirmations.wait(Lsn(9))), Some(Err(why)));
        assert_eq!(soon(confirmations.wait(Lsn(1))), Some(Ok(())));
    }
}
