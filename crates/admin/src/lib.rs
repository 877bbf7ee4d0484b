//! The operator API and the console: HTTP over whatever implements [`Operations`].
//!
//! Exists so that the command line, load balancers and anyone's scripts meet one server in one way. It decides
//! nothing about databases or mirroring: it reads requests, asks the operations, and writes answers. Every error
//! has one shape, `{"error":{"code","what","remedy"}}`, and every route stands in one table (`endpoint`) that
//! the router and the OpenAPI document are both made from.

mod body;
mod clock;
mod console;
mod download;
mod endpoint;
mod gate;
mod handlers;
pub mod human;
mod note;
mod openapi;
mod origin;
mod problem;
mod upload;
pub mod view;
mod wire;
pub mod words;

use std::sync::Arc;

use axum::{Router, middleware, routing::any};
use counterpart_node::Operations;

pub use console::console;
pub use openapi::document as openapi_document;

use endpoint::Endpoint;

/// All routes of the operator API: `/api/…` and `/health…`.
///
/// It has no fallback of its own, so that it can be merged with the routes for clients; everything below `/api`
/// that is not a route is answered here, in the error shape.
pub fn router<O: Operations>(ops: Arc<O>) -> Router {
    let mut router = Router::new();
    for route in Endpoint::ROUTES {
        let gate = gate::Gate { ops: Arc::clone(&ops), endpoint: route.endpoint };
        let gate = middleware::from_fn_with_state(gate, gate::check::<O>);
        router = router.route(route.path, handlers::of::<O>(route.endpoint).layer(gate));
    }
    router
        .route("/api", any(handlers::unknown_route))
        .route("/api/", any(handlers::unknown_route))
        .route("/api/{*rest}", any(handlers::unknown_route))
        .method_not_allowed_fallback(handlers::wrong_method)
        .layer(middleware::from_fn(origin::refuse_other_sites))
        .with_state(ops)
}
