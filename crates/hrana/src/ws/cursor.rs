//! Cuts a cursor's chunks into `fetch_cursor` responses.
//!
//! The entries are already JSON, a line each, so a response is put together from their bytes.

use tokio::sync::mpsc;

use crate::sink::Chunk;

/// The reading end of a cursor.
pub(super) struct CursorReader {
    chunks: mpsc::Receiver<Chunk>,
    chunk: Chunk,
    /// Bytes of `chunk` that were handed out.
    read: usize,
}

/// Entries for one response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// The entries with commas between them.
    pub(super) json: Vec<u8>,
    /// The cursor has no more.
    pub(super) done: bool,
}

impl CursorReader {
    pub(super) fn new(chunks: mpsc::Receiver<Chunk>) -> Self {
        Self { chunks, chunk: Chunk::new(), read: 0 }
    }

    /// The next entries: at most `max_count`, and none more once they exceed `max_bytes`. Waits for
    /// the first one, but not for more than are there: a slow statement's rows arrive as they come.
    pub(super) async fn fetch(&mut self, max_count: u32, max_bytes: usize) -> Entries {
        let mut json = Vec::new();
        let mut count = 0;
        while count < max_count && json.len() <= max_bytes {
            if self.read == self.chunk.len() {
                let next = if count == 0 {
                    self.chunks.recv().await
                } else {
                    match self.chunks.try_recv() {
                        Ok(chunk) => Some(chunk),
                        Err(mpsc::error::TryRecvError::Disconnected) => None,
                        Err(mpsc::error::TryRecvError::Empty) => break,
                    }
                };
                let Some(chunk) = next else {
                    return Entries { json, done: true };
                };
                self.chunk = chunk;
                self.read = 0;
                continue;
            }
            let rest = &self.chunk[self.read..];
            let end = rest.iter().position(|byte| *byte == b'\n').expect("a chunk is whole lines");
            if count > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&rest[..end]);
            self.read += end + 1;
            count += 1;
        }
        Entries { json, done: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(chunks: &[&str]) -> CursorReader {
        let (sender, receiver) = mpsc::channel(8);
        for chunk in chunks {
            sender.try_send(chunk.as_bytes().to_vec()).unwrap();
        }
        CursorReader::new(receiver)
    }

    async fn fetch(reader: &mut CursorReader, max_count: u32, max_bytes: usize) -> (String, bool) {
        let entries = reader.fetch(max_count, max_bytes).await;
        (String::from_utf8(entries.json).unwrap(), entries.done)
    }

    #[tokio::test]
    async fn entries_are_counted_across_chunks() {
        let mut reader = reader(&["1\n2\n", "3\n", "4\n"]);
        assert_eq!(fetch(&mut reader, 3, 100).await, ("1,2,3".into(), false));
        assert_eq!(fetch(&mut reader, 0, 100).await, (String::new(), false));
        assert_eq!(fetch(&mut reader, 3, 100).await, ("4".into(), true));
        assert_eq!(fetch(&mut reader, 3, 100).await, (String::new(), true));
    }

    #[tokio::test]
    async fn a_response_ends_when_it_exceeds_its_bytes() {
        let mut reader = reader(&["11\n22\n33\n"]);
        assert_eq!(fetch(&mut reader, 9, 1).await, ("11".into(), false));
        assert_eq!(fetch(&mut reader, 9, 4).await, ("22,33".into(), false));
        assert_eq!(fetch(&mut reader, 9, 4).await, (String::new(), true));
    }

    #[tokio::test]
    async fn what_is_there_is_not_held_back_for_what_is_not() {
        let (sender, receiver) = mpsc::channel(8);
        let mut reader = CursorReader::new(receiver);
        sender.try_send(b"1\n".to_vec()).unwrap();
        assert_eq!(fetch(&mut reader, 9, 100).await, ("1".into(), false));
        drop(sender);
        assert_eq!(fetch(&mut reader, 9, 100).await, (String::new(), true));
    }
}
