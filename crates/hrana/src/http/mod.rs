//! The routes, and the state that they share.
//!
//! ```text
//! GET  …/  …/v1  …/v2  …/v3  …/v3-protobuf
//!                                       WebSocket handshake; without one 200 but for the first, always
//! GET  …/version                        200, always
//! POST …/v1/execute  …/v1/batch         a statement or a batch by itself
//! POST …/v2/pipeline                    requests of version 2
//! POST …/v3/pipeline                    requests of version 3
//! POST …/v3/cursor                      a batch, its results streamed
//! POST …/v3-protobuf/pipeline, /cursor  the same in protobuf
//! ```
//!
//! each at the root and below `/db/<name>`.

mod body;
mod compress;
mod cursor;
mod line;
mod packing;
mod pipeline;
mod reply;
mod single;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use tokio::sync::watch;

use crate::encoding::Encoding;
use crate::registry::{Lease, Registry};
use crate::{Error, ErrorKind, Limits, Server, Target, Version, codes, origin, ws};

pub(crate) use compress::Coding;
pub(crate) use packing::Packing;
pub(crate) use reply::error_response;

/// What `GET version` answers; other servers say their own names there.
const VERSION: &str = concat!("counterpart ", env!("CARGO_PKG_VERSION"));

/// The Hrana service of one server: its routes and its open streams. A clone is another handle to
/// the same service.
pub struct Hrana<S: Server> {
    app: Arc<App<S>>,
}

impl<S: Server> Clone for Hrana<S> {
    fn clone(&self) -> Self {
        Self { app: Arc::clone(&self.app) }
    }
}

/// What the handlers share.
pub(crate) struct App<S: Server> {
    pub(crate) server: Arc<S>,
    pub(crate) limits: Limits,
    pub(crate) registry: Arc<Registry<S::Stream>>,
    /// Becomes true when WebSocket connections must end.
    pub(crate) stopping: watch::Sender<bool>,
}

impl<S: Server> Hrana<S> {
    /// A service for `server`.
    pub fn new(server: Arc<S>, limits: Limits) -> Self {
        let registry = Arc::new(Registry::new(&limits));
        let stopping = watch::Sender::new(false);
        Self { app: Arc::new(App { server, limits, registry, stopping }) }
    }

    /// The routes, to be merged into the server's own or served as they are.
    pub fn router(&self) -> Router {
        self.router_but_root().route("/", self.root())
    }

    /// What answers WebSockets at `/`, for a server that has something else there for browsers.
    pub fn root(&self) -> MethodRouter {
        get(ws::connect::<S>).with_state(Arc::clone(&self.app))
    }

    /// The routes without [`root`](Self::root).
    pub fn router_but_root(&self) -> Router {
        let mut router = Router::new();
        for prefix in ["", "/db/{name}"] {
            let at = |path: &str| format!("{prefix}{path}");
            let v2 = Dialect { version: Version::V2, encoding: Encoding::Json };
            let v3 = Dialect { version: Version::V3, encoding: Encoding::Json };
            let binary = Dialect { version: Version::V3, encoding: Encoding::Protobuf };
            router = router
                .route(&at("/version"), get(VERSION))
                .route(&at("/v1"), get(ws::connect_or_greet::<S>))
                .route(
                    &at("/v1/execute"),
                    post(|app, name, request| handle(app, name, request, single::execute::<S>)),
                )
                .route(
                    &at("/v1/batch"),
                    post(|app, name, request| handle(app, name, request, single::batch::<S>)),
                );
            for (path, dialect) in [("/v2", v2), ("/v3", v3), ("/v3-protobuf", binary)] {
                let pipeline = move |app, name, request| {
                    handle(app, name, request, move |app, call| {
                        pipeline::run::<S>(app, call, dialect)
                    })
                };
                router = router
                    .route(&at(path), get(ws::connect_or_greet::<S>))
                    .route(&at(&format!("{path}/pipeline")), post(pipeline));
            }
            for (path, dialect) in [("/v3", v3), ("/v3-protobuf", binary)] {
                let cursor = move |app, name, request| {
                    handle(app, name, request, move |app, call| {
                        cursor::run::<S>(app, call, dialect)
                    })
                };
                router = router.route(&at(&format!("{path}/cursor")), post(cursor));
            }
        }
        for path in ["/db/{name}", "/db/{name}/"] {
            router = router.route(path, get(ws::connect::<S>));
        }
        router.with_state(Arc::clone(&self.app))
    }

    /// Ends all HTTP streams, for example because the server gives up its role: open transactions
    /// are rolled back, and the batons answer `STREAM_EXPIRED`. Requests that are under way finish.
    /// Ready when the streams that were idle have rolled back. The streams of WebSocket connections
    /// are not touched: they learn it from the errors of their database.
    pub async fn drop_streams(&self) {
        self.app.registry.drop_all().await;
    }

    /// Ends everything for good: does what [`drop_streams`](Self::drop_streams) does, and closes
    /// each WebSocket connection with code 1001 (going away) once the requests that it has sent are
    /// answered. Connections that come later are closed at once. Ready when no connection is left,
    /// which a request that does not end can delay for ever: the caller sets the bound.
    pub async fn shut_down(&self) {
        self.app.stopping.send_replace(true);
        self.drop_streams().await;
        self.app.stopping.closed().await;
    }
}

impl<S: Server> App<S> {
    /// The stream that a request goes on with, or a new one. `will_close` says that the request
    /// itself closes the stream, so that no room is needed for it.
    async fn lease(
        &self,
        target: &Target,
        baton: Option<&str>,
        will_close: bool,
    ) -> Result<Lease<S::Stream>, Error> {
        if let Some(baton) = baton {
            return self.registry.resume(baton, &target.database).await;
        }
        if !will_close {
            self.registry.has_room()?;
        }
        let generation = self.registry.generation();
        let stream = self.server.open(target).await?;
        Ok(self.registry.lease(stream, &target.database, generation))
    }
}

type SharedApp<S> = State<Arc<App<S>>>;
type Name = Option<Path<String>>;

/// What a path says about the language of its requests.
#[derive(Clone, Copy)]
struct Dialect {
    version: Version,
    encoding: Encoding,
}

/// A request that may be served.
struct Call {
    target: Target,
    body: Body,
    /// How the body is compressed.
    sent: Option<Coding>,
    /// How the answer may be compressed.
    accepted: Option<Coding>,
}

/// Has `serve` answer a request.
async fn handle<S: Server, F: Future<Output = Result<Response, Error>>>(
    State(app): SharedApp<S>,
    name: Name,
    request: Request,
    serve: impl FnOnce(Arc<App<S>>, Call) -> F,
) -> Response {
    let answer = match call(name, request) {
        Ok(call) => serve(app, call).await,
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| error_response(&error))
}

fn call(name: Name, request: Request) -> Result<Call, Error> {
    let (parts, body) = request.into_parts();
    origin::check(&parts.uri, &parts.headers)?;
    let name = name.as_ref().map(|Path(name)| name.as_str());
    Ok(Call {
        target: Target::of_request(name, &parts.uri, &parts.headers, &parts.extensions),
        body,
        sent: Coding::of_request(&parts.headers).map_err(|name| unsupported_encoding(&name))?,
        accepted: Coding::accepted(&parts.headers),
    })
}

fn unsupported_encoding(name: &str) -> Error {
    let message = format!(
        "The request body is compressed as {name}, which this server does not read. Send it as gzip or zstd, or as it is."
    );
    Error::new(ErrorKind::UnsupportedEncoding, codes::UNSUPPORTED_ENCODING, message)
}
