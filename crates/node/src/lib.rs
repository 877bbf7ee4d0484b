//! One Counterpart server: it drives the session core, performs its actions, and hosts databases for clients.

pub mod admission;
pub mod clock;
pub mod confirm;
pub mod operations;
pub mod refusal;
pub mod visibility;

pub use operations::Operations;
pub use refusal::Refusal;
