//! Copies: catching up by pages, by comparison, backups and what is restored from them.
//!
//! `counterpart_core::copy` draws the bytes and says why they suffice. Here a principal reads what it sends from snapshots
//! while it serves ([`send`]); a mirror asks for what it lacks and puts it into the spool, beside what it has
//! ([`receive`], [`spool`]); and once everything is there and proven, the spool takes the place of what it had
//! ([`adopt`]). A single database that differs is healed in the same way, while all others go on ([`heal`]). Until that moment the mirror's old state stays as it is, readable and promotable.

pub(crate) mod adopt;
pub(crate) mod estimate;
pub(crate) mod heal;
pub(crate) mod held;
pub(crate) mod meter;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod snapshot;
pub(crate) mod spool;
