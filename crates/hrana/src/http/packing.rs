//! Whether a cursor's entries are compressed, and doing so where they are serialized.
//!
//! ```text
//! open --4 KiB, or more after a while--> packed        open --the end--> plain
//! ```
//!
//! How much will come is not known when a cursor begins, so what comes first is kept until one or the other is clear.
//! Entries are compressed on the thread that produces them, and never on that of all sockets, which one chunk with a large
//! value would keep busy for seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::compress::{Coding, Compressor, LEAST};

/// See the module's head. Shared by the one who produces, who may hold the lock for as long as a chunk takes, and the
/// one who answers, who never waits for it before the producer is done.
pub(crate) struct Packing {
    state: Mutex<State>,
    is_packed: AtomicBool,
}

enum State {
    Open {
        coding: Coding,
        kept: Vec<u8>,
    },
    Plain,
    /// None at the end.
    Packed(Option<Box<Compressor>>),
}

impl Packing {
    /// For a client that accepts `coding`; `head` is what comes before the first entry.
    pub(crate) fn new(coding: Coding, head: Vec<u8>) -> Self {
        let state = Mutex::new(State::Open { coding, kept: head });
        Self { state, is_packed: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Whether the body is compressed, once something of it is to be sent.
    pub(super) fn is_packed(&self) -> bool {
        self.is_packed.load(Ordering::Acquire)
    }

    /// What to send for `chunk`, so that the receiver can read all of it at once; none if it is kept, or comes after the
    /// end, as from a producer whose client is gone.
    pub(crate) fn push(&self, chunk: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.lock();
        match &mut *state {
            State::Plain => None,
            State::Packed(compressor) => compressor.as_mut().map(|it| it.push(&chunk)),
            State::Open { kept, .. } => {
                kept.extend(chunk);
                if kept.len() < LEAST { None } else { self.begin_packing(&mut state) }
            }
        }
    }

    /// More may come, and what is kept must not wait for it: what to send at once. None if the producer has just come.
    pub(super) fn begin(&self) -> Option<Vec<u8>> {
        self.begin_packing(&mut *self.state.try_lock().ok()?)
    }

    fn begin_packing(&self, state: &mut State) -> Option<Vec<u8>> {
        let State::Open { coding, kept } = state else { return None };
        self.is_packed.store(true, Ordering::Release);
        let mut compressor = Compressor::new(*coding);
        let packed = compressor.push(kept);
        *state = State::Packed(Some(Box::new(compressor)));
        Some(packed)
    }

    /// Nothing more comes: what to send last.
    pub(crate) fn end(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        match &mut *state {
            State::Plain => None,
            State::Packed(compressor) => compressor.take().map(|it| it.finish()),
            State::Open { kept, .. } => {
                let kept = std::mem::take(kept);
                *state = State::Plain;
                Some(kept)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn unpacked(packed: Vec<u8>) -> Vec<u8> {
        Coding::Gzip.decompress(packed.into(), 1 << 20).await.unwrap().unwrap().to_vec()
    }

    fn packing() -> Packing {
        Packing::new(Coding::Gzip, b"head\n".to_vec())
    }

    #[test]
    fn little_is_sent_as_it_is() {
        let packing = packing();
        assert_eq!(packing.push(b"row\n".to_vec()), None);
        assert_eq!(packing.end().unwrap(), b"head\nrow\n");
        assert!(!packing.is_packed());
        assert_eq!(packing.push(b"late\n".to_vec()), None);
    }

    #[tokio::test]
    async fn much_is_compressed_from_its_beginning() {
        let packing = packing();
        let row = vec![b'x'; LEAST];
        let mut packed = packing.push(row.clone()).expect("it is much");
        assert!(packed.len() < 100);
        packed.extend(packing.push(b"\nrow\n".to_vec()).unwrap());
        packed.extend(packing.end().unwrap());
        assert!(packing.is_packed());
        assert_eq!(unpacked(packed).await, [b"head\n", &row[..], b"\nrow\n"].concat());
    }

    #[test]
    fn who_answers_does_not_wait_for_the_producer() {
        let packing = packing();
        let _compressing = packing.lock();
        assert_eq!((packing.begin(), packing.is_packed()), (None, false));
    }

    #[tokio::test]
    async fn little_is_compressed_when_it_must_not_wait_for_more() {
        let packing = packing();
        let mut packed = packing.begin().unwrap();
        assert_eq!(packing.begin(), None);
        packed.extend(packing.push(b"row\n".to_vec()).unwrap());
        packed.extend(packing.end().unwrap());
        assert_eq!(unpacked(packed).await, b"head\nrow\n");
    }
}
