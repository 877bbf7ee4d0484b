//! What may follow what in a copy that has everything, as a backup does: whoever reads one knows at its end that
//! nothing is missing, doubled or out of place.
//!
//! ```text
//! head ─▶ offer ─▶ chosen ─▶ pages* ─▶ whole ─┐     tail* ─▶ end
//!    └──────▲─────────────────────────────────┴──────▲
//! ```

use super::{Chosen, End, Head, Item, Offer, SentPages, Whole};
use crate::ids::{DatabaseId, Lsn, PageNo};

/// Why items do not make a whole copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Something stands where it does not belong.
    #[error("the copy is not in order: {0}")]
    Misplaced(&'static str),
    /// Pages do not belong to the database at hand.
    #[error("database {0}: {1}")]
    Database(DatabaseId, &'static str),
    /// The tail has a gap.
    #[error("the copy's journal records do not follow each other: {found} after {after}")]
    Gap {
        /// The position before.
        after: Lsn,
        /// What came.
        found: Lsn,
    },
    /// What was announced is not what came.
    #[error("the copy's end does not agree with what is before it: {0}")]
    Totals(&'static str),
    /// It is cut off.
    #[error("the copy is cut off: its end is missing")]
    Incomplete,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    BeforeHead,
    BetweenDatabases,
    Within { offer: Box<Offer>, chosen: bool, next: PageNo, pages: u32 },
    Tail,
    Done,
}

/// Follows a copy item by item.
///
/// - `offered` are the databases whose offers came, each once and each in the head;
/// - `reached` is the position that the tail has reached, `highest` the newest that an offer shows.
#[derive(Debug)]
pub struct Order {
    state: State,
    head: Option<Box<Head>>,
    offered: Vec<DatabaseId>,
    pages: u64,
    records: u64,
    reached: Lsn,
    highest: Lsn,
}

impl Default for Order {
    fn default() -> Order {
        Order::new()
    }
}

impl Order {
    /// Before the first item.
    #[must_use]
    pub fn new() -> Order {
        Order {
            state: State::BeforeHead,
            head: None,
            offered: Vec::new(),
            pages: 0,
            records: 0,
            reached: Lsn::ZERO,
            highest: Lsn::ZERO,
        }
    }

    /// The head, once it came.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_deref()
    }

    /// How many pages came so far.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The position that the tail has reached; the mark before its first record.
    #[must_use]
    pub fn reached(&self) -> Lsn {
        self.reached
    }

    /// Takes the next item. Pages must be all pages of their database.
    ///
    /// # Errors
    /// [`OrderError`]: this is no whole copy.
    pub fn take(&mut self, item: &Item) -> Result<(), OrderError> {
        match item {
            Item::Head(head) => self.head_comes(head),
            Item::Offer(offer) => self.offer_comes(offer),
            Item::Chosen(chosen) => self.chosen_come(*chosen),
            Item::Pages(pages) => self.pages_come(pages),
            Item::Whole(whole) => self.whole_comes(*whole),
            Item::Tail(records) => {
                self.leave_databases()?;
                for record in records {
                    if record.lsn() != self.reached.next() {
                        let (after, found) = (self.reached, record.lsn());
                        return Err(OrderError::Gap { after, found });
                    }
                    self.reached = record.lsn();
                    self.records += 1;
                }
                Ok(())
            }
            Item::End(end) => self.end_comes(*end),
            Item::Answer(_) => Err(OrderError::Misplaced("an answer in a copy that asks nobody")),
        }
    }

    /// To be asked when nothing more comes.
    ///
    /// # Errors
    /// If the end has not come.
    pub fn finish(&self) -> Result<(), OrderError> {
        if self.state == State::Done { Ok(()) } else { Err(OrderError::Incomplete) }
    }

    fn head_comes(&mut self, head: &Head) -> Result<(), OrderError> {
        if self.state != State::BeforeHead {
            return Err(OrderError::Misplaced("a second head"));
        }
        if head.mark == Lsn(u64::MAX) || head.catalog_lsn == Lsn(u64::MAX) {
            return Err(OrderError::Misplaced("a position that no journal has"));
        }
        self.reached = head.mark;
        self.highest = head.mark.max(head.catalog_lsn);
        self.head = Some(Box::new(head.clone()));
        self.state = State::BetweenDatabases;
        Ok(())
    }

    fn offer_comes(&mut self, offer: &Offer) -> Result<(), OrderError> {
        if self.state != State::BetweenDatabases {
            return Err(OrderError::Misplaced("a database begins within another, or too late"));
        }
        let id = offer.database;
        let head = self.head.as_ref().expect("a head came before any database");
        let listed = head.databases.iter().find(|listed| listed.id == id);
        let Some(listed) = listed else {
            return Err(OrderError::Database(id, "the copy's head does not know it"));
        };
        if listed.name != offer.name || listed.page_size != offer.page_size {
            return Err(OrderError::Database(id, "the copy's head describes it differently"));
        }
        if self.offered.contains(&id) {
            return Err(OrderError::Database(id, "it comes twice"));
        }
        if offer.size_in_pages == 0 || offer.at < head.mark {
            return Err(OrderError::Database(id, "its size or position is impossible"));
        }
        self.offered.push(id);
        self.highest = self.highest.max(offer.at);
        let offer = Box::new(offer.clone());
        self.state = State::Within { offer, chosen: false, next: PageNo(1), pages: 0 };
        Ok(())
    }

    fn chosen_come(&mut self, number: Chosen) -> Result<(), OrderError> {
        let State::Within { offer, chosen, .. } = &mut self.state else {
            return Err(OrderError::Misplaced("a number of pages outside of a database"));
        };
        if number.database != offer.database || number.pages != stored_pages(offer) {
            return Err(OrderError::Database(offer.database, "not all of its pages follow"));
        }
        if std::mem::replace(chosen, true) {
            return Err(OrderError::Misplaced("a second number of pages"));
        }
        Ok(())
    }

    fn pages_come(&mut self, sent: &SentPages) -> Result<(), OrderError> {
        let State::Within { offer, chosen: true, next, pages } = &mut self.state else {
            return Err(OrderError::Misplaced("pages outside of a database"));
        };
        let id = offer.database;
        if sent.database != id || sent.page_size != offer.page_size {
            return Err(OrderError::Database(id, "pages of another database are among its own"));
        }
        let lock = offer.page_size.lock_page();
        for &number in &sent.numbers {
            let expected = if *next == lock { PageNo(next.0.saturating_add(1)) } else { *next };
            if number != expected || number.0 > offer.size_in_pages {
                return Err(OrderError::Database(id, "a page is missing or too much"));
            }
            *next = PageNo(number.0.saturating_add(1));
            *pages += 1;
            self.pages += 1;
        }
        Ok(())
    }

    fn whole_comes(&mut self, whole: Whole) -> Result<(), OrderError> {
        let State::Within { offer, chosen: true, pages, .. } = &self.state else {
            return Err(OrderError::Misplaced("a database ends that did not begin"));
        };
        let id = offer.database;
        if whole.database != id || whole.pages != *pages {
            return Err(OrderError::Database(id, "its end does not agree with its pages"));
        }
        if *pages != stored_pages(offer) {
            return Err(OrderError::Database(id, "pages are missing at its end"));
        }
        self.state = State::BetweenDatabases;
        Ok(())
    }

    fn leave_databases(&mut self) -> Result<(), OrderError> {
        match self.state {
            State::BetweenDatabases => self.state = State::Tail,
            State::Tail => {}
            State::BeforeHead | State::Within { .. } | State::Done => {
                return Err(OrderError::Misplaced(
                    "journal records before the databases are whole",
                ));
            }
        }
        Ok(())
    }

    fn end_comes(&mut self, end: End) -> Result<(), OrderError> {
        self.leave_databases()?;
        if end.end != self.reached || end.records != self.records {
            return Err(OrderError::Totals("journal records are missing"));
        }
        if self.reached < self.highest {
            return Err(OrderError::Totals("its journal records end before what its pages show"));
        }
        if end.pages != self.pages || end.databases as usize != self.offered.len() {
            return Err(OrderError::Totals("databases or pages are missing"));
        }
        self.state = State::Done;
        Ok(())
    }
}

/// How many pages a whole copy of an offer has: all but the lock page.
fn stored_pages(offer: &Offer) -> u32 {
    offer.size_in_pages - u32::from(offer.page_size.lock_page().0 <= offer.size_in_pages)
}
