//! Who may do what: roles, what each allows, and the tokens and passwords that show who somebody is.
//!
//! Exists so that the operator API and the clients' protocol ask one place, in one way. It is pure: it sees no clock, no disk and no
//! database. Where tokens are kept, and how often that is looked at, is the business of whoever asks.
//!
//! It must never keep, print or compare a token or a password itself: only its [`Fingerprint`] or [`PasswordHash`].

mod damper;
mod directory;
mod grant;
mod guesses;
mod jwt;
mod limiter;
mod password;
mod source;
mod token;

pub use damper::Damper;
pub use directory::{Credential, Directory, Entry, Identity, Login, Refused, User};
pub use grant::{Databases, Grant, GrantError, Need, Role};
pub use guesses::Guesses;
pub use jwt::{Claimed, JwtKeyError, JwtKeys};
pub use limiter::Limiter;
pub use password::{Password, PasswordError, PasswordHash, is_password};
pub use source::Source;
pub use token::{Fingerprint, Token};
