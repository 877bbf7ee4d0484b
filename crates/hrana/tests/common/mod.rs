//! What the tests share: a database that is not one, a server on a loopback socket, and clients.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod fake;
pub mod http;
pub mod ws;
