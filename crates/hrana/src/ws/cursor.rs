//! Cuts a cursor's chunks into `fetch_cursor` responses.
//!
//! The entries are written already, so a response is put together from their bytes.

use tokio::sync::mpsc::error::TryRecvError;

use crate::encoding::Encoding;
use crate::proto::protobuf::ENTRIES;
use crate::sink::{Chunk, Chunks};

/// The reading end of a cursor.
pub(super) struct CursorReader {
    encoding: Encoding,
    chunks: Chunks,
    chunk: Chunk,
    /// Bytes of `chunk` that were handed out.
    read: usize,
}

/// Entries for one response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// The entries as they stand in the response's list.
    pub(super) list: Vec<u8>,
    /// The cursor has no more.
    pub(super) done: bool,
}

impl CursorReader {
    pub(super) fn new(encoding: Encoding, chunks: Chunks) -> Self {
        Self { encoding, chunks, chunk: Chunk::new(), read: 0 }
    }

    /// The next entries: at most `max_count`, and none more once they exceed `max_bytes`. Waits for
    /// the first one, but not for more than are there: a slow statement's rows arrive as they come.
    pub(super) async fn fetch(&mut self, max_count: u32, max_bytes: usize) -> Entries {
        let mut list = Vec::new();
        let mut count = 0;
        while count < max_count && list.len() <= max_bytes {
            if self.read == self.chunk.len() {
                let next = if count == 0 {
                    self.chunks.recv().await
                } else {
                    match self.chunks.try_recv() {
                        Ok(chunk) => Some(chunk),
                        Err(TryRecvError::Disconnected) => None,
                        Err(TryRecvError::Empty) => break,
                    }
                };
                let Some(chunk) = next else {
                    return Entries { list, done: true };
                };
                self.chunk = chunk;
                self.read = 0;
                continue;
            }
            let rest = &self.chunk[self.read..];
            self.read += self.encoding.move_item(rest, &mut list, ENTRIES, count == 0);
            count += 1;
        }
        Entries { list, done: false }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::proto::{CursorEntry, Response, ServerMessage, Value, protobuf};

    fn reader(chunks: &[&str]) -> CursorReader {
        let (sender, receiver) = mpsc::channel(8);
        for chunk in chunks {
            sender.try_send(chunk.as_bytes().to_vec()).unwrap();
        }
        CursorReader::new(Encoding::Json, receiver.into())
    }

    async fn fetch(reader: &mut CursorReader, max_count: u32, max_bytes: usize) -> (String, bool) {
        let entries = reader.fetch(max_count, max_bytes).await;
        (String::from_utf8(entries.list).unwrap(), entries.done)
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
        let mut reader = CursorReader::new(Encoding::Json, receiver.into());
        sender.try_send(b"1\n".to_vec()).unwrap();
        assert_eq!(fetch(&mut reader, 9, 100).await, ("1".into(), false));
        drop(sender);
        assert_eq!(fetch(&mut reader, 9, 100).await, (String::new(), true));
    }

    #[tokio::test]
    async fn entries_of_protobuf_are_cut_by_their_lengths() {
        let (sender, receiver) = mpsc::channel(8);
        let entry = |bytes: usize| CursorEntry::Row { row: vec![Value::Blob(vec![10; bytes])] };
        let mut chunk = Chunk::new();
        for bytes in [0, 1, 300] {
            Encoding::Protobuf.append_item(&mut chunk, entry(bytes));
        }
        sender.try_send(chunk).unwrap();
        drop(sender);
        let mut reader = CursorReader::new(Encoding::Protobuf, receiver.into());
        for (max_count, expected, is_done) in
            [(2, vec![entry(0), entry(1)], false), (9, vec![entry(300)], true)]
        {
            let Entries { list, done } = reader.fetch(max_count, 1000).await;
            assert_eq!(done, is_done);
            let message: ServerMessage =
                protobuf::decode(&protobuf::fetched(-7, list, done)).unwrap();
            let response = Response::FetchCursor { entries: expected, done };
            assert_eq!(message, ServerMessage::ResponseOk { request_id: -7, response });
        }
    }
}
