//! Cursors over HTTP: entries as lines, streamed under back-pressure.

mod common;

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use common::http::{TestServer, execute};
use counterpart_hrana::Limits;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value as Json, json};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn steps(sqls: &[&str]) -> Json {
    let steps: Vec<_> = sqls.iter().map(|sql| json!({"stmt": {"sql": sql}})).collect();
    json!({"steps": steps})
}

async fn send(server: &TestServer, baton: &Json, batch: Json) -> axum::http::Response<Incoming> {
    let body = json!({"baton": baton, "batch": batch}).to_string();
    server.send(Method::POST, "/v3/cursor", &[], body).await
}

/// The first line and the entries.
async fn read(response: axum::http::Response<Incoming>) -> (Json, Vec<Json>) {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"\n"));
    let mut lines: Vec<Json> = String::from_utf8(body.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines.remove(0), lines)
}

#[tokio::test]
async fn entries_are_exactly_those_of_the_specification() {
    let server = server().await;
    let batch = steps(&["ROWS 2", "FAIL"]);
    let (head, entries) = read(send(&server, &Json::Null, batch).await).await;
    assert_eq!(head["base_url"], Json::Null);
    assert!(head["baton"].is_string());
    let integer = |value: &str| json!({"type": "integer", "value": value});
    let error = json!({"message": "It fails, as asked.", "code": "SQLITE_ERROR"});
    let expected = [
        json!({"type": "step_begin", "step": 0, "cols": [{"name": "n", "decltype": "INT"}]}),
        json!({"type": "row", "row": [integer("0")]}),
        json!({"type": "row", "row": [integer("1")]}),
        json!({"type": "step_end", "affected_row_count": 0, "last_insert_rowid": "2"}),
        json!({"type": "step_error", "step": 1, "error": error}),
    ];
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn the_stream_goes_on_after_its_cursor() {
    let server = server().await;
    let (head, _) = read(send(&server, &Json::Null, steps(&["BEGIN"])).await).await;
    let (head, _) = read(send(&server, &head["baton"], steps(&["ROWS 1"])).await).await;
    let body = json!({"baton": head["baton"], "requests": [{"type": "get_autocommit"}]});
    let answer = server.post("/v3/pipeline", body).await;
    assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
}

#[tokio::test]
async fn a_request_waits_for_the_cursor_before_it() {
    let server = server().await;
    // The head arrives while the batch is still running.
    let cursor = send(&server, &Json::Null, steps(&["GATE", "ROWS 1"])).await;
    let mut body = cursor.into_body();
    let head = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let head: Json = serde_json::from_slice(&head).unwrap();
    let next = json!({"baton": head["baton"], "requests": [execute("ROWS 7")]});
    let next = server.post("/v3/pipeline", next);
    let open = async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!server.fake.noted().contains(&"ROWS 7".into()));
        server.fake.open_gate();
    };
    let (answer, ()) = tokio::join!(next, open);
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(server.fake.noted(), ["open", "GATE", "ROWS 1", "ROWS 7"]);
}

// Time is paused: whenever all wait, it jumps to the next deadline, which is the busy stream's.
#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_forever_for_the_cursor_before_it() {
    let server = server().await;
    let cursor = send(&server, &Json::Null, steps(&["HANG"])).await;
    let mut body = cursor.into_body();
    let head = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let head: Json = serde_json::from_slice(&head).unwrap();
    let next = json!({"baton": head["baton"], "requests": []});
    let answer = server.post("/v3/pipeline", next).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body["code"], "STREAM_BUSY");
}

#[tokio::test]
async fn a_slow_reader_holds_the_producer_back_and_loses_nothing() {
    const ROWS: usize = 200_000;
    let server = server().await;
    let response = send(&server, &Json::Null, steps(&[&format!("ROWS {ROWS}")])).await;
    let mut seen = 0;
    loop {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let now = server.fake.produced.load(Ordering::SeqCst);
        if now == seen && now > 0 {
            break;
        }
        seen = now;
    }
    assert!(seen < ROWS, "all {seen} rows were produced although none was read");
    let (_, entries) = read(response).await;
    assert_eq!(entries.len(), ROWS + 2);
    assert_eq!(entries[ROWS]["row"][0]["value"], (ROWS - 1).to_string());
}

#[tokio::test]
async fn a_reader_that_leaves_stops_the_producer_and_the_stream_goes_on() {
    let server = server().await;
    let response = send(&server, &Json::Null, steps(&["ROWS 300000"])).await;
    let mut body = response.into_body();
    let head = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let head = head.split(|byte| *byte == b'\n').next().unwrap();
    let head: Json = serde_json::from_slice(head).unwrap();
    drop(body);
    let next = json!({"baton": head["baton"], "requests": [execute("ROWS 1")]});
    let answer = server.post("/v3/pipeline", next).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(server.fake.noted(), ["open", "ROWS 300000", "nobody reads", "ROWS 1"]);
}

#[tokio::test]
async fn a_batch_that_fails_as_a_whole_ends_with_an_error_entry() {
    let server = server().await;
    let batch = json!({"steps": [{"stmt": {"sql_id": 9}}]});
    let (head, entries) = read(send(&server, &Json::Null, batch).await).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["type"], "error");
    assert_eq!(entries[0]["error"]["code"], "SQL_ID_UNKNOWN");
    // The stream is not harmed, unless it is gone.
    let batch = steps(&["ROWS 0", "GONE"]);
    let (head, entries) = read(send(&server, &head["baton"], batch).await).await;
    assert_eq!(entries[2]["error"]["code"], "STREAM_EXPIRED");
    let body = json!({"baton": head["baton"], "requests": []});
    assert_eq!(server.post("/v3/pipeline", body).await.body["code"], "STREAM_EXPIRED");
    assert_eq!(server.fake.open_streams(), 0);
}

#[tokio::test]
async fn a_malformed_cursor_request_is_refused() {
    let server = server().await;
    for body in ["", "{}", r#"{"batch":{}}"#, r#"{"batch":{"steps":[{}]}}"#] {
        let answer = server.post_text("/v3/cursor", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.body["code"], "BAD_REQUEST");
    }
    assert!(server.fake.noted().is_empty());
}

#[tokio::test]
async fn a_cursor_whose_stream_panics_is_cut_off_instead_of_looking_complete() {
    let server = server().await;
    let response = send(&server, &Json::Null, steps(&["ROWS 1", "PANIC"])).await;
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(server.fake.open_streams(), 0);
}
