//! WebSocket connections: the handshake, and what each file here does.
//!
//! - `connection` reads a connection's messages, knows its ids, and hands jobs to streams;
//! - `stream` is the task that owns one stream and does its jobs in order;
//! - `cursor` turns a cursor's chunks into `fetch_cursor` responses;
//! - `close` names the ways in which a connection ends.

mod close;
mod connection;
mod cursor;
mod inbox;
mod stream;

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::http::header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use crate::encoding::Encoding;
use crate::http::{App, error_response};
use crate::{Error, ErrorKind, Server, Target, Version, codes, origin};

type Handshake = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// The subprotocols, the preferred first. A client without any means version 1.
const SUBPROTOCOLS: [(&str, Version, Encoding); 4] = [
    ("hrana3-protobuf", Version::V3, Encoding::Protobuf),
    ("hrana3", Version::V3, Encoding::Json),
    ("hrana2", Version::V2, Encoding::Json),
    ("hrana1", Version::V1, Encoding::Json),
];

/// An address that is only for WebSocket connections.
pub(crate) async fn connect<S: Server>(
    State(app): State<Arc<App<S>>>,
    name: Option<Path<String>>,
    request: Parts,
    handshake: Handshake,
) -> Response {
    let handshake = match handshake {
        Ok(handshake) => handshake,
        Err(rejection) => return error_response(&upgrade_required(&rejection)),
    };
    if let Err(error) = origin::check(&request.uri, &request.headers) {
        return error_response(&error);
    }
    let offers = request.headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
    let handshake = handshake.protocols(SUBPROTOCOLS.map(|(name, ..)| name));
    let selected = handshake.selected_protocol().and_then(|name| name.to_str().ok());
    let found = SUBPROTOCOLS.iter().find(|(name, ..)| Some(*name) == selected);
    let (version, encoding) = match found {
        Some((_, version, encoding)) => (*version, *encoding),
        None if !offers => (Version::V1, Encoding::Json),
        None => {
            let message = "None of the WebSocket subprotocols that the client offers is served. \
                           Offer hrana3-protobuf, hrana3, hrana2 or hrana1.";
            return error_response(&Error::request(codes::UNSUPPORTED_SUBPROTOCOL, message));
        }
    };
    let name = name.as_ref().map(|Path(name)| name.as_str());
    let target = Target::of_request(name, &request.uri, &request.headers, &request.extensions);
    let limit = app.limits.request_bytes;
    handshake
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| connection::run(app, target, version, encoding, socket))
}

/// An address where clients also ask whether a version is served. They ask without credentials, so
/// nothing is checked before the answer.
pub(crate) async fn connect_or_greet<S: Server>(
    app: State<Arc<App<S>>>,
    name: Option<Path<String>>,
    request: Parts,
    handshake: Handshake,
) -> Response {
    if request.headers.contains_key(UPGRADE) {
        return connect(app, name, request, handshake).await;
    }
    "This server speaks this version of Hrana over HTTP.\n".into_response()
}

fn upgrade_required(rejection: &WebSocketUpgradeRejection) -> Error {
    let message = format!(
        "This address is for WebSocket connections, and the request is none: {rejection}. For \
         requests over HTTP use v2/pipeline or v3/pipeline."
    );
    Error::new(ErrorKind::UpgradeRequired, codes::UPGRADE_REQUIRED, message)
}
