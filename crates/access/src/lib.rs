//! Who may do what: roles, what each allows, and the tokens that show who somebody is.
//!
//! Exists so that the operator API and the clients' protocol ask one place, in one way. It is pure: it sees no clock, no disk and no
//! database. Where tokens are kept, and how often that is looked at, is the business of whoever asks.
//!
//! It must never keep, print or compare a token itself: only its [`Fingerprint`].

mod damper;
mod directory;
mod grant;
mod limiter;
mod source;
mod token;

pub use damper::Damper;
pub use directory::{Credential, Directory, Entry, Identity, Refused};
pub use grant::{Databases, Grant, GrantError, Need, Role};
pub use limiter::Limiter;
pub use source::Source;
pub use token::{Fingerprint, Token};
