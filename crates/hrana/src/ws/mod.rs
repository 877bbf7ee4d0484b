//! WebSocket connections.
use crate::Server;
use crate::http::App;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;
pub(crate) async fn connect<S: Server>(State(_app): State<Arc<App<S>>>) -> Response {
    Response::default()
}
pub(crate) async fn connect_or_greet<S: Server>(State(_app): State<Arc<App<S>>>) -> Response {
    Response::default()
}
