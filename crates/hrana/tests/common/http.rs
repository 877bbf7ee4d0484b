//! A server on a loopback socket, and an HTTP client with a connection for each request.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{Method, Request, Response, StatusCode};
use counterpart_hrana::{Hrana, Limits};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream};

use super::fake::{Fake, FakeServer};

pub struct TestServer {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    pub hrana: Hrana<FakeServer>,
}

/// What came back: the status, and the body as JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Json,
}

impl TestServer {
    pub async fn start(limits: Limits) -> Self {
        let fake = Arc::new(Fake::default());
        let hrana = Hrana::new(Arc::new(FakeServer(Arc::clone(&fake))), limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = hrana.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, fake, hrana }
    }

    /// The same server, for a task of its own.
    pub fn another(&self) -> Self {
        let (fake, hrana) = (Arc::clone(&self.fake), self.hrana.clone());
        Self { address: self.address, fake, hrana }
    }

    pub async fn request(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender.send_request(request).await.unwrap()
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(Full::new(body.into())).unwrap()).await
    }

    /// Posts JSON and reads JSON.
    pub async fn post(&self, path: &str, body: Json) -> Answer {
        self.post_text(path, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        answer(self.send(Method::POST, path, &[], body).await).await
    }

    /// Posts requests on a new stream and closes it; the results without the close's.
    pub async fn once(&self, requests: Json) -> Vec<Json> {
        let mut requests = requests.as_array().unwrap().clone();
        requests.push(serde_json::json!({"type": "close"}));
        let body = serde_json::json!({"baton": null, "requests": requests});
        let answer = self.post("/v3/pipeline", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["baton"], Json::Null);
        let mut results = answer.body["results"].as_array().unwrap().clone();
        let close = serde_json::json!({"type": "ok", "response": {"type": "close"}});
        assert_eq!(results.pop(), Some(close));
        results
    }
}

pub async fn answer(response: Response<Incoming>) -> Answer {
    let status = response.status();
    let content_type = response.headers().get("content-type");
    let content_type = content_type.map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(&body).into_owned()));
    Answer { status, content_type, body }
}

/// An `execute` request.
pub fn execute(sql: &str) -> Json {
    serde_json::json!({"type": "execute", "stmt": {"sql": sql}})
}
