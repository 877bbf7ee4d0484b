//! A Hrana client over WebSocket, one message after the other.

use std::{collections::HashMap, net::TcpStream, time::Duration};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket, client::IntoClientRequest, http::HeaderValue,
};

use super::{
    client::{Failure, Outcome, failure_of},
    server::Server,
};

/// One connection.
pub struct Socket {
    socket: WebSocket<TcpStream>,
    next_request: u64,
    /// Answers that came before those that were waited for.
    early: HashMap<u64, Outcome>,
}

impl Socket {
    /// Connects with a subprotocol, to a path below the server's address, and says hello.
    pub fn connect(server: &Server, subprotocol: &str, path: &str) -> Socket {
        let stream = TcpStream::connect((server.address, server.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let url = format!("ws://{}:{}{path}", server.address, server.port);
        let mut request = url.into_client_request().unwrap();
        let offered = HeaderValue::from_str(subprotocol).unwrap();
        request.headers_mut().insert("sec-websocket-protocol", offered);
        let (socket, response) = tungstenite::client(request, stream).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
        let mut socket = Socket { socket, next_request: 1, early: HashMap::new() };
        socket.send_message(&json!({"type": "hello", "jwt": null}));
        assert_eq!(socket.receive(), json!({"type": "hello_ok"}));
        socket
    }

    /// A connection to `main` with its streams 1 to `streams` open.
    pub fn with_streams(server: &Server, streams: u64) -> Socket {
        let mut socket = Socket::connect(server, "hrana3", "/");
        for stream in 1..=streams {
            socket.ask(json!({"type": "open_stream", "stream_id": stream})).unwrap();
        }
        socket
    }

    fn send_message(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    fn receive(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("the server sent {other:?}"),
            }
        }
    }

    /// Sends a request and does not wait; its id.
    pub fn send(&mut self, request: Value) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.send_message(&json!({"type": "request", "request_id": id, "request": request}));
        id
    }

    /// Waits for the answer to a request.
    pub fn answer(&mut self, id: u64) -> Outcome {
        loop {
            if let Some(outcome) = self.early.remove(&id) {
                return outcome;
            }
            let (answered, outcome) = self.next_answer();
            self.early.insert(answered, outcome);
        }
    }

    /// The answer that comes next, whichever request it is to.
    pub fn next_answer(&mut self) -> (u64, Outcome) {
        let message = self.receive();
        let answered = message["request_id"].as_u64().expect("an answer names its request");
        let outcome = match message["type"].as_str() {
            Some("response_ok") => Ok(message["response"].clone()),
            _ => Err(failure_of(&message["error"], 200)),
        };
        (answered, outcome)
    }

    /// One request and its answer.
    pub fn ask(&mut self, request: Value) -> Outcome {
        let id = self.send(request);
        self.answer(id)
    }

    /// Sends a statement on a stream and does not wait.
    pub fn send_sql(&mut self, stream: u64, sql: &str) -> u64 {
        self.send(json!({"type": "execute", "stream_id": stream, "stmt": {"sql": sql}}))
    }

    /// A statement on a stream; its result.
    pub fn execute(&mut self, stream: u64, sql: &str) -> Outcome {
        let id = self.send_sql(stream, sql);
        self.answer(id).map(|response| response["result"].clone())
    }

    /// A statement that must succeed.
    #[track_caller]
    pub fn run(&mut self, stream: u64, sql: &str) -> Value {
        self.execute(stream, sql)
            .unwrap_or_else(|e: Failure| panic!("{sql}: {}: {}", e.code, e.message))
    }

    /// The code with which a statement fails.
    #[track_caller]
    pub fn code(&mut self, stream: u64, sql: &str) -> String {
        self.execute(stream, sql).expect_err(sql).code
    }
}
