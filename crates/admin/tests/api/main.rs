//! The operator API over a real loopback socket, with fake operations behind it.
#![allow(missing_docs)]

mod fake;
mod gate;
mod requests;
mod routes;
mod schema;
mod wire;
