//! Refuses requests that a web page of another site makes through an operator's browser.
//!
//! The API has no passwords while it listens on loopback only, so a browser on the same machine could otherwise be
//! made to promote or drop by any page it shows. A browser says where such a request comes from; tools do not.

use axum::{
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// Lets pass what carries no `Origin`, or this server's own.
pub async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if request.method().is_safe() || same_site(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        "CROSS_ORIGIN",
        "a web page of another site sent this request",
        "use the command line, or a page that this server itself serves",
    )
    .into_response()
}

fn same_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, at)| at);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.is_some() && authority == host
}
