//! The server's HTTP stack around nothing: what a request costs before any of it is understood.
//!
//! The same runtime, listener and answer as the server's, for one read; see `serve.rs` and `reply.rs` of those crates.

use std::{fs, path::PathBuf};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Response, header::CONTENT_TYPE},
    routing::post,
    serve::ListenerExt as _,
};
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Failure;

/// What a read of one row is answered with.
const ANSWER: &str = r#"{"results":[{"type":"ok","response":{"type":"execute","result":{"cols":[{"name":"bal","decltype":"INT"},{"name":"filler","decltype":"TEXT"}],"rows":[[{"type":"integer","value":"0"},{"type":"text","value":"012345678901234567890123456789012345678901234567890123456789012345678901234567890123"}]],"affected_row_count":0,"last_insert_rowid":"0"}}},{"type":"ok","response":{"type":"close"}}],"baton":null,"base_url":null}"#;

/// What it takes.
#[derive(Args)]
pub struct EmptyArgs {
    /// Where its address is written once it serves
    #[arg(long)]
    ready_file: PathBuf,
}

async fn answer(_request: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(ANSWER));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Serves until it is ended.
///
/// # Errors
/// No listener or no ready file.
pub fn run(args: &EmptyArgs) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        // Written beside and renamed it would be safer; who waits for it reads only a whole line.
        fs::write(&args.ready_file, format!("{}\n", json!({ "client_url": url })))?;
        let listener = listener.tap_io(|stream| {
            // Without it requests are only slower.
            stream.set_nodelay(true).unwrap_or_default();
        });
        let app =
            Router::new().route("/v2/pipeline", post(answer)).route("/v3/pipeline", post(answer));
        axum::serve(listener, app).await?;
        Ok(Value::Null)
    })
}
