//! The style sheet, the script and the icon: in the binary, for everybody, and the same for everybody.

use axum::{Router, http::header, response::IntoResponse, routing::get};

/// Adds their routes.
pub fn routes<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .route("/console/console.css", get(|| file("text/css; charset=utf-8", STYLE)))
        .route("/console/console.js", get(|| file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/console/icon.svg", get(|| file("image/svg+xml", ICON)))
}

const STYLE: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("console.js");
const ICON: &str = include_str!("icon.svg");

/// Asked for anew with each page, so that a server that was upgraded is not shown in its old clothes.
async fn file(kind: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content)
}
