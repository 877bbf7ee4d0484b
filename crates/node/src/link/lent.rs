//! A link's socket, lent to a thread of a seed for one frame.
//!
//! To copy, hash and send a page takes the thread of all sockets as long as a commit does. So whoever reads and writes the
//! pages has these frames pass through the socket by itself, which gives way to commits, and while they are in the
//! processor's cache. The link waits meanwhile, as it would in the middle of any frame. The socket is handed over and back, never
//! shared: nobody can write into the middle of a frame, and whoever drops it with a frame begun has ended the connection.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use counterpart_core::frame::{FrameHead, SEED_HEAD_LEN, SeedPages};
use tokio::{
    io::AsyncReadExt,
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    select,
    sync::oneshot,
};

use super::{receive::ReceiveError, send::write_all};

/// Pages are read to where a disk can take them from: to multiples of this, in bytes.
const BLOCK: usize = 4_096;

/// The connection ended, and whoever has it knows why.
#[derive(Debug, thiserror::Error)]
#[error("the connection ended")]
pub(crate) struct Ended;

/// The way out, for one frame.
pub(crate) struct Outbound {
    pub(super) socket: OwnedWriteHalf,
    pub(super) back: oneshot::Sender<io::Result<OwnedWriteHalf>>,
}

impl Outbound {
    /// Writes a frame, and gives the way back.
    ///
    /// # Errors
    /// [`Ended`]; if it is because of this frame, the link has been told.
    pub(crate) async fn write(mut self, parts: &[&[u8]]) -> Result<(), Ended> {
        let written = select! {
            biased;
            () = self.back.closed() => return Err(Ended),
            written = write_all(&mut self.socket, parts) => written,
        };
        let outcome = written.as_ref().map(drop).map_err(|_told| Ended);
        self.back.send(written.map(|()| self.socket)).map_err(|_ended| Ended)?;
        outcome
    }
}

/// The way in, for a frame of seed pages whose header has arrived.
pub(crate) struct Inbound {
    pub(super) head: FrameHead,
    /// What has arrived of its payload.
    pub(super) begun: BytesMut,
    pub(super) socket: OwnedReadHalf,
    /// Whether it is the partner that is waited for.
    pub(super) reading: Arc<AtomicBool>,
    pub(super) back: oneshot::Sender<Result<OwnedReadHalf, ReceiveError>>,
}

impl Inbound {
    /// Reads the frame, and gives the way back. `memory` is used again if nobody else has it any more.
    ///
    /// # Errors
    /// [`Ended`]; if it is because of this frame, the link has been told.
    pub(crate) async fn read(mut self, memory: &mut Bytes) -> Result<SeedPages, Ended> {
        self.reading.store(true, Ordering::Relaxed);
        let mut room = std::mem::take(memory).try_into_mut().unwrap_or_default();
        room.resize(self.head.length + BLOCK, 0);
        let skipped = room.as_ptr().wrapping_add(SEED_HEAD_LEN).align_offset(BLOCK);
        let payload = skipped..skipped + self.head.length;
        let (begun, rest) = room[payload.clone()].split_at_mut(self.begun.len());
        begun.copy_from_slice(&self.begun);
        let read = select! {
            biased;
            () = self.back.closed() => return Err(Ended),
            read = self.socket.read_exact(rest) => read,
        };
        *memory = room.freeze();
        let pages = match read {
            Ok(_all) => self.head.frame(memory.slice(payload)).map_err(ReceiveError::from),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReceiveError::Closed),
            Err(error) => Err(error.into()),
        };
        let (told, pages) = match pages.and_then(|frame| Ok(SeedPages::decode(&frame)?)) {
            Ok(pages) => (Ok(self.socket), Ok(pages)),
            Err(error) => (Err(error), Err(Ended)),
        };
        self.back.send(told).map_err(|_ended| Ended)?;
        pages
    }
}

#[cfg(test)]
mod tests {
    use counterpart_core::{
        DatabaseId, Lsn, PageNo, PageSize,
        frame::{FrameDecoder, header},
    };
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (one, other) = tokio::join!(connecting, listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    fn pages() -> SeedPages {
        let bytes = (0..256 * 4096).map(|at| (at / 7) as u8).collect();
        let (database, first, page_size) = (DatabaseId(1), PageNo(1), PageSize::DEFAULT);
        SeedPages { database, first, page_size, shown: Lsn(3), bytes }
    }

    type Outcome<T> = oneshot::Receiver<T>;

    fn outbound(socket: TcpStream) -> (Outbound, Outcome<io::Result<OwnedWriteHalf>>) {
        let (back, is_back) = oneshot::channel();
        (Outbound { socket: socket.into_split().1, back }, is_back)
    }

    /// The way in once a link has read the header and some bytes more.
    async fn inbound(
        mut socket: TcpStream,
    ) -> (Inbound, Outcome<Result<OwnedReadHalf, ReceiveError>>) {
        let mut decoder = FrameDecoder::within();
        decoder.buffer().resize(counterpart_core::frame::FRAME_HEADER_LEN + 100, 0);
        socket.read_exact(decoder.buffer()).await.unwrap();
        let head = decoder.head().unwrap().unwrap();
        let begun = decoder.take_begun(&head);
        let (back, is_back) = oneshot::channel();
        let socket = socket.into_split().0;
        (Inbound { head, begun, socket, reading: Arc::default(), back }, is_back)
    }

    #[tokio::test]
    async fn a_frame_written_by_whoever_has_the_socket_is_read_by_whoever_has_the_other() {
        let (one, other) = connection().await;
        let (outbound, written) = outbound(one);
        let (kind, [head, body]) = pages().parts(true);
        let header = header(kind, &[&head, &body]);
        let parts = [&header[..], &head, &body];
        let taking = async {
            let (inbound, read) = inbound(other).await;
            let mut memory = Bytes::new();
            let pages = inbound.read(&mut memory).await.unwrap();
            read.await.unwrap().unwrap();
            pages
        };
        let (sent, taken) = tokio::join!(outbound.write(&parts), taking);
        sent.unwrap();
        written.await.unwrap().unwrap();
        assert_eq!(taken, pages());
    }

    #[tokio::test]
    async fn a_damaged_frame_is_told_to_the_link_and_not_taken() {
        let (one, other) = connection().await;
        let (outbound, _written) = outbound(one);
        let (kind, payload) = pages().encode(false);
        let header = header(kind, &[&payload]);
        let mut damaged = payload;
        *damaged.last_mut().unwrap() ^= 1;
        let parts = [&header[..], &damaged];
        let taking = async {
            let (inbound, read) = inbound(other).await;
            assert!(inbound.read(&mut Bytes::new()).await.is_err());
            read.await.unwrap().unwrap_err()
        };
        let (sent, told) = tokio::join!(outbound.write(&parts), taking);
        sent.unwrap();
        assert!(matches!(told, ReceiveError::Frame(_)), "{told}");
    }

    #[tokio::test]
    async fn whoever_has_the_socket_hears_that_the_link_ended() {
        let (one, other) = connection().await;
        let (outbound, written) = outbound(one);
        drop(written);
        assert!(outbound.write(&[b"anything"]).await.is_err());
        let (mut third, fourth) = connection().await;
        let (kind, payload) = pages().encode(false);
        let begins = [&header(kind, &[&payload])[..], &payload[..100]].concat();
        third.write_all(&begins).await.unwrap();
        let (inbound, read) = inbound(fourth).await;
        // The rest never comes.
        let (mut memory, ending) = (Bytes::new(), async { drop(read) });
        let (taken, ()) = tokio::join!(inbound.read(&mut memory), ending);
        assert!(taken.is_err());
        drop((other, third.read(&mut [0]).await));
    }
}
