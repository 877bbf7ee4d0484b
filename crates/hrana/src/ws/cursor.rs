//! Cuts a cursor's chunks into `fetch_cursor` responses.
//!
//! The entries are written already, so a response is put together from their bytes.

use tokio::sync::mpsc::error::TryRecvError;

use crate::encoding::Encoding;
use crate::large::{beside, many};
use crate::proto::protobuf::ENTRIES;
use crate::sink::{Chunk, Chunks};

/// The reading end of a cursor.
pub(super) struct CursorReader {
    encoding: Encoding,
    chunks: Chunks,
    begun: Begun,
}

/// The chunk that is being handed out.
#[derive(Default)]
struct Begun {
    chunk: Chunk,
    /// Bytes of it that were handed out.
    read: usize,
}

/// Entries for one response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    /// The entries as they stand in the response's list.
    pub(super) list: Vec<u8>,
    /// How many they are.
    pub(super) count: u32,
    /// The cursor has no more.
    pub(super) done: bool,
}

/// What a response may hold: so many entries, and none more once they exceed so many bytes.
#[derive(Clone, Copy)]
struct Most {
    count: u32,
    bytes: usize,
}

impl Most {
    fn allows(self, entries: &Entries) -> bool {
        entries.count < self.count && entries.list.len() <= self.bytes
    }
}

impl Begun {
    fn left(&self) -> &[u8] {
        &self.chunk[self.read..]
    }

    /// Hands out entries, as many as there may be.
    fn cut(&mut self, encoding: Encoding, entries: &mut Entries, most: Most) {
        while !self.left().is_empty() && most.allows(entries) {
            let is_first = entries.count == 0;
            self.read += encoding.move_item(self.left(), &mut entries.list, ENTRIES, is_first);
            entries.count += 1;
        }
    }
}

impl CursorReader {
    pub(super) fn new(encoding: Encoding, chunks: Chunks) -> Self {
        Self { encoding, chunks, begun: Begun::default() }
    }

    /// The next entries: at most `max_count`, and none more once they exceed `max_bytes`. Waits for
    /// the first one, but not for more than are there: a slow statement's rows arrive as they come.
    /// Once begun it must be awaited to its end, or entries are lost.
    pub(super) async fn fetch(&mut self, max_count: u32, max_bytes: usize) -> Entries {
        let most = Most { count: max_count, bytes: max_bytes };
        let mut entries = Entries::default();
        while most.allows(&entries) {
            if self.begun.left().is_empty() {
                let next = if entries.count == 0 {
                    self.chunks.recv().await
                } else {
                    match self.chunks.try_recv() {
                        Ok(chunk) => Some(chunk),
                        Err(TryRecvError::Disconnected) => None,
                        Err(TryRecvError::Empty) => break,
                    }
                };
                let Some(chunk) = next else {
                    entries.done = true;
                    break;
                };
                self.begun = Begun { chunk, read: 0 };
            }
            if many(self.begun.left().len()) {
                let (encoding, mut begun) = (self.encoding, std::mem::take(&mut self.begun));
                let cut = move || {
                    begun.cut(encoding, &mut entries, most);
                    (begun, entries)
                };
                (self.begun, entries) = beside(cut).await;
            } else {
                self.begun.cut(self.encoding, &mut entries, most);
            }
        }
        entries
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
            let Entries { list, done, .. } = reader.fetch(max_count, 1000).await;
            assert_eq!(done, is_done);
            let message: ServerMessage =
                protobuf::decode(&protobuf::fetched(-7, list, done)).unwrap();
            let response = Response::FetchCursor { entries: expected, done };
            assert_eq!(message, ServerMessage::ResponseOk { request_id: -7, response });
        }
    }
}
