//! One connection to a partner, both halves: real frames out, real frames in, in the order and with the priorities of
//! the node's links.

use std::collections::VecDeque;

use bytes::Bytes;
use counterpart_core::{
    Lsn,
    frame::{self, FrameDecoder, FrameType, Opening, SeedPages},
    message::Envelope,
    record::{Record, split_records},
    session::{Event, LinkId},
};

use super::{Around, Input, Job, Process, seed::Sending};
use crate::net::Piece;

/// Bytes of records in one frame, unless a single record is longer. Small, so that a connection breaks between two.
const RECORDS_PER_FRAME: usize = 8 << 10;

/// A connection, as its process holds it.
#[derive(Default)]
pub struct Link {
    decoder: FrameDecoder,
    queue: VecDeque<Out>,
    /// The last position sent, while records are streamed.
    streamed: Option<Lsn>,
    /// Pieces of a seed that wait for the network.
    pub seeds: VecDeque<Bytes>,
    /// The seed that is being sent.
    pub sending: Option<Sending>,
    /// The copy that is being sent.
    pub copying: Option<super::copy::Copying>,
    /// All of a copy waits for the network, up to this end of its journal.
    pub copy_sent: Option<Lsn>,
    awake: bool,
    closing: bool,
}

enum Out {
    Message(Box<Envelope>),
    StreamFrom(Lsn),
    StopStreaming,
    Close,
}

/// A whole frame.
pub fn framed(kind: FrameType, payload: &[u8]) -> Bytes {
    let header = frame::header(kind, &[payload]);
    [&header[..], payload].concat().into()
}

impl Process {
    pub(super) fn take_link(&mut self, around: &mut Around, link: LinkId) {
        self.links.insert(link, Link::default());
        self.put(around, link, Bytes::copy_from_slice(&frame::opening()));
        // What has arrived meanwhile waited in the socket.
        for piece in self.early.remove(&link).unwrap_or_default() {
            self.receive(around, link, piece);
        }
    }

    fn put(&mut self, around: &mut Around, link: LinkId, bytes: Bytes) {
        around.trace.note(&bytes);
        around.net.send(link, Piece::Bytes(bytes), &mut around.agenda, &mut around.dice);
    }

    /// Sends what is queued and closes; nothing more is read.
    pub(super) fn close_link(&mut self, around: &mut Around, link: LinkId) {
        if let Some(held) = self.links.get_mut(&link)
            && !held.closing
        {
            held.closing = true;
            held.queue.push_back(Out::Close);
            self.wake(around, link);
        }
    }

    fn ask(&mut self, around: &mut Around, link: LinkId, out: Out) {
        if let Some(held) = self.links.get_mut(&link)
            && !held.closing
        {
            held.queue.push_back(out);
            self.wake(around, link);
        }
    }

    pub(super) fn send_message(&mut self, around: &mut Around, link: LinkId, envelope: Envelope) {
        self.ask(around, link, Out::Message(Box::new(envelope)));
    }

    pub(super) fn stream_from(&mut self, around: &mut Around, link: LinkId, after: Lsn) {
        self.ask(around, link, Out::StreamFrom(after));
    }

    pub(super) fn stop_streaming(&mut self, around: &mut Around, link: LinkId) {
        self.ask(around, link, Out::StopStreaming);
    }

    /// Has the sending half look, soon.
    pub fn wake(&mut self, around: &mut Around, link: LinkId) {
        if let Some(held) = self.links.get_mut(&link)
            && !std::mem::replace(&mut held.awake, true)
        {
            let span = around.dice.around(30);
            self.soon(around, span, Job::Send(link));
        }
    }

    /// Wakes all that stream.
    pub(super) fn wake_senders(&mut self, around: &mut Around) {
        let streaming: Vec<_> = self
            .links
            .iter()
            .filter(|(_, held)| held.streamed.is_some())
            .map(|(&id, _)| id)
            .collect();
        for link in streaming {
            self.wake(around, link);
        }
    }

    /// One thing goes out: what was asked for first, then records, then pieces of a seed.
    pub(super) fn go_on_sending(&mut self, around: &mut Around, link: LinkId) {
        let Some(held) = self.links.get_mut(&link) else { return };
        held.awake = false;
        let asked = held.queue.pop_front();
        let streamed = held.streamed;
        match asked {
            Some(Out::Close) => {
                self.links.remove(&link);
                around.net.close(link, &mut around.agenda, &mut around.dice);
                return;
            }
            Some(Out::Message(envelope)) => {
                let bytes = frame::message_frame(&envelope);
                around.trace.line(around.agenda.now(), || {
                    format!("{} says on {}: {}", self.name(), link.0, said(&envelope))
                });
                self.put(around, link, bytes.into());
            }
            Some(Out::StreamFrom(after)) => held.streamed = Some(after),
            Some(Out::StopStreaming) => {
                (held.streamed, held.sending) = (None, None);
                (held.copying, held.copy_sent) = (None, None);
                held.seeds.clear();
            }
            None if around.net.is_full(link) => return,
            None if streamed.is_some_and(|after| after < self.journal.last()) => {
                return self.send_records(around, link, streamed.expect("checked"));
            }
            None => match held.seeds.pop_front() {
                Some(piece) => {
                    self.put(around, link, piece);
                    self.soon(around, 1, Job::SendSeed(link));
                    self.tell_copied(around, link);
                }
                None => return,
            },
        }
        self.wake(around, link);
    }

    fn send_records(&mut self, around: &mut Around, link: LinkId, after: Lsn) {
        match self.journal.read_after(after, RECORDS_PER_FRAME) {
            Ok(chunk) => {
                if !chunk.bytes.is_empty() {
                    self.put(around, link, framed(FrameType::Records, &chunk.bytes));
                }
                if let Some(held) = self.links.get_mut(&link) {
                    held.streamed = Some(chunk.last);
                }
                self.wake(around, link);
            }
            Err(error) => self.link_broke(around, link, &error.to_string()),
        }
    }

    /// The connection ended by itself.
    pub(super) fn link_broke(&mut self, around: &mut Around, link: LinkId, why: &str) {
        self.event(around, Event::LinkDown(link, why.to_owned()));
    }

    /// Something arrived.
    pub fn receive(&mut self, around: &mut Around, link: LinkId, piece: Piece) {
        let Some(held) = self.links.get_mut(&link) else {
            return self.early.entry(link).or_default().push(piece);
        };
        let Piece::Bytes(bytes) = piece else {
            return self.link_broke(around, link, "the partner closed the connection");
        };
        if held.closing {
            return;
        }
        held.decoder.buffer().extend_from_slice(&bytes);
        loop {
            let Some(held) = self.links.get_mut(&link) else { return };
            match held.decoder.open() {
                Ok(Opening::Incomplete) => return,
                Ok(Opening::Complete) => {}
                Err(error) => return self.garbled(around, link, &error.to_string()),
            }
            match held.decoder.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(why) = self.take(around, link, frame) {
                        return self.garbled(around, link, &why);
                    }
                }
                Ok(None) => return,
                Err(error) => return self.garbled(around, link, &error.to_string()),
            }
        }
    }

    /// Nothing in this world changes bytes on their way.
    fn garbled(&mut self, around: &mut Around, link: LinkId, why: &str) {
        around.truth.wrong(|| format!("{} cannot read its partner: {why}", self.name()));
        self.link_broke(around, link, why);
    }

    fn take(
        &mut self,
        around: &mut Around,
        link: LinkId,
        frame: frame::Frame,
    ) -> Result<(), String> {
        match frame.kind {
            FrameType::Message => {
                let envelope = Envelope::decode(&frame.payload).map_err(|e| e.to_string())?;
                self.event(around, Event::Received(link, envelope));
            }
            FrameType::Records => {
                let mut records = split_records(frame.payload).map_err(|e| e.to_string())?;
                while !records.is_empty() {
                    let epoch = records[0].header().epoch;
                    let same = |record: &&Record| record.header().epoch == epoch;
                    let later = records.split_off(records.iter().take_while(same).count());
                    let run = std::mem::replace(&mut records, later);
                    self.input(around, Input::Records(link, run));
                }
            }
            FrameType::SeedPages | FrameType::SeedPagesLz4 => {
                let pages = SeedPages::decode(&frame).map_err(|e| e.to_string())?;
                self.take_pages(around, link, pages);
            }
            FrameType::CopyHead
            | FrameType::CopyOffer
            | FrameType::CopyAnswer
            | FrameType::CopyChosen
            | FrameType::CopyPages
            | FrameType::CopyWhole
            | FrameType::CopyTail
            | FrameType::CopyEnd => self.take_copy(around, link, &frame)?,
        }
        Ok(())
    }
}

/// A message in a line.
fn said(envelope: &Envelope) -> String {
    let text = format!("{:?}", envelope.message);
    let short: String = text.chars().take(400).collect();
    format!("[{}] {short}", envelope.epoch)
}
