//! A client of the operator API. Turns everything that can go wrong on the way into a [`Failure`] that names the
//! server, and the server's own refusals into failures with its code, what and remedy.

use std::{io::Read, time::Duration};

use serde_json::{Value, json};
use ureq::{
    Agent, Body, RequestBuilder, SendBody,
    http::{HeaderValue, Request, Response, header::AUTHORIZATION},
    middleware::{Middleware, MiddlewareNext},
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector, TcpConnector},
    },
};

use counterpart_tls::{Untrusted, client_config};

use super::{
    credentials,
    secure::{HandshakeFailed, Secure},
    voucher::{CaCert, Voucher},
};
use crate::exit::{Exit, Failure};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer a question that changes nothing.
const ANSWER: Duration = Duration::from_secs(30);

/// One server, as an operator reaches it.
pub struct Client {
    base: String,
    agent: Agent,
    voucher: Voucher,
}

/// Shows a token with every request.
struct Shown(String);

impl Middleware for Shown {
    fn handle(
        &self,
        mut request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        // What no header can hold was no token that any server made, and is told as such.
        if let Ok(shown) = HeaderValue::from_str(&self.0) {
            request.headers_mut().insert(AUTHORIZATION, shown);
        }
        next.handle(request)
    }
}

impl Client {
    /// A client of the server at `url` that shows what token there is for it. Nothing is sent yet.
    pub fn new(url: &str, given: &CaCert) -> Result<Client, Failure> {
        let base = url.trim_end_matches('/');
        let token = credentials::token_for(base)?;
        Client::showing(url, token.as_deref(), Voucher::of(base, given)?)
    }

    /// A client of the server at `url` that shows this token, or none, to the server that is vouched for.
    pub fn showing(url: &str, token: Option<&str>, voucher: Voucher) -> Result<Client, Failure> {
        let base = url.trim_end_matches('/');
        let secure = base.starts_with("https://");
        let authority = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        let authority = authority.unwrap_or_default();
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(Failure::new(
                Exit::Usage,
                "SERVER_URL_INVALID",
                format!("{url:?} is not the URL of a server"),
                "give http://HOST:PORT or https://HOST:PORT, for example http://127.0.0.1:6480",
            ));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_await_100(Some(CONNECT))
            .max_redirects(0)
            // An operator's request goes to the server that was named, not through what the environment names.
            .proxy(None)
            .user_agent(concat!("counterpart/", env!("CARGO_PKG_VERSION")));
        let config = match token {
            Some(token) => config.middleware(Shown(format!("Bearer {token}"))),
            None => config,
        };
        let agent = if secure {
            let secure = Secure(client_config(voucher.trust()?));
            let connector = TcpConnector::default().chain(secure);
            Agent::with_parts(config.build(), connector, DefaultResolver::default())
        } else {
            Agent::new_with_config(config.build())
        };
        Ok(Client { base: base.to_owned(), agent, voucher })
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Asks for a JSON document.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let request = self.agent.get(self.at(path));
        let request = request.config().timeout_global(Some(ANSWER)).build();
        self.json(request.call())
    }

    /// Makes sure that a server answers that is vouched for.
    pub fn reach(&self) -> Result<(), Failure> {
        self.knock().map_err(|error| self.broken(&error))
    }

    /// Makes sure that a server answers; if nobody vouches for it, and the operator might, tells what it shows.
    pub fn untrusted(&self) -> Result<Option<Untrusted>, Failure> {
        let Err(error) = self.knock() else { return Ok(None) };
        match handshake(&error).and_then(|failed| Untrusted::in_error(&failed.0)) {
            Some(untrusted) if self.voucher.leaves_it_open() => Ok(Some(untrusted.clone())),
            _ => Err(self.broken(&error)),
        }
    }

    /// Any answer will do.
    fn knock(&self) -> Result<(), ureq::Error> {
        let request = self.agent.get(self.at("/health"));
        request.config().timeout_global(Some(ANSWER)).build().call().map(drop)
    }

    /// `GET /api/v1/status`.
    pub fn status(&self) -> Result<Value, Failure> {
        self.get("/api/v1/status")
    }

    /// Asks for a change. Waits as long as it takes: how long a failover may take is the server's to bound.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(self.agent.post(self.at(path)).send_json(body))
    }

    /// Asks for the end of something.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.agent.delete(self.at(path)).call())
    }

    /// Sends `length` bytes from `content`. The server may refuse before they are sent.
    pub fn put(&self, path: &str, length: u64, content: &mut dyn Read) -> Result<Value, Failure> {
        let request: RequestBuilder<_> = self.agent.put(self.at(path));
        let request = request
            .header("content-type", "application/vnd.sqlite3")
            .header("content-length", length.to_string())
            .header("expect", "100-continue");
        self.json(request.send(SendBody::from_reader(content)))
    }

    /// Asks for bytes: their number, and a reader of them.
    pub fn download(&self, path: &str) -> Result<(u64, impl Read + use<>), Failure> {
        let answer = self.agent.get(self.at(path)).call().map_err(|error| self.broken(&error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer));
        }
        let length = answer.body().content_length().ok_or_else(|| self.nonsense("no length"))?;
        let reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
        Ok((length, reader))
    }

    /// Asks for bytes whose number nobody knows beforehand.
    pub fn download_unmeasured(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let answer = self.agent.get(self.at(path)).call().map_err(|error| self.broken(&error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer));
        }
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    fn json(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, Failure> {
        let mut answer = answer.map_err(|error| self.broken(&error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer));
        }
        answer.body_mut().read_json().map_err(|error| match error {
            ureq::Error::Json(error) => self.nonsense(&error.to_string()),
            other => self.broken(&other),
        })
    }

    /// An answer that is no success: the server's refusal, or not ours at all.
    fn refusal(&self, mut answer: Response<Body>) -> Failure {
        let status = answer.status();
        let body: Value = answer.body_mut().read_json().unwrap_or_else(|_not_json| json!({}));
        let part = |name: &str| body["error"][name].as_str();
        match (part("code"), part("what"), part("remedy")) {
            (Some(code), Some(what), Some(remedy)) => {
                Failure::new(Exit::Refused, code, what, remedy)
            }
            _ => self.nonsense(&format!("HTTP {status}")),
        }
    }

    fn nonsense(&self, what: &str) -> Failure {
        Failure::new(
            Exit::NotAServer,
            "NOT_A_SERVER",
            format!("{} does not answer as a Counterpart server does: {what}", self.base),
            "check the URL; it is the address that `counterpart serve --listen` names, with https:// where it uses TLS",
        )
    }

    /// The handshake failed: who answers is not who is vouched for, or does not speak TLS.
    fn insecure(&self, failed: &HandshakeFailed) -> Failure {
        match Untrusted::in_error(&failed.0) {
            Some(untrusted) => self.voucher.refused(&self.base, untrusted),
            None => self.nonsense(&failed.to_string()),
        }
    }

    fn broken(&self, error: &ureq::Error) -> Failure {
        if let Some(failed) = handshake(error) {
            return self.insecure(failed);
        }
        let why = match error {
            ureq::Error::Protocol(error) => return self.nonsense(&error.to_string()),
            ureq::Error::Io(error) => error.to_string(),

            other => other.to_string(),
        };
        Failure::new(
            Exit::Unreachable,
            "SERVER_UNREACHABLE",
            format!("cannot reach the server at {}: {why}", self.base),
            "check that it runs and that the address is right (--server or COUNTERPART_SERVER)",
        )
    }
}

/// The handshake that failed, if that is what is wrong.
fn handshake(error: &ureq::Error) -> Option<&HandshakeFailed> {
    match error {
        ureq::Error::Other(other) => other.downcast_ref(),
        _ => None,
    }
}
