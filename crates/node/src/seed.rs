//! Seeding: a whole copy of all databases, while the principal serves.
//!
//! A fuzzy copy, as a backup of any journaled system is made: a mark is written at t, all pages are copied as they
//! are at some moment after t, and the journal from t on is redone over them. After a mark the first change of every
//! page is an image, so redo mends whatever the copy caught half-way. Hence no snapshot pins the WAL meanwhile, and a
//! copy that broke off goes on at the page where it stopped, as long as the journal from t is still there.
//!
//! Only pages whose events are final are sent, for redo could not take them back.
//!
//! Each side has a thread of its own on which a page takes its whole way: from the file to the socket, from the socket to
//! the file. Both give way to commits.

pub(crate) mod receive;
pub(crate) mod send;

/// How much commits go before a seed: where they would take the whole processor, about a quarter of it is left for that.
const NICE: i32 = 5;
