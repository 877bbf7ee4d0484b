//! Each request knows which address it comes from, with TLS or without.
//!
//! axum tells it of the listeners that it has itself; the one with TLS is ours.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    extract::ConnectInfo,
    middleware::AddExtension,
    serve::{IncomingStream, Listener},
};
use tower::{Layer, Service};

/// Serves each connection with these routes, whose requests have its address as `ConnectInfo<SocketAddr>`.
#[derive(Clone)]
pub struct Addressed(pub Router);

impl<L: Listener<Addr = SocketAddr>> Service<IncomingStream<'_, L>> for Addressed {
    type Response = AddExtension<Router, ConnectInfo<SocketAddr>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, connection: IncomingStream<'_, L>) -> Self::Future {
        let from = Extension(ConnectInfo(*connection.remote_addr()));
        ready(Ok(from.layer(self.0.clone())))
    }
}
