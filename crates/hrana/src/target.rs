//! Which database a request is for.
//!
//! The rule, first match wins:
//!
//! 1. the path: `/db/<name>/…`;
//! 2. the header `x-namespace`, if not empty;
//! 3. the first label of the host, if the host is a name of at least two labels:
//!    `sales.example.org` and `sales.localhost` are `sales`; `localhost`, a bare host name and an IP
//!    address are not;
//! 4. otherwise [`DEFAULT_DATABASE`].
//!
//! Nothing here judges whether a name is valid or the database exists: that is the server's to say.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Extensions, HeaderMap, Uri};

/// The database of a request that names none.
pub const DEFAULT_DATABASE: &str = "main";

/// How a database came to be chosen. A server may want to treat a host label that names no
/// database as no choice at all, which it never should for the other two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// `/db/<name>/…`
    Path,
    /// `x-namespace`
    Header,
    /// The host's first label.
    Host,
    /// Nothing: the default.
    Default,
}

/// The database that a request is for, and with whose authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name, as the client wrote it.
    pub database: String,
    /// Where the name was found.
    pub chosen_by: ChosenBy,
    /// The bearer token of the `authorization` header or the `jwt` of the last `hello`.
    pub credentials: Option<String>,
    /// The address that the client connected from, where the server tells it.
    pub from: Option<IpAddr>,
}

impl Target {
    /// Applies the rule at the head of this file. `path_name` is `<name>` of `/db/<name>/…`.
    ///
    /// Who serves the routes with `ConnectInfo<SocketAddr>` has the client's address in it.
    pub fn of_request(
        path_name: Option<&str>,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // Bytes that are no text are a choice, too: of a database that does not exist, never of the default.
        let namespace = headers.get("x-namespace");
        let namespace = namespace.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let namespace = namespace.as_deref().map(str::trim).filter(|name| !name.is_empty());
        // HTTP/2 and absolute-form requests carry the host in the URI instead of the header.
        let host = uri.host().or_else(|| header(HOST.as_str()));
        let (database, chosen_by) = if let Some(name) = path_name {
            (name.to_owned(), ChosenBy::Path)
        } else if let Some(name) = namespace {
            (name.to_owned(), ChosenBy::Header)
        } else if let Some(label) = host.and_then(first_label) {
            // The case of a host's letters means nothing, and names of databases are lower case.
            (label.to_ascii_lowercase(), ChosenBy::Host)
        } else {
            (DEFAULT_DATABASE.to_owned(), ChosenBy::Default)
        };
        let credentials = header(AUTHORIZATION.as_str()).and_then(bearer_token);
        let from = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip());
        Self { database, chosen_by, credentials, from }
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter. None when it is empty, as
/// clients without a token send it.
fn bearer_token(authorization: &str) -> Option<String> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The first label of a host (with or without a port) that is a name of two labels or more.
fn first_label(host: &str) -> Option<&str> {
    // A bracket means an IPv6 address; it has no labels.
    if host.starts_with('[') {
        return None;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let (first, rest) = name.split_once('.')?;
    (!first.is_empty() && !rest.is_empty()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: Option<&str>, headers: &[(&'static str, &str)]) -> Target {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header value"));
        }
        Target::of_request(path, &Uri::from_static("/v2/pipeline"), &map, &Extensions::new())
    }

    fn chosen(path: Option<&str>, headers: &[(&'static str, &str)]) -> (String, ChosenBy) {
        let target = target(path, headers);
        (target.database, target.chosen_by)
    }

    #[test]
    fn path_wins_over_header_and_header_over_host() {
        let headers = [("x-namespace", "by-header"), ("host", "by-host.example.org")];
        assert_eq!(chosen(Some("by-path"), &headers), ("by-path".into(), ChosenBy::Path));
        assert_eq!(chosen(None, &headers), ("by-header".into(), ChosenBy::Header));
        assert_eq!(chosen(None, &headers[1..]), ("by-host".into(), ChosenBy::Host));
        assert_eq!(chosen(None, &[]), ("main".into(), ChosenBy::Default));
    }

    #[test]
    fn empty_namespace_header_chooses_nothing() {
        assert_eq!(chosen(None, &[("x-namespace", " ")]), ("main".into(), ChosenBy::Default));
    }

    #[test]
    fn a_namespace_header_that_is_no_plain_text_is_not_taken_for_none() {
        let mut map = HeaderMap::new();
        for bytes in ["bücher".as_bytes(), b"\xff\xfe"] {
            map.insert("x-namespace", axum::http::HeaderValue::from_bytes(bytes).unwrap());
            let target = Target::of_request(
                None,
                &Uri::from_static("/v2/pipeline"),
                &map,
                &Extensions::new(),
            );
            assert_eq!(target.chosen_by, ChosenBy::Header, "{:?}", target.database);
        }
    }

    #[test]
    fn the_case_of_a_host_means_nothing() {
        let chosen = chosen(None, &[("host", "Sales.Example.org")]);
        assert_eq!(chosen, ("sales".into(), ChosenBy::Host));
    }

    #[test]
    fn only_names_of_two_labels_have_a_first_label() {
        for (host, label) in [
            ("sales.example.org", Some("sales")),
            ("sales.example.org:8080", Some("sales")),
            ("sales.localhost:80", Some("sales")),
            ("localhost", None),
            ("localhost:8080", None),
            ("localhost.", None),
            ("bareserver", None),
            ("127.0.0.1", None),
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("[fe80::1.2.3.4]", None),
            (".example.org", None),
            ("", None),
        ] {
            assert_eq!(first_label(host), label, "{host}");
        }
    }

    #[test]
    fn absolute_uri_names_the_host() {
        let uri = Uri::from_static("http://sales.example.org/v2");
        assert_eq!(
            Target::of_request(None, &uri, &HeaderMap::new(), &Extensions::new()).database,
            "sales"
        );
    }

    #[test]
    fn bearer_token_is_passed_on_and_other_schemes_are_not() {
        let credentials = |value| target(None, &[("authorization", value)]).credentials;
        assert_eq!(credentials("Bearer abc"), Some("abc".into()));
        assert_eq!(credentials("bearer  abc "), Some("abc".into()));
        assert_eq!(credentials("Bearer "), None);
        assert_eq!(credentials("Basic abc"), None);
    }
}
