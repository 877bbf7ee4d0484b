//! The network: connections that keep their order and lose nothing silently, between machines that may be cut off.
//!
//! What is sent on a connection arrives in order, whenever it does, or the connection ends. One connection says nothing
//! about another: an old one may be slower than a new one. A cut way holds back what is on it. A machine whose power
//! failed says nothing; one whose process ended says so to whoever can hear it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use counterpart_core::session::{DialId, LinkId};

use crate::{
    agenda::{Agenda, Micros, What},
    dice::Dice,
};

/// Pieces on a way before the sender has to wait, as the windows of a real connection make it.
pub const WINDOW: usize = 16;

/// Something on a connection.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes, a whole frame.
    Bytes(Bytes),
    /// The sender has closed.
    End,
}

/// A connection, from the moment at which it is being made.
pub struct Conn {
    /// The dialling server and the other one.
    pub ends: [usize; 2],
    /// The processes' lives; another life of the same server knows nothing of it.
    pub lives: [u64; 2],
    /// The dialling side's name for the attempt.
    pub dial: DialId,
    /// The attempt has not come to anything yet.
    pub making: bool,
    /// Whether this end's process holds it.
    pub open: [bool; 2],
    /// What is on its way to each end.
    wire: [VecDeque<Piece>; 2],
    /// Nothing arrives at this end before.
    not_before: [Micros; 2],
    /// An arrival at this end is planned.
    planned: [bool; 2],
    /// How much longer than others this one takes.
    delay: Micros,
}

/// All connections.
#[derive(Default)]
pub struct Net {
    conns: BTreeMap<u64, Conn>,
    made: u64,
    /// `(from, to)`, and when it heals.
    cut: BTreeSet<(usize, usize)>,
    /// The mean time on the way.
    pub way: Micros,
}

/// The name of an end of a connection.
#[must_use]
pub fn link(conn: u64, end: usize) -> LinkId {
    LinkId(conn * 2 + end as u64)
}

/// The connection and the end that a link is.
#[must_use]
pub fn place(link: LinkId) -> (u64, usize) {
    (link.0 / 2, usize::from(link.0 % 2 == 1))
}

impl Net {
    /// Whether nothing passes.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Cuts a way.
    pub fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    /// Frees a way; what was held goes on.
    pub fn heal(&mut self, from: usize, to: usize, agenda: &mut Agenda) {
        self.cut.remove(&(from, to));
        for (&id, conn) in &mut self.conns {
            for end in 0..2 {
                if conn.ends == pair(from, to, end) && !conn.wire[end].is_empty() {
                    plan(conn, id, end, 1, agenda);
                }
            }
        }
    }

    /// Frees all ways.
    pub fn heal_all(&mut self, agenda: &mut Agenda) {
        for conn in self.conns.values_mut() {
            conn.delay = 0;
        }
        for (from, to) in std::mem::take(&mut self.cut) {
            self.heal(from, to, agenda);
        }
    }

    /// Begins to make a connection; its number.
    pub fn dial(&mut self, from: (usize, u64), to: usize, dial: DialId, dice: &mut Dice) -> u64 {
        self.made += 1;
        let delay = if dice.one_in(30) { dice.between(1, 3_000_000) } else { 0 };
        let conn = Conn {
            ends: [from.0, to],
            lives: [from.1, 0],
            dial,
            making: true,
            open: [false; 2],
            wire: Default::default(),
            not_before: [0; 2],
            planned: [false; 2],
            delay,
        };
        self.conns.insert(self.made, conn);
        self.made
    }

    /// A connection.
    pub fn get(&mut self, id: u64) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    /// Forgets a connection that came to nothing.
    pub fn forget(&mut self, id: u64) {
        self.conns.remove(&id);
    }

    /// All connections with an end at this server, with that end.
    #[must_use]
    pub fn of(&self, server: usize) -> Vec<(u64, usize)> {
        let ends = |(&id, conn): (&u64, &Conn)| {
            conn.ends.iter().position(|&end| end == server).map(|end| (id, end))
        };
        self.conns.iter().filter_map(ends).collect()
    }

    /// The numbers of all connections.
    #[must_use]
    pub fn all(&self) -> Vec<u64> {
        self.conns.keys().copied().collect()
    }

    /// Sends from the end that `from` names.
    pub fn send(&mut self, from: LinkId, piece: Piece, agenda: &mut Agenda, dice: &mut Dice) {
        let (id, end) = place(from);
        let span = dice.around(self.way);
        if let Some(conn) = self.conns.get_mut(&id) {
            let to = 1 - end;
            conn.wire[to].push_back(piece);
            let span = span + conn.delay;
            plan(conn, id, to, span, agenda);
        }
    }

    /// Whether the way from this end is full.
    #[must_use]
    pub fn is_full(&self, from: LinkId) -> bool {
        let (id, end) = place(from);
        self.conns.get(&id).is_some_and(|conn| conn.wire[1 - end].len() >= WINDOW)
    }

    /// Makes a connection slow from now on.
    pub fn slow(&mut self, id: u64, delay: Micros) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.delay = delay;
        }
    }

    /// What arrives at this end now, if the way is free; plans the next arrival.
    pub fn arrive(
        &mut self,
        id: u64,
        end: usize,
        agenda: &mut Agenda,
        dice: &mut Dice,
    ) -> Option<Piece> {
        let conn = self.conns.get_mut(&id)?;
        conn.planned[end] = false;
        if self.cut.contains(&(conn.ends[1 - end], conn.ends[end])) {
            return None;
        }
        let piece = conn.wire[end].pop_front();
        if !conn.wire[end].is_empty() {
            let span = dice.around(self.way / 8) + conn.delay / 8;
            plan(conn, id, end, span, agenda);
        }
        piece
    }

    /// An end's process has closed it, or is gone and can say so.
    pub fn close(&mut self, from: LinkId, agenda: &mut Agenda, dice: &mut Dice) {
        let (id, end) = place(from);
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::take(&mut conn.open[end]) {
            self.send(from, Piece::End, agenda, dice);
        }
        self.tidy(id);
    }

    /// An end's machine is gone without a word.
    pub fn vanish(&mut self, id: u64, end: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.open[end] = false;
        }
        self.tidy(id);
    }

    /// Forgets a connection that nobody holds and nothing is on.
    pub fn tidy(&mut self, id: u64) {
        let over = |conn: &Conn| {
            !conn.making && conn.open == [false; 2] && conn.wire.iter().all(VecDeque::is_empty)
        };
        if self.conns.get(&id).is_some_and(over) {
            self.conns.remove(&id);
        }
    }
}

fn pair(from: usize, to: usize, end: usize) -> [usize; 2] {
    if end == 0 { [to, from] } else { [from, to] }
}

fn plan(conn: &mut Conn, id: u64, end: usize, span: Micros, agenda: &mut Agenda) {
    if !std::mem::replace(&mut conn.planned[end], true) {
        let moment = (agenda.now() + span).max(conn.not_before[end]);
        conn.not_before[end] = moment;
        agenda.at(moment, What::Arrive(id, end));
    }
}
