//! Passing a request on to the principal: one request, one answer.
//!
//! A write that waited out a failover finds this server a mirror. Its client cannot follow redirects, and nothing of
//! the request was executed here, so it is executed there instead. Only requests that stand alone are passed on:
//! whoever has a transaction open here is told to begin again.

use std::time::Duration;

use axum::body::Bytes;
use counterpart_hrana::{
    Error, ErrorKind,
    proto::{
        Error as WireError, PipelineRequest, PipelineResponse, StreamRequest, StreamResponse,
        StreamResult,
    },
};
use counterpart_node::Refusal;
use counterpart_tls::{KnownKeys, Trust, client_config};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

use crate::wiring::refused;

/// The principal gets this long to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// And this long of it to accept a connection: one that never does has been sent nothing.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Reaches principals over HTTP, with TLS where their URL says so.
#[derive(Clone)]
pub struct Forwarder(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Forwarder {
    /// A forwarder without connections yet. With TLS, it takes for a principal who shows a key that a partner said was its
    /// own, or a certificate that the system's authorities vouch for; to anybody else, nothing is sent.
    pub fn new(partners: KnownKeys) -> Forwarder {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        // Its other scheme is what it is wrapped for.
        connector.enforce_http(false);
        let trust = Trust::keys_or_system(partners);
        let connector = HttpsConnector::from((connector, client_config(trust)));
        Forwarder(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Has `request` executed on the database of the principal at `url`, on a stream of its own, as whoever
    /// shows these `credentials`.
    ///
    /// # Errors
    /// The principal's own error; `READ_ONLY_MIRROR` when it can't be reached from here and the client has to go there
    /// itself; `NOT_CONFIRMED` when it is not known whether the request was executed.
    pub async fn forward(
        &self,
        url: &str,
        database: &str,
        credentials: Option<&str>,
        request: StreamRequest,
    ) -> Result<StreamResponse, Error> {
        let requests = vec![request, StreamRequest::GetAutocommit, StreamRequest::Close];
        let body = PipelineRequest { baton: None, requests };
        let body = serde_json::to_vec(&body).expect("the protocol's types are JSON");
        let mut sent = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/db/{database}/v3/pipeline", url.trim_end_matches('/')))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = credentials {
            // Partners know the same tokens.
            sent = sent.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let sent = sent
            .body(Full::new(Bytes::from(body)))
            // What is no URL was sent nothing, either.
            .map_err(|_no_url| refused(&Refusal::read_only_mirror(url)))?;
        let answer = async {
            let response = self.0.request(sent).await.map_err(|error| {
                if error.is_connect() {
                    tracing::debug!(url, ?error, "nothing was passed on to the principal");
                    refused(&Refusal::read_only_mirror(url))
                } else {
                    unknown(url, &error)
                }
            })?;
            let executed = response.status() == StatusCode::OK;
            let body =
                response.into_body().collect().await.map_err(|error| unknown(url, &error))?;
            Ok::<_, Error>((executed, body.to_bytes()))
        };
        let (executed, body) =
            timeout(PATIENCE, answer).await.map_err(|elapsed| unknown(url, &elapsed))??;
        if !executed {
            // Any other status refuses the pipeline as a whole: nothing of it was executed.
            let told: Result<WireError, _> = serde_json::from_slice(&body);
            let error = told.map_err(|error| unknown(url, &error))?;
            return Err(match error.code.as_deref() {
                // It was good here: this server's own token, or a login that only this server knows. To the client it is a
                // write at a mirror, and not a token that is wrong.
                Some("NOT_SIGNED_IN") => refused(&Refusal::read_only_mirror(url)),
                _ => error.into(),
            });
        }
        let parsed: Result<PipelineResponse, _> = serde_json::from_slice(&body);
        let mut results = parsed.map_err(|error| unknown(url, &error))?.results.into_iter();
        let (result, state) = (results.next(), results.next());
        let open = StreamResponse::GetAutocommit { is_autocommit: false };
        if state == Some(StreamResult::Ok { response: open }) {
            return Err(left_open(url));
        }
        match result {
            Some(StreamResult::Ok { response }) => Ok(response),
            Some(StreamResult::Error { error }) => Err(error.into()),
            None => Err(unknown(url, &"its answer has no result")),
        }
    }
}

/// The request began a transaction and did not end it. The stream on which it was executed is closed, so it was rolled
/// back, and the client must not go on as if it were open.
fn left_open(url: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "NOT_CONFIRMED",
        format!(
            "the request was passed on to the new principal at {url} and left a transaction open, which was rolled back \
             there; look there for what came before that transaction, and run the rest again"
        ),
    )
}

fn unknown(url: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "NOT_CONFIRMED",
        format!(
            "the request was passed on to the new principal at {url}, and its answer was lost: {why}; look there \
             whether it was executed before sending it again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::serve::Listener;
    use counterpart_tls::{Own, Shown};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{clock, tls::TlsListener};

    async fn listener() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, url)
    }

    async fn code_of(url: &str) -> String {
        code_by(url, Box::new(|_| false)).await
    }

    /// With TLS, where these keys are partners'.
    async fn code_by(url: &str, partners: KnownKeys) -> String {
        let request = StreamRequest::Sequence { sql: Some(String::new()), sql_id: None };
        let error = Forwarder::new(partners).forward(url, "main", None, request).await.unwrap_err();
        assert!(error.message.contains(url), "{}", error.message);
        error.code.into_owned()
    }

    #[tokio::test]
    async fn a_principal_that_accepts_no_connection_was_sent_nothing_and_its_address_is_told() {
        let (listener, url) = listener().await;
        drop(listener);
        assert_eq!(code_of(&url).await, "READ_ONLY_MIRROR");
    }

    #[tokio::test]
    async fn a_principal_that_vanishes_after_the_request_leaves_it_in_doubt() {
        let (listener, url) = listener().await;
        let vanishing = tokio::spawn(async move {
            let (mut socket, _): (TcpStream, _) = listener.accept().await.unwrap();
            socket.read_buf(&mut Vec::new()).await.unwrap();
        });
        assert_eq!(code_of(&url).await, "NOT_CONFIRMED");
        vanishing.await.unwrap();
    }

    /// A principal that gives one answer.
    async fn answering(body: &'static str) -> (tokio::task::JoinHandle<()>, String) {
        answering_with("200 OK", body).await
    }

    async fn answering_with(
        status: &'static str,
        body: &'static str,
    ) -> (tokio::task::JoinHandle<()>, String) {
        let (listener, url) = listener().await;
        let serving = tokio::spawn(async move {
            let (mut socket, _): (TcpStream, _) = listener.accept().await.unwrap();
            socket.read_buf(&mut Vec::new()).await.unwrap();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        });
        (serving, url)
    }

    #[tokio::test]
    async fn a_request_that_leaves_a_transaction_open_is_not_taken_for_done() {
        let body = r#"{"results":[{"type":"ok","response":{"type":"sequence"}},
            {"type":"ok","response":{"type":"get_autocommit","is_autocommit":false}},
            {"type":"ok","response":{"type":"close"}}]}"#;
        let (serving, url) = answering(body).await;
        assert_eq!(code_of(&url).await, "NOT_CONFIRMED");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn with_tls_only_a_partner_is_sent_anything() {
        let data = tempfile::tempdir().unwrap();
        let (identity, _) = Own::new(data.path(), []).keep(clock::unix()).unwrap();
        let key = identity.key_fingerprint();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", tcp.local_addr().unwrap());
        let mut listener = TlsListener::new(tcp, &Arc::new(Shown::new(identity)));
        // Whoever gets through has the request read, and no answer.
        let vanishing = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await;
            let mut read = Vec::new();
            socket.read_buf(&mut read).await.unwrap();
            read
        });
        assert_eq!(code_of(&url).await, "READ_ONLY_MIRROR");
        let other: KnownKeys = Box::new(move |shown| *shown != key);
        assert_eq!(code_by(&url, other).await, "READ_ONLY_MIRROR");
        assert!(!vanishing.is_finished());
        let partner: KnownKeys = Box::new(move |shown| *shown == key);
        assert_eq!(code_by(&url, partner).await, "NOT_CONFIRMED");
        assert!(vanishing.await.unwrap().starts_with(b"POST /db/main/v3/pipeline"));
    }

    #[tokio::test]
    async fn a_token_that_is_good_on_this_server_alone_is_told_where_the_principal_is() {
        let body = r#"{"message":"the token is not known here","code":"NOT_SIGNED_IN"}"#;
        let (serving, url) = answering_with("401 Unauthorized", body).await;
        assert_eq!(code_of(&url).await, "READ_ONLY_MIRROR");
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_principal_whose_address_is_none_was_sent_nothing() {
        assert_eq!(code_of("http://[").await, "READ_ONLY_MIRROR");
    }
}
