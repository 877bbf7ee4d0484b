//! A WebSocket client that speaks JSON.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::TestServer;

pub fn execute(stream_id: i32, sql: &str) -> Json {
    json!({"type": "execute", "stream_id": stream_id, "stmt": {"sql": sql}})
}

pub fn open_stream(stream_id: i32) -> Json {
    json!({"type": "open_stream", "stream_id": stream_id})
}

/// A client with stream 1.
pub async fn with_stream(server: &TestServer) -> Client {
    let mut client = Client::open(server.address, "hrana3").await;
    assert_eq!(client.ask(open_stream(1)).await, Ok(json!({"type": "open_stream"})));
    client
}

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    next_id: i32,
    /// What the server selected.
    pub subprotocol: Option<String>,
}

impl Client {
    /// A connection without a hello; `protocols` as in the header, `""` for none.
    pub async fn connect(
        address: SocketAddr,
        path: &str,
        protocols: &str,
    ) -> Result<Self, Box<Error>> {
        let request = format!("ws://{address}{path}").into_client_request().unwrap();
        Self::connect_with(address, request, protocols).await
    }

    /// The same with a request of its own.
    pub async fn connect_with(
        address: SocketAddr,
        mut request: Request,
        protocols: &str,
    ) -> Result<Self, Box<Error>> {
        if !protocols.is_empty() {
            let value = protocols.parse().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", value);
        }
        let socket = TcpStream::connect(address).await.unwrap();
        let (socket, response) = client_async(request, socket).await.map_err(Box::new)?;
        let subprotocol = response.headers().get("sec-websocket-protocol");
        let subprotocol = subprotocol.map(|value| value.to_str().unwrap().to_owned());
        Ok(Self { socket, next_id: 0, subprotocol })
    }

    /// A connection that was greeted.
    pub async fn open(address: SocketAddr, protocols: &str) -> Self {
        let mut client = Self::connect(address, "/", protocols).await.unwrap();
        client.send(json!({"type": "hello", "jwt": null})).await;
        assert_eq!(client.receive().await, json!({"type": "hello_ok"}));
        client
    }

    pub async fn send(&mut self, message: Json) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next message, pings included.
    pub async fn receive_raw(&mut self) -> Option<Message> {
        self.socket.next().await.map(|message| message.unwrap())
    }

    pub async fn receive(&mut self) -> Json {
        loop {
            match self.receive_raw().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_)) => {}
                other => panic!("expected a message, received {other:?}"),
            }
        }
    }

    /// The code and reason with which the server closed; it is told that they were heard.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.receive_raw().await {
                Some(Message::Close(Some(frame))) => {
                    while let Some(Ok(_)) = self.socket.next().await {}
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Message::Ping(_)) => {}
                other => panic!("expected a close, received {other:?}"),
            }
        }
    }

    /// Sends a request without waiting; its id.
    pub async fn start(&mut self, request: Json) -> i32 {
        self.next_id += 1;
        let request_id = self.next_id;
        self.send(json!({"type": "request", "request_id": request_id, "request": request})).await;
        request_id
    }

    /// Sends a request and waits for its response.
    pub async fn ask(&mut self, request: Json) -> Result<Json, Json> {
        let id = self.start(request).await;
        let message = self.receive().await;
        assert_eq!(message["request_id"], id, "{message}");
        match message["type"].as_str() {
            Some("response_ok") => Ok(message["response"].clone()),
            Some("response_error") => Err(message["error"].clone()),
            _ => panic!("unexpected message {message}"),
        }
    }

    /// The code of the error that a request is answered with.
    pub async fn code(&mut self, request: Json) -> String {
        let error = self.ask(request).await.expect_err("should fail");
        assert!(!error["message"].as_str().unwrap().is_empty());
        error["code"].as_str().unwrap().to_owned()
    }
}
