//! Counterpart's pure protocol.
//!
//! Everything that must be *right* lives here, and nothing that the world can disturb: no socket, no
//! disk, no clock, no random source, no SQLite. Events come in as values, actions go out as values,
//! bytes are parsed from slices. What this crate decides can therefore be replayed from a text file.

pub mod alarms;
pub mod copy;
pub mod epoch;
pub mod fingerprint;
pub mod frame;
pub mod ids;
pub mod map;
pub mod message;
pub mod quorum;
pub mod record;
pub mod session;
pub mod status;

pub use epoch::{Epoch, EpochHistory};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use ids::{
    DatabaseId, DatabaseName, DatabaseNameError, Lsn, PageNo, PageSize, ServerId, SessionId,
    UnixMicros,
};
