//! The Hrana client protocol (versions 1 to 3, JSON and protobuf) over HTTP and WebSocket.
//!
//! This crate exists so that unchanged libSQL clients reach a database, and so that everything
//! that is *protocol* (messages, batons, stored SQL, cursors, limits of a request) is kept apart
//! from everything that is *database*. It knows no SQL and no SQLite: it speaks to a [`Server`]
//! and its [`Stream`]s.
//!
//! It must never
//! - put a field or an entry into a response that the specification does not name (clients reject
//!   unknown cursor entries),
//! - execute two requests of one stream at the same time or out of order,
//! - answer with more memory than the limits in [`Limits`] allow, plus one statement's result.
//!
//! `DESIGN.md` beside this crate tells the decisions and their reasons.

mod backend;
mod baton;
mod clock;
mod condition;
mod encoding;
mod error;
mod http;
mod large;
mod limits;
mod origin;
pub mod proto;
mod registry;
mod resolve;
mod sink;
mod target;
mod ws;

pub use backend::{Answer, Server, Stream, Waiting, give};
pub use condition::Outcome;
pub use error::{Error, ErrorKind, codes};
pub use http::Hrana;
pub use large::{beside, is_large};
pub use limits::Limits;
pub use resolve::{Program, Statement, Step, Version};
pub use sink::{CursorSink, SinkClosed};
pub use target::{ChosenBy, DEFAULT_DATABASE, Target};
