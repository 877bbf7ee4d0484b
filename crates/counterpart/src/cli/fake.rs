//! A server for tests of the commands: it answers as it is told to, and notes what it was asked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router, body::Bytes, extract::State, http::StatusCode, http::Uri, response::IntoResponse,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What it knows.
#[derive(Default)]
struct Script {
    /// By `METHOD path`: the answers in order; the last one stays. `{"$raw": text}` is sent as that text.
    answers: HashMap<String, Vec<(u16, Value)>>,
    /// `METHOD path`, with the body where there was one.
    asked: Vec<(String, Value)>,
}

/// The server; it ends when it is dropped.
pub struct FakeServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FakeServer {
    /// One that answers nothing yet but 404.
    pub fn start() -> FakeServer {
        let script = Arc::new(Mutex::new(Script::default()));
        let router = Router::new().fallback(answer).with_state(script.clone());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _dropped = stopped => {}
                }
            });
        });
        FakeServer { address, script, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers `request` (`METHOD path`) with these, the last one for good.
    pub fn answers(&self, request: &str, answers: impl IntoIterator<Item = (u16, Value)>) {
        let answers = answers.into_iter().collect();
        self.script.lock().unwrap().answers.insert(request.to_owned(), answers);
    }

    /// From now on refuses `request`.
    pub fn refuses(&self, request: &str, code: &str) {
        let error = json!({ "code": code, "what": format!("{code} it is"), "remedy": "mend it" });
        self.answers(request, [(409, json!({ "error": error }))]);
    }

    /// What was asked for changes: everything but GET, in order.
    pub fn changes(&self) -> Vec<String> {
        let script = self.script.lock().unwrap();
        let asked = script.asked.iter().map(|(request, _)| request.clone());
        asked.filter(|request| !request.starts_with("GET ")).collect()
    }

    /// The body of the last `request`.
    pub fn body_of(&self, request: &str) -> Value {
        let script = self.script.lock().unwrap();
        let mut asked = script.asked.iter().rev();
        asked.find(|(known, _)| known == request).map_or(Value::Null, |(_, body)| body.clone())
    }
}

impl Drop for FakeServer {
    /// Nobody listens at the address any more once this returns.
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().expect("it runs until it is dropped").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the fake server panicked");
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: axum::http::Method,
    uri: Uri,
    body: Bytes,
) -> impl IntoResponse {
    let request = format!("{method} {uri}");
    let mut script = script.lock().unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!({ "bytes": body.len() }));
    script.asked.push((request.clone(), body));
    let (status, value) = match script.answers.get_mut(&request) {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => (404, json!({ "unknown": request })),
    };
    let status = StatusCode::from_u16(status).unwrap();
    match value["$raw"].as_str() {
        Some(raw) => (status, raw.to_owned()).into_response(),
        None => (status, axum::Json(value)).into_response(),
    }
}
