//! The operator API and the console over a real loopback socket, with fake operations behind it.
#![allow(missing_docs)]

mod console;
mod fake;
mod gate;
mod requests;
mod routes;
mod schema;
mod wire;
