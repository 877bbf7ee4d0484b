//! The server's own database: what it must know after a takeover as before it.
//!
//! It is mirrored, proven and backed up like every other, and nobody but the server opens it: no client can write its name. It is
//! made when there is something to keep.

pub(crate) mod tokens;

pub use tokens::{NewToken, TokenSummary};

use std::sync::{Arc, Weak};

use counterpart_core::{DatabaseName, Lsn};

use crate::{databases::Hosted, node::Node, ops, refusal::Refusal, stream::ClientStream};

/// How the server's own database stood at a moment. Whoever takes one *before* reading from it can tell later whether
/// what was read is still all there is.
#[derive(Debug)]
pub struct SystemView {
    /// Nothing if it was not there. Two databases of this name are never at the same address while this is held.
    of: Option<Weak<Hosted>>,
    /// A reader from then on sees every change up to here.
    at: Lsn,
}

impl Node {
    fn system(&self) -> Option<Arc<Hosted>> {
        self.shared.databases.present(&DatabaseName::system())
    }

    /// How the server's own database stands now.
    #[must_use]
    pub fn view_system(&self) -> SystemView {
        // In this order: what was applied before is in the database that is found afterwards.
        let at = self.shared.applied();
        SystemView { of: self.system().map(|hosted| Arc::downgrade(&hosted)), at }
    }

    /// Whether nothing in the server's own database has changed since.
    #[must_use]
    pub fn is_current(&self, view: &SystemView) -> bool {
        match (&view.of, self.system()) {
            (None, None) => true,
            // A change is noted before a mirror's readers can see it, and before a principal answers whoever made it.
            (Some(seen), Some(now)) => {
                Weak::as_ptr(seen) == Arc::as_ptr(&now) && now.last_change() <= view.at
            }
            _ => false,
        }
    }

    /// Opens a stream on the server's own database; nothing if there is none.
    ///
    /// # Errors
    /// Why nothing can be read now.
    pub fn open_system(&self) -> Result<Option<ClientStream>, Refusal> {
        match self.open_stream(&DatabaseName::system()) {
            Ok(stream) => Ok(Some(stream)),
            Err(refusal) if refusal.code() == "DATABASE_NOT_FOUND" => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Opens a stream on the server's own database, which is made if there is none.
    ///
    /// # Errors
    /// What every write can meet: `READ_ONLY_MIRROR`, `DISK_FULL`, …
    pub async fn make_system(&self) -> Result<ClientStream, Refusal> {
        if let Some(stream) = self.open_system()? {
            return Ok(stream);
        }
        match ops::create::create_database(&self.shared, &DatabaseName::system()).await {
            Ok(_) => {}
            // Somebody else made it meanwhile.
            Err(refusal) if refusal.code() == "DATABASE_EXISTS" => {}
            Err(refusal) => return Err(refusal),
        }
        self.open_stream(&DatabaseName::system())
    }
}
