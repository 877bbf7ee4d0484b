//! Refuses requests that a web page makes through the browser of somebody who only looks at it.
//!
//! While nobody has to log in, a page anywhere could otherwise read and drop what a server on the reader's own machine
//! holds: browsers send such a request as they send any other. But they say which page it comes from; clients that are
//! no browsers say nothing, and are never refused here.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};

use crate::{Error, ErrorKind, codes};

/// Lets pass what comes from no page, from one that this address itself serves, or from one that is served by the
/// browser's own machine, as an application is while it is developed.
///
/// # Errors
/// `CROSS_ORIGIN`.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = uri.authority().map(|authority| authority.as_str()).or(host);
    let page = origin.split_once("://").map(|(_scheme, authority)| authority);
    if page.is_some_and(|page| Some(page) == own || is_this_machine(page)) {
        return Ok(());
    }
    let message = format!(
        "A web page of another site ({origin}) sent this request. Use a client that is no browser, or a page that is \
         served from this server's own address."
    );
    Err(Error::new(ErrorKind::Forbidden, codes::CROSS_ORIGIN, message))
}

/// Whether an authority (`host[:port]`) names the machine that resolves it.
fn is_this_machine(authority: &str) -> bool {
    let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let host = match bracketed {
        Some((host, port)) if port.is_empty() || port.starts_with(':') => host,
        Some(_) => return false,
        None => authority.rsplit_once(':').map_or(authority, |(host, _port)| host),
    };
    let name = host.to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "db.example:6480".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check(&Uri::from_static("/v2/pipeline"), &headers).is_err()
    }

    #[test]
    fn clients_that_are_no_browsers_and_pages_from_here_are_let_in() {
        assert!(!refused(None));
        for origin in [
            "http://db.example:6480",
            "http://localhost:5173",
            "https://app.localhost",
            "http://127.0.0.1",
            "http://[::1]:3000",
        ] {
            assert!(!refused(Some(origin)), "{origin}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_not() {
        for origin in [
            "http://evil.example",
            "http://db.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example:80",
            "http://[::1].evil.example",
            "null",
            "",
        ] {
            assert!(refused(Some(origin)), "{origin}");
        }
    }
}
