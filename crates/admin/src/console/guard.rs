//! Every request of the console is asked who it is from, and whether that one may see the page; what is done is noted in the
//! audit log. What is refused on the way becomes a page here, so that handlers do not know how one looks.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use counterpart_access::{Identity, Need};
use counterpart_node::{
    Operations, Refusal,
    audit::{Act, Ending},
};

use super::{Console, acts, frame, page::Page, sign_in};
use crate::{clock, endpoint::Endpoint, gate, note::Note, problem::Problem};

/// Somebody who looks at the console.
#[derive(Clone)]
pub struct Visitor {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What each of its forms carries.
    pub csrf: Arc<str>,
    /// Whether there is a session that could be ended.
    pub signed_in: bool,
}

impl Visitor {
    /// Whether it may; if not, why not. `what` completes "may not".
    ///
    /// # Errors
    /// The refusal that says so.
    pub fn may(&self, need: Need<'_>, what: &str) -> Result<(), Refusal> {
        if self.identity.grant.allows(need) {
            return Ok(());
        }
        Err(Refusal::forbidden(&self.identity, what))
    }
}

/// What one route is guarded with.
pub struct Guard<O> {
    pub console: Arc<Console<O>>,
    pub page: Page,
    /// The route.
    pub path: &'static str,
}

impl<O> Clone for Guard<O> {
    fn clone(&self) -> Guard<O> {
        Guard { console: Arc::clone(&self.console), page: self.page, path: self.path }
    }
}

/// A refusal on its way to becoming a page.
pub struct Refused(Problem);

impl<P: Into<Problem>> From<P> for Refused {
    fn from(problem: P) -> Refused {
        Refused(problem.into())
    }
}

#[derive(Clone)]
struct ToShow(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(Problem(refusal)) = self;
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(ToShow(refusal));
        response
    }
}

/// What handlers of pages give.
pub type Shown = Result<Response, Refused>;

/// Lets a request pass with the [`Visitor`] who sent it, or shows why not; what it does is noted.
pub async fn check<O: Operations>(
    State(guard): State<Guard<O>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = match admit(&guard.console, request.headers()).await {
        Ok(visitor) => visitor,
        Err(why_not) => return *why_not,
    };
    let allowed = visitor.may(guard.page.need(), "see this page");
    let note = Note::default();
    request.extensions_mut().insert(visitor.clone());
    request.extensions_mut().insert(note.clone());
    let path = path.as_ref().ok();
    let action = path.and_then(|path| path.iter().find(|(name, _)| *name == "action"));
    let endpoint = acts::endpoint(request.method(), guard.path, action.map(|(_, action)| action));
    let (from, refused) = (gate::address(&request), allowed.is_err());
    let doing = async move {
        match allowed {
            Ok(()) => next.run(request).await,
            Err(refusal) => Refused::from(refusal).into_response(),
        }
    };
    let mut response = match endpoint {
        None => doing.await,
        Some(endpoint) => {
            let act = Act {
                who: Some(Arc::clone(&visitor.identity)),
                from,
                what: endpoint.name(),
                about: if action.is_some() { String::new() } else { gate::named(path) },
                ending: Ending::Asked,
            };
            let beforehand = endpoint == Endpoint::Failover && !refused;
            let noted = gate::noted(&guard.console.ops, act, note, beforehand, doing, ending);
            noted.await.unwrap_or_else(|problem| Refused::from(problem).into_response())
        }
    };
    match response.extensions_mut().remove::<ToShow>() {
        Some(ToShow(refusal)) => frame::refused(&visitor, guard.page, &refusal),
        None => response,
    }
}

/// How a request ended, by its answer.
fn ending(response: &Response) -> Ending {
    match response.extensions().get::<ToShow>() {
        Some(ToShow(refusal)) => Ending::Refused(refusal.code().to_owned()),
        // To the page that says so.
        None if response.status().is_redirection() => Ending::Done,
        None => gate::ending(response),
    }
}

/// The visitor who sends these headers and may see the page, or what they see instead.
pub async fn enter<O: Operations>(
    console: &Console<O>,
    page: Page,
    headers: &HeaderMap,
) -> Result<Visitor, Box<Response>> {
    let visitor = admit(console, headers).await?;
    match visitor.may(page.need(), "see this page") {
        Ok(()) => Ok(visitor),
        Err(refusal) => Err(Box::new(frame::refused(&visitor, page, &refusal))),
    }
}

/// The visitor who sends these headers, or what somebody sees who is none.
async fn admit<O: Operations>(
    console: &Console<O>,
    headers: &HeaderMap,
) -> Result<Visitor, Box<Response>> {
    match console.visitor(headers).await {
        Ok(visitor) => Ok(visitor),
        Err(Outside::SignIn) => Err(Box::new(Redirect::to(sign_in::PATH).into_response())),
        Err(Outside::Refused(refusal)) => Err(Box::new(frame::refused_outside(&refusal))),
    }
}

/// Why somebody sees nothing.
pub enum Outside {
    /// Nobody is signed in, or no longer.
    SignIn,
    /// The server can't tell who it is.
    Refused(Refusal),
}

impl<O: Operations> Console<O> {
    /// Who sends a request with these headers. The server is asked anew each time, so that a token that is revoked ends
    /// its sessions.
    pub async fn visitor(&self, headers: &HeaderMap) -> Result<Visitor, Outside> {
        let cookie = cookie(headers);
        let session = cookie.and_then(|cookie| self.lock_sessions().get(cookie, clock::uptime()));
        let token = session.as_ref().map(|session| session.token.to_string());
        match self.ops.who(token).await {
            Ok(identity) => {
                let signed_in = session.is_some();
                let csrf = session.map_or_else(|| Arc::clone(&self.csrf), |session| session.csrf);
                Ok(Visitor { identity, csrf, signed_in })
            }
            Err(refusal) if refusal.code() == "NOT_SIGNED_IN" => {
                if let Some(cookie) = cookie {
                    self.lock_sessions().end(cookie);
                }
                Err(Outside::SignIn)
            }
            Err(refusal) => Err(Outside::Refused(refusal)),
        }
    }
}

/// The name of this server's cookie. Browsers keep one set of cookies for all ports of a host, and a pair on one machine
/// would sign its visitors out of each other.
pub fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    let port = if port.bytes().all(|b| b.is_ascii_digit()) { port } else { "" };
    format!("counterpart-session-{port}")
}

/// What this server's cookie holds.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(known, _)| *known == name).map(|(_, value)| value).next()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(host: &str, cookies: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        headers.insert(header::COOKIE, HeaderValue::from_str(cookies).unwrap());
        headers
    }

    #[test]
    fn each_port_of_a_host_has_a_cookie_of_its_own() {
        let both = "a=b; counterpart-session-6480=one; counterpart-session-7480=other; x";
        assert_eq!(cookie(&headers("db:6480", both)), Some("one"));
        assert_eq!(cookie(&headers("[::1]:7480", both)), Some("other"));
        assert_eq!(cookie(&headers("db", both)), None);
        assert_eq!(cookie(&headers("db:1; path", both)), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(host in "[ -~]{0,30}", cookies in "[ -~]{0,80}") {
            let headers = headers(&host, &cookies);
            let name = cookie_name(&headers);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
            prop_assert!(cookie(&headers).is_none_or(|found| cookies.contains(found)));
        }
    }
}
