//! What clients ask of a server: writes through the door and the permit, transactions that stay open for a while, reads
//! whose answers wait until what they saw is final, databases that come and go.

use counterpart_core::{
    DatabaseId, DatabaseName, Lsn, PageNo, UnixMicros,
    record::{Draft, PageEncoder, TransactionDraft},
};

use super::{
    Around, CatalogEntry, Door, Job, Process,
    database::{Model, PAGE, Pages, page_size},
    wait::Waiter,
};
use crate::{agenda::Micros, dice::Dice};

/// A database has at most this many pages.
const PAGES_MOST: u64 = 24;

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// One transaction that changes some pages; it stays open for this long.
    Write(Micros),
    /// To see something.
    Read,
    /// Another database.
    Create,
    /// One database fewer.
    Drop,
}

/// A client's operation under way.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    wish: Wish,
    /// Which of the databases.
    which: u64,
    until: Micros,
    holds: Option<DatabaseId>,
}

/// A transaction on its way into the journal.
pub struct Big {
    id: DatabaseId,
    draft: TransactionDraft,
    /// What the database is after it.
    pages: Pages,
    /// What it changes of that, and how much of it has been journaled in chunks.
    numbers: Vec<PageNo>,
    size: u32,
    written: usize,
}

impl Big {
    /// Journals what is left up to there, as changes of what the database still is if that is told.
    fn push(&mut self, before: Option<&Model>, upto: usize) {
        let mut encoder = PageEncoder::default();
        for &page in &self.numbers[self.written..upto] {
            let image = self.pages.get(page).expect("within the size");
            let base = before.and_then(|before| before.base(page));
            let cut = self.draft.push_version(page, base, image, &mut encoder);
            assert!(cut.is_none(), "a few small pages are one record");
        }
        self.written = upto;
    }
}

impl Process {
    /// A client asks for something and waits for at most `patience`.
    pub fn ask_for(&mut self, around: &mut Around, wish: Wish, patience: Micros) {
        let number = around.fresh();
        let until = around.agenda.now() + patience;
        let which = around.dice.number();
        self.ops.insert(number, Op { wish, which, until, holds: None });
        self.soon(around, 1, Job::Op(number));
    }

    pub(super) fn go_on_with(&mut self, around: &mut Around, number: u64) {
        let Some(op) = self.ops.get(&number).copied() else { return };
        if let Wish::Read = op.wish {
            self.ops.remove(&number);
            return self.read(around, op);
        }
        match (self.door, op.holds) {
            (_, Some(_)) if self.big.contains_key(&number) => self.go_on_with_big(around, number),
            (_, Some(id)) => {
                self.ops.remove(&number);
                self.write(around, number, op, id);
            }
            (Door::Closed(_), None) => self.end_op(number),
            (Door::Open, None) if self.acting => self.begin_op(around, number, op),
            (Door::Open | Door::Hold, None) => self.try_again(around, number, op),
        }
    }

    /// It is refused, or has been done.
    fn end_op(&mut self, number: u64) {
        self.ops.remove(&number);
    }

    fn try_again(&mut self, around: &mut Around, number: u64, op: Op) {
        if around.agenda.now() < op.until {
            let span = around.dice.between(1_000, 20_000);
            self.soon(around, span, Job::Op(number));
        } else {
            self.ops.remove(&number);
        }
    }

    fn choose(&self, which: u64) -> Option<DatabaseId> {
        let count = self.databases.len() as u64;
        let nth = usize::try_from(which.checked_rem(count)?).expect("few databases");
        self.databases.keys().nth(nth).copied()
    }

    fn begin_op(&mut self, around: &mut Around, number: u64, op: Op) {
        let Some(id) = self.choose(op.which) else { return self.end_op(number) };
        let full = self.journal.reserve(64 << 10).is_err();
        match op.wish {
            _ if full => self.end_op(number),
            Wish::Create | Wish::Drop if self.is_listing() => self.try_again(around, number, op),
            Wish::Create => {
                self.ops.remove(&number);
                if self.databases.len() < 4 {
                    let name = format!("d{number}").parse().expect("a name");
                    self.create(around, &name);
                }
            }
            Wish::Drop | Wish::Write(_) => {
                let model = self.databases.get_mut(&id).expect("just chosen");
                if model.permit.is_some() {
                    return self.try_again(around, number, op);
                }
                match op.wish {
                    Wish::Drop => {
                        self.ops.remove(&number);
                        if model.name != DatabaseName::main() {
                            self.drop_database(around, id);
                        }
                    }
                    Wish::Write(open) if open > 0 => {
                        model.permit = Some(number);
                        self.ops.insert(number, Op { holds: Some(id), ..op });
                        self.soon(around, open, Job::Op(number));
                    }
                    _ => {
                        self.ops.remove(&number);
                        self.write(around, number, op, id);
                    }
                }
            }
            Wish::Read => unreachable!("reads pass no door"),
        }
    }

    /// Ends all open transactions.
    pub(super) fn evict_all(&mut self, around: &mut Around) {
        self.finish_big(around);
        self.ops.retain(|_, op| op.holds.is_none());
        // A checkpoint that copies is waited for, not ended.
        for model in self.databases.values_mut().filter(|model| model.permit != Some(0)) {
            model.permit = None;
        }
    }

    /// One transaction, at once or in chunks between which others write to other databases.
    fn write(&mut self, around: &mut Around, number: u64, op: Op, id: DatabaseId) {
        let value = around.fresh();
        let Some(model) = self.databases.get_mut(&id) else { return };
        model.permit = None;
        let mut next = Model::with(id, model.name.clone(), model.pages.clone(), Lsn::ZERO);
        let (numbers, size) = change(&mut next, value, &mut around.dice);
        let draft = TransactionDraft::new(id, page_size(), UnixMicros(around.agenda.now()));
        let big = Big { id, draft, pages: next.pages, numbers, size, written: 0 };
        if around.dice.one_in(10) {
            model.permit = Some(number);
            self.big.insert(number, big);
            self.ops.insert(number, Op { holds: Some(id), ..op });
            return self.go_on_with_big(around, number);
        }
        self.finish_write(around, big);
    }

    /// The next chunk of a large transaction, or its end.
    fn go_on_with_big(&mut self, around: &mut Around, number: u64) {
        let Some(mut big) = self.big.remove(&number) else { return };
        if big.numbers.len() - big.written <= 2 {
            self.ops.remove(&number);
            if let Some(model) = self.databases.get_mut(&big.id) {
                model.permit = None;
            }
            return self.finish_write(around, big);
        }
        if let Err(why) = self.write_chunk(around, &mut big) {
            self.ops.remove(&number);
            return self.poison(around, &why);
        }
        self.big.insert(number, big);
        let span = around.dice.between(10, 3_000);
        self.soon(around, span, Job::Op(number));
    }

    fn write_chunk(&mut self, around: &mut Around, big: &mut Big) -> Result<(), String> {
        let upto = big.written + 2;
        big.push(self.databases.get(&big.id).filter(|_| around.plan.deltas), upto);
        let chunk = big.draft.cut_early().expect("two pages were put there");
        // Nobody sees anything of it before its end.
        let state = self.state();
        self.append_own(around, chunk, state).map(drop)
    }

    /// Large transactions that are being journaled end before whatever follows.
    pub(super) fn finish_big(&mut self, around: &mut Around) {
        for (number, big) in std::mem::take(&mut self.big) {
            self.ops.remove(&number);
            if self.poisoned.is_none() {
                self.finish_write(around, big);
            }
        }
    }

    fn finish_write(&mut self, around: &mut Around, mut big: Big) {
        let Some(model) = self.databases.get_mut(&big.id) else { return };
        let size = big.size;
        let all = big.numbers.len();
        big.push(Some(&*model).filter(|_| around.plan.deltas), all);
        // The map is brought up to date first: the record carries what it says.
        let lsn = self.journal.last().next();
        model.pages = big.pages;
        model.changed(big.numbers.iter().copied(), size, lsn);
        model.recent.extend(big.numbers);
        model.recent.retain(|page| page.0 <= size);
        let draft = big.draft.finish(size, model.map.checksum());
        model.visible = model.visible.max(lsn);
        let state = self.state();
        match self.append_own(around, draft, state) {
            Ok(at) => {
                assert_eq!(at, lsn, "nobody else appends");
                self.when_final(around, lsn, Waiter::Write(lsn));
            }
            // It is visible and not durable: nothing can be confirmed any more.
            Err(why) => {
                if let Some(model) = self.databases.get_mut(&big.id) {
                    model.visible = Lsn(u64::MAX);
                }
                self.poison(around, &why);
            }
        }
    }

    fn read(&mut self, around: &mut Around, op: Op) {
        // A server that failed in the middle of replaying may show a database that is not in its catalog yet.
        if !self.available || self.poisoned.is_some() || self.stuck {
            return;
        }
        let Some(model) = self.choose(op.which).and_then(|id| self.databases.get(&id)) else {
            return;
        };
        if model.visible > Lsn::ZERO {
            let newest = model.visible;
            self.when_final(around, newest, Waiter::Read(newest));
        } else if self.control.read().catalog_lsn <= self.applied {
            // Answered at once: all that is shown here is final.
            around.truth.shows(self.me, self.applied, self.state(), true);
        }
    }

    /// Makes `main` if it is not there, on a server that has just begun to act.
    pub(super) fn ensure_main(&mut self, around: &mut Around) -> Result<(), String> {
        if self.databases.values().any(|model| model.name == DatabaseName::main()) {
            return Ok(());
        }
        self.create(around, &DatabaseName::main());
        Ok(())
    }

    fn create(&mut self, around: &mut Around, name: &DatabaseName) {
        let id = self.control.read().next_database;
        let mut pages = Pages::default();
        pages.put(PageNo(1), &[7; PAGE]);
        let created = pages.write(&self.disk, id, &[PageNo(1)].into());
        if created.is_err() {
            return;
        }
        let lsn = self.journal.last().next();
        let mut model = Model::with(id, name.clone(), pages, lsn);
        (model.visible, model.is_dirty) = (lsn, true);
        let mut draft = TransactionDraft::new(id, page_size(), UnixMicros(around.agenda.now()));
        let cut = draft.push_page(PageNo(1), model.pages.get(PageNo(1)).expect("one page"));
        assert!(cut.is_none(), "one page is one record");
        let draft = draft.finish_create(name, 1, model.map.checksum());
        self.databases.insert(id, model);
        let state = self.state();
        if let Err(why) = self.append_own(around, draft, state) {
            return self.poison(around, &why);
        }
        // The catalog must not know of a database that the journal may still lose.
        let hardened = self.journal.wait_hardened(lsn);
        self.hear_of_progress(around);
        let entry = CatalogEntry { id, name: name.clone() };
        let noted = hardened
            .map_err(|error| error.to_string())
            .and_then(|()| self.update(|control| control.note_created(entry, lsn)));
        match noted {
            Ok(()) => self.when_final(around, lsn, Waiter::Write(lsn)),
            Err(why) => self.poison(around, &why),
        }
    }

    fn drop_database(&mut self, around: &mut Around, id: DatabaseId) {
        let removed = self.databases.remove(&id);
        let state = self.state();
        let draft = Draft::drop_database(id, UnixMicros(around.agenda.now()));
        match self.append_own(around, draft, state) {
            // Files go only when nothing can take the drop back any more.
            Ok(lsn) => {
                self.dropping = Some(id);
                self.dropped.insert(id, lsn);
                self.when_final(around, lsn, Waiter::Drop(id, lsn));
            }
            Err(why) => {
                self.databases.extend(removed.map(|model| (id, model)));
                self.poison(around, &why);
            }
        }
    }

    pub(super) fn forget_dropped(&mut self, around: &mut Around, id: DatabaseId, lsn: Lsn) {
        self.dropping = None;
        if let Err(why) = self.forget_database(around, id, lsn) {
            self.poison(around, &why);
        }
    }
}

/// Writes a value that was never written before to some places; which pages, and the size afterwards.
fn change(model: &mut Model, value: u64, dice: &mut Dice) -> (Vec<PageNo>, u32) {
    let mut size = model.pages.size().max(1);
    if dice.one_in(4) {
        size = u32::try_from(dice.between(1, PAGES_MOST)).expect("few pages");
    }
    let mut numbers = Vec::new();
    let before = model.pages.size();
    // What is new has to be written, as SQLite does.
    numbers.extend((before + 1..=size).map(PageNo));
    for _ in 0..=dice.index(3) {
        numbers.push(PageNo(1 + u32::try_from(dice.below(u64::from(size))).expect("few pages")));
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers.retain(|number| number.0 <= size);
    for &number in &numbers {
        let mut image = model.pages.get(number).map_or_else(|| vec![0; PAGE], <[u8]>::to_vec);
        // In both sectors, so that a torn page shows.
        for half in 0..2 {
            let slot = half * PAGE / 2 + 128 + dice.index(40) * 8;
            image[slot..slot + 8].copy_from_slice(&value.to_le_bytes());
        }
        model.pages.put(number, &image);
    }
    (numbers, size)
}
