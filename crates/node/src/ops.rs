//! What operators do to databases: create, drop, import, export, look.

pub(crate) mod backup;
pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod look;
pub mod restore;
mod roll;
pub(crate) mod upload;
