//! Protobuf over HTTP and over WebSocket, as a client speaks it over a real socket.

mod common;

use axum::http::{Method, StatusCode};
use common::http::{TestServer, answer};
use common::until;
use common::ws::Client;
use counterpart_hrana::Limits;
use counterpart_hrana::proto::protobuf::{Protobuf, decode, encode};
use counterpart_hrana::proto::{
    Batch, BatchStep, ClientMessage, CursorEntry, CursorRequest, CursorResponse, PipelineRequest,
    PipelineResponse, Request, Response, ServerMessage, Stmt, StreamRequest, StreamResponse,
    StreamResult, Value,
};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn stmt(sql: &str) -> Stmt {
    Stmt { sql: Some(sql.into()), ..Stmt::default() }
}

fn batch(sqls: &[&str]) -> Batch {
    Batch { steps: sqls.iter().map(|sql| BatchStep { condition: None, stmt: stmt(sql) }).collect() }
}

/// The body of the response, which must be protobuf.
async fn post<T: Protobuf>(server: &TestServer, path: &str, request: T) -> Vec<u8> {
    let response = server.send(Method::POST, path, &[], encode(request)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/x-protobuf");
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn pipeline(
    server: &TestServer,
    baton: Option<String>,
    requests: Vec<StreamRequest>,
) -> PipelineResponse {
    let request = PipelineRequest { baton, requests };
    decode(&post(server, "/v3-protobuf/pipeline", request).await).unwrap()
}

fn first_error(response: &PipelineResponse) -> &str {
    match &response.results[0] {
        StreamResult::Error { error } => error.code.as_deref().unwrap(),
        StreamResult::Ok { response } => panic!("should fail: {response:?}"),
    }
}

#[tokio::test]
async fn values_come_back_in_both_directions() {
    let server = server().await;
    let row = vec![
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Float(f64::NEG_INFINITY),
        Value::Text("žluť\n".into()),
        Value::Blob(vec![0, 255]),
    ];
    let stmt = Stmt { args: row.clone(), ..stmt("ECHO") };
    let requests = vec![StreamRequest::Execute { stmt }, StreamRequest::Close];
    let response = pipeline(&server, None, requests).await;
    assert_eq!(response.baton, None);
    let StreamResult::Ok { response: StreamResponse::Execute { result } } = &response.results[0]
    else {
        panic!("{response:?}")
    };
    assert_eq!(result.rows, [row]);
    assert_eq!(response.results[1], StreamResult::Ok { response: StreamResponse::Close });
}

#[tokio::test]
async fn a_stream_goes_on_in_either_encoding() {
    let server = server().await;
    let begin = StreamRequest::Execute { stmt: stmt("BEGIN") };
    let baton = pipeline(&server, None, vec![begin]).await.baton.expect("the stream is open");
    let requests = json!([{"type": "get_autocommit"}]);
    let answer = server.post("/v3/pipeline", json!({"baton": baton, "requests": requests})).await;
    assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
    let baton = answer.body["baton"].as_str().map(str::to_owned);
    let requests = vec![StreamRequest::GetAutocommit, StreamRequest::Close];
    let response = pipeline(&server, baton, requests).await;
    let state = StreamResponse::GetAutocommit { is_autocommit: false };
    assert_eq!(response.results[0], StreamResult::Ok { response: state });
}

#[tokio::test]
async fn failures_are_results_and_refusals_are_json() {
    let server = server().await;
    let fail = StreamRequest::Execute { stmt: stmt("FAIL") };
    let response = pipeline(&server, None, vec![fail, StreamRequest::Close]).await;
    assert_eq!(first_error(&response), "SQLITE_ERROR");

    for (path, body, hint) in [
        ("/v3-protobuf/pipeline", &b"{}"[..], "is not a valid pipeline"),
        ("/v3-protobuf/pipeline", &[0x12, 0x02, 0x12, 0x00], "missing field `stmt`"),
        ("/v3-protobuf/cursor", b"", "missing field `batch`"),
    ] {
        let answer = answer(server.send(Method::POST, path, &[], body.to_vec()).await).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(answer.body["code"], "BAD_REQUEST");
        assert!(answer.body["message"].as_str().unwrap().contains(hint), "{answer:?}");
    }
    let request = PipelineRequest { baton: Some("x".into()), requests: vec![] };
    let path = "/v3-protobuf/pipeline";
    let answer = answer(server.send(Method::POST, path, &[], encode(request)).await).await;
    assert_eq!(answer.body["code"], "INVALID_BATON");
}

/// Cuts off the first message of a stream of them.
fn take<T: Protobuf>(stream: &mut &[u8]) -> T {
    let length = prost::encoding::decode_varint(stream).unwrap() as usize;
    let (message, rest) = stream.split_at(length);
    *stream = rest;
    decode(message).unwrap()
}

#[tokio::test]
async fn a_cursor_is_a_stream_of_messages_after_their_lengths() {
    let server = server().await;
    let batch = batch(&["ROWS 3000", "FAIL", "GONE"]);
    let request = CursorRequest { baton: None, batch };
    let body = post(&server, "/v3-protobuf/cursor", request).await;
    let mut rest = &body[..];
    let head: CursorResponse = take(&mut rest);
    assert!(head.baton.is_some());
    let mut entries = Vec::<CursorEntry>::new();
    while !rest.is_empty() {
        entries.push(take(&mut rest));
    }
    assert!(matches!(&entries[0], CursorEntry::StepBegin { step: 0, cols } if cols.len() == 1));
    assert_eq!(entries[3000], CursorEntry::Row { row: vec![Value::Integer(2999)] });
    let end = CursorEntry::StepEnd { affected_row_count: 0, last_insert_rowid: Some(3000) };
    assert_eq!(entries[3001], end);
    assert!(matches!(&entries[3002], CursorEntry::StepError { step: 1, .. }));
    assert!(matches!(&entries[3003], CursorEntry::Error { .. }));
    assert_eq!(entries.len(), 3004);
}

/// A WebSocket client that speaks protobuf.
struct Binary(Client);

impl Binary {
    async fn open(server: &TestServer) -> Self {
        let client = Client::connect(server.address, "/", "hrana3-protobuf").await.unwrap();
        let mut client = Self(client);
        client.send(ClientMessage::Hello { jwt: None }).await;
        assert_eq!(client.receive().await, ServerMessage::HelloOk);
        client
    }

    async fn send(&mut self, message: ClientMessage) {
        self.0.send_raw(Message::binary(encode(message))).await;
    }

    async fn receive(&mut self) -> ServerMessage {
        loop {
            match self.0.receive_raw().await {
                Some(Message::Binary(bytes)) => return decode(&bytes).unwrap(),
                Some(Message::Ping(_)) => {}
                other => panic!("expected a message, received {other:?}"),
            }
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Response, String> {
        self.send(ClientMessage::Request { request_id: -3, request }).await;
        match self.receive().await {
            ServerMessage::ResponseOk { request_id: -3, response } => Ok(response),
            ServerMessage::ResponseError { request_id: -3, error } => Err(error.code.unwrap()),
            other => panic!("unexpected message {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_websocket_speaks_protobuf_when_that_was_agreed() {
    let server = server().await;
    let mut client = Binary::open(&server).await;
    assert_eq!(client.ask(Request::OpenStream { stream_id: 1 }).await, Ok(Response::OpenStream));
    let stmt = Stmt { args: vec![Value::Float(0.1)], ..stmt("ECHO") };
    let Ok(Response::Execute { result }) =
        client.ask(Request::Execute { stream_id: 1, stmt }).await
    else {
        panic!("it is executed")
    };
    assert_eq!(result.rows, [[Value::Float(0.1)]]);
    let failing = Request::Sequence { stream_id: 1, sql: Some("FAIL".into()), sql_id: None };
    assert_eq!(client.ask(failing).await, Err("SQLITE_ERROR".into()));

    let open = Request::OpenCursor { stream_id: 1, cursor_id: 4, batch: batch(&["ROWS 5"]) };
    assert_eq!(client.ask(open).await, Ok(Response::OpenCursor));
    let mut rows = 0;
    loop {
        let fetched = client.ask(Request::FetchCursor { cursor_id: 4, max_count: 2 }).await;
        let Ok(Response::FetchCursor { entries, done }) = fetched else { panic!("{fetched:?}") };
        assert!(entries.len() <= 2);
        rows += entries.iter().filter(|entry| matches!(entry, CursorEntry::Row { .. })).count();
        if done {
            break;
        }
    }
    assert_eq!(rows, 5);
    let closed = client.ask(Request::CloseCursor { cursor_id: 4 }).await;
    assert_eq!(closed, Ok(Response::CloseCursor));
}

#[tokio::test]
async fn messages_of_the_other_encoding_close_a_connection() {
    let server = server().await;
    for (message, code) in [
        (Message::text(r#"{"type":"hello"}"#), 1003),
        (Message::binary(vec![0xff]), 1007),
        (Message::binary(vec![]), 1007),
    ] {
        let mut client = Binary::open(&server).await;
        client.0.send_raw(message.clone()).await;
        assert_eq!(client.0.closed().await.0, code, "{message:?}");
    }
    until(|| server.fake.open_streams() == 0).await;
}
