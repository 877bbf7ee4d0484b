//! Bodies on their way: compressed in either direction, and bodies that stop coming.

mod common;

use std::io::{Read as _, Write as _};

use axum::http::{Method, Response, StatusCode};
use common::http::{TestServer, answer, execute};
use common::until;
use counterpart_hrana::Limits;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn pipeline(sql: &str) -> String {
    json!({"requests": [execute(sql), {"type": "close"}]}).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The coding that a response names, and its body as it was before.
async fn read(response: Response<Incoming>) -> (Option<String>, Vec<u8>) {
    assert_eq!(response.status(), StatusCode::OK);
    let coding = response.headers().get("content-encoding");
    let coding = coding.map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let mut plain = Vec::new();
    match coding.as_deref() {
        None => plain = body.to_vec(),
        Some("gzip") => {
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        }
        Some("zstd") => plain = zstd::stream::decode_all(&*body).unwrap(),
        Some(other) => panic!("nobody asked for {other}"),
    }
    (coding, plain)
}

#[tokio::test]
async fn large_results_are_compressed_for_those_who_ask_and_small_ones_never() {
    let server = server().await;
    let ask = |path: &'static str, accept: &'static str, body: String| {
        let headers = [("accept-encoding", accept)];
        let server = &server;
        async move { read(server.send(Method::POST, path, &headers, body).await).await }
    };
    for (path, body) in [
        ("/v2/pipeline", pipeline("ROWS 1000")),
        ("/v3/pipeline", pipeline("ROWS 1000")),
        ("/v1/execute", json!({"stmt": {"sql": "ROWS 1000"}}).to_string()),
        ("/v3/cursor", json!({"batch": {"steps": [{"stmt": {"sql": "ROWS 5000"}}]}}).to_string()),
    ] {
        let plain = ask(path, "identity", body.clone()).await;
        assert_eq!(plain.0, None, "{path}");
        for (accept, coding) in [("gzip, deflate, br", "gzip"), ("gzip, zstd", "zstd")] {
            let (used, compressed) = ask(path, accept, body.clone()).await;
            assert_eq!(used.as_deref(), Some(coding), "{path}");
            if path != "/v3/cursor" {
                assert_eq!(compressed, plain.1, "{path}");
                continue;
            }
            // Each has its own baton in its first line.
            let entries =
                |body: &[u8]| body.splitn(2, |byte| *byte == b'\n').last().unwrap().to_vec();
            assert_eq!(entries(&compressed), entries(&plain.1));
        }
    }
    assert_eq!(ask("/v3/pipeline", "gzip, zstd", pipeline("ROWS 10")).await.0, None);
    let small = json!({"batch": {"steps": [{"stmt": {"sql": "ROWS 10"}}]}}).to_string();
    let (coding, body) = ask("/v3/cursor", "gzip, zstd", small).await;
    assert_eq!((coding, body.split(|byte| *byte == b'\n').count()), (None, 14));
}

#[tokio::test]
async fn entries_of_a_cursor_arrive_although_the_next_step_takes_its_time() {
    let server = server().await;
    for (coding, rows) in [("gzip", 2000), ("gzip", 1), ("identity", 1)] {
        let sql = format!("ROWS {rows}");
        let batch = json!({"steps": [{"stmt": {"sql": sql}}, {"stmt": {"sql": "GATE"}}]});
        let headers = [("accept-encoding", coding)];
        let body = json!({"batch": batch}).to_string();
        let response = server.send(Method::POST, "/v3/cursor", &headers, body).await;
        let used = response.headers().get("content-encoding").map(|used| used == coding);
        assert_eq!(used, (coding == "gzip").then_some(true), "{coding}");
        let (mut body, mut packed) = (response.into_body(), Vec::new());
        while ends(&packed, coding) == 0 {
            let frame = body.frame().await.expect("more is to come").unwrap();
            packed.extend(frame.into_data().unwrap());
        }
        server.fake.open_gate();
        packed.extend(body.collect().await.unwrap().to_bytes());
        assert_eq!(ends(&packed, coding), 2, "{coding}");
    }
}

/// The steps that have ended in what has come so far.
fn ends(body: &[u8], coding: &str) -> usize {
    let mut plain = body.to_vec();
    if coding == "gzip" {
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        decoder.write_all(body).unwrap();
        decoder.flush().unwrap();
        plain = decoder.get_ref().clone();
    }
    String::from_utf8_lossy(&plain).lines().filter(|line| line.contains("step_end")).count()
}

#[tokio::test]
async fn a_compressed_request_is_read_and_its_true_length_is_what_counts() {
    let server = TestServer::start(Limits { request_bytes: 2000, ..Limits::default() }).await;
    let send = |coding: &'static str, body: Vec<u8>| {
        let headers = [("content-encoding", coding)];
        let server = &server;
        async move { answer(server.send(Method::POST, "/v3/pipeline", &headers, body).await).await }
    };
    let plain = pipeline("ROWS 1");
    for (coding, body) in [
        ("gzip", gzip(plain.as_bytes())),
        ("zstd", zstd::encode_all(plain.as_bytes(), 3).unwrap()),
        ("identity", plain.clone().into_bytes()),
    ] {
        let answer = send(coding, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{coding}: {answer:?}");
        assert_eq!(answer.body["results"][0]["type"], "ok");
    }
    let long = pipeline(&"x".repeat(1_000_000));
    for (coding, body, status, code) in [
        ("gzip", gzip(long.as_bytes()), StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_TOO_LARGE"),
        ("gzip", plain.clone().into_bytes(), StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        ("br", vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_ENCODING"),
        ("gzip, zstd", vec![], StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_ENCODING"),
    ] {
        let answer = send(coding, body).await;
        assert_eq!(answer.status, status, "{coding}: {answer:?}");
        assert_eq!(answer.body["code"], code);
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let request_idle = std::time::Duration::from_millis(20);
    let server = TestServer::start(Limits { request_idle, ..Limits::default() }).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v3/pipeline HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("REQUEST_TIMEOUT"), "{answer}");
    assert!(server.fake.noted().is_empty());
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together() {
    let server = server().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let body = pipeline("ROWS 1");
    let mut request =
        "POST /v3/pipeline HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_owned();
    for byte in body.chars() {
        request.push_str(&format!("1\r\n{byte}\r\n"));
    }
    request.push_str("0\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let json: Json = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(json["results"][0]["type"], "ok");
    until(|| server.fake.noted().last().is_some_and(|last| last == "close")).await;
}
