//! What each server's journal holds, by what was put into it and what its disk kept.

use counterpart_core::{Epoch, Lsn, record::Record};
use xxhash_rust::xxh3::xxh3_64;

use super::{Event, EventId, Truth};

/// A journal as events.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// It begins after this position.
    pub base: Lsn,
    /// The event there, once an event that follows it has told.
    pub base_event: Option<EventId>,
    /// What it holds.
    pub events: Vec<EventId>,
    /// Reported as hardened up to here.
    pub hardened: Lsn,
    /// A cut to this position has begun.
    pub cutting: Option<Lsn>,
    /// It is being emptied, to begin after this position.
    pub emptying: Option<Lsn>,
}

impl Shadow {
    /// The last position.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.base.0 + self.events.len() as u64)
    }

    /// The last event.
    #[must_use]
    pub fn last(&self) -> Option<EventId> {
        self.events.last().copied().or(self.base_event)
    }

    /// The event at a position.
    #[must_use]
    pub fn at(&self, lsn: Lsn) -> Option<EventId> {
        if lsn == self.base {
            return self.base_event;
        }
        let index = usize::try_from(lsn.0.checked_sub(self.base.0 + 1)?).ok()?;
        self.events.get(index).copied()
    }

    fn cut(&mut self, end: Lsn) {
        self.events.truncate(usize::try_from(end.since(self.base)).expect("few events"));
        self.hardened = self.hardened.min(end);
    }
}

impl Truth {
    /// A server wrote an event of its own; `state` is what its databases are with it.
    pub fn wrote(&mut self, server: usize, record: &Record, state: u64) {
        let (epoch, lsn) = (record.header().epoch, record.lsn());
        let parent = self.journals[server].last();
        let id = self.events.len();
        if let Some(other) = self.names.insert((epoch, lsn), id) {
            let name = self.called(other);
            self.wrong(|| format!("{} wrote {name} a second time", Truth::name(server)));
        }
        self.tally.events += 1;
        let bytes = xxh3_64(record.bytes());
        self.events.push(Event { epoch, lsn, parent, bytes, state, committed: false, died: false });
        self.journals[server].events.push(id);
        self.in_line(server, lsn);
    }

    fn in_line(&mut self, server: usize, lsn: Lsn) {
        let end = self.journals[server].end();
        self.demand(end == lsn, || {
            format!("{} put {lsn} into a journal that ends at {end}", Truth::name(server))
        });
    }

    /// A server took events of another one into its journal.
    pub fn took(&mut self, server: usize, records: &[Record]) {
        for record in records {
            let Some(id) = self.known(server, record) else { return };
            let parent = self.events[id].parent;
            let shadow = &mut self.journals[server];
            if shadow.events.is_empty() && shadow.base_event.is_none() {
                shadow.base_event = parent;
            }
            let last = shadow.last();
            shadow.events.push(id);
            if last != parent {
                let (name, last) = (self.called(id), last.map(|last| self.called(last)));
                self.wrong(|| {
                    format!(
                        "{} holds {name} after {last:?}, which it was not written after",
                        Truth::name(server)
                    )
                });
            }
            self.in_line(server, record.lsn());
        }
    }

    /// The event that a record is, byte for byte.
    fn known(&mut self, server: usize, record: &Record) -> Option<EventId> {
        let (epoch, lsn) = (record.header().epoch, record.lsn());
        let found = self.named(epoch, lsn);
        let Some(id) = found.filter(|&id| self.events[id].bytes == xxh3_64(record.bytes())) else {
            let name = Truth::name(server);
            self.wrong(|| {
                format!("{name} has an event {lsn} of {epoch} that nobody wrote ({found:?})")
            });
            return None;
        };
        Some(id)
    }

    /// A server said that it has hardened up to here.
    pub fn hardened(&mut self, server: usize, lsn: Lsn) {
        let shadow = &mut self.journals[server];
        shadow.hardened = shadow.hardened.max(lsn);
        let end = shadow.end();
        self.demand(lsn <= end, || format!("{} hardened {lsn} of {end}", Truth::name(server)));
    }

    /// A server is about to cut its journal.
    pub fn cutting(&mut self, server: usize, end: Lsn) {
        self.journals[server].cutting = Some(end);
    }

    /// It has.
    pub fn cut(&mut self, server: usize, end: Lsn) {
        let shadow = &mut self.journals[server];
        shadow.cutting = None;
        shadow.cut(end);
        shadow.hardened = shadow.end();
    }

    /// A server is about to empty its journal.
    pub fn emptying(&mut self, server: usize, after: Lsn) {
        self.journals[server].emptying = Some(after);
    }

    /// It has, and goes on after this event.
    pub fn emptied(&mut self, server: usize, after: Lsn, base_event: Option<EventId>) {
        self.journals[server] =
            Shadow { base: after, base_event, hardened: after, ..Shadow::default() };
    }

    /// A server started: its journal holds these records, the first of which is `first` if there is one.
    pub fn recovered(&mut self, server: usize, first: Lsn, records: &[Record]) {
        let before = self.journals[server].clone();
        let (base, end) = (first.before(), Lsn(first.0 - 1 + records.len() as u64));
        let emptied = before.emptying.is_some_and(|after| after == base && end == base);
        if emptied && base != before.base {
            return self.emptied(server, base, None);
        }
        let must = before.cutting.map_or(before.hardened, |cut| cut.min(before.hardened));
        let name = Truth::name(server);
        if emptied && end < must {
            return self.emptied(server, base, None);
        }
        self.demand(must <= end && end <= before.end(), || {
            format!("{name} reported {must} as hardened, wrote {}, and has {end}", before.end())
        });
        for record in records {
            let Some(id) = self.known(server, record) else { return };
            let held = before.at(record.lsn());
            self.demand(record.lsn() <= before.base || held == Some(id), || {
                format!("{name} has another event {} than before it was stopped", record.lsn())
            });
        }
        let shadow = &mut self.journals[server];
        (shadow.cutting, shadow.emptying) = (None, None);
        if end >= shadow.base {
            shadow.cut(end);
        }
        shadow.hardened = end;
    }

    /// The epoch of the event at a position of a server's journal.
    #[must_use]
    pub fn epoch_at(&self, server: usize, lsn: Lsn) -> Option<Epoch> {
        self.journals[server].at(lsn).map(|event| self.events[event].epoch)
    }
}
