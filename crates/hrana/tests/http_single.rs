//! `v1/execute` and `v1/batch`: each request by itself.

mod common;

use axum::http::{Method, StatusCode};
use common::http::TestServer;
use counterpart_hrana::Limits;
use serde_json::{Value as Json, json};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn result_of_rows(count: u32) -> Json {
    let rows: Vec<_> =
        (0..count).map(|n| json!([{"type": "integer", "value": n.to_string()}])).collect();
    json!({
        "cols": [{"name": "n", "decltype": "INT"}], "rows": rows, "affected_row_count": 0,
        "last_insert_rowid": count.to_string(),
    })
}

#[tokio::test]
async fn a_statement_is_executed_on_a_stream_of_its_own() {
    let server = server().await;
    for path in ["/v1/execute", "/db/x/v1/execute"] {
        let answer = server.post(path, json!({"stmt": {"sql": "ROWS 2", "want_rows": true}})).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(answer.body, json!({"result": result_of_rows(2)}));
    }
    assert_eq!(server.fake.noted(), ["open", "ROWS 2", "close", "open", "ROWS 2", "close"]);
    let targets = server.fake.targets.lock().unwrap();
    assert_eq!([&*targets[0].database, &*targets[1].database], ["main", "x"]);
}

#[tokio::test]
async fn what_a_request_leaves_open_is_rolled_back() {
    let server = server().await;
    let answer = server.post("/v1/execute", json!({"stmt": {"sql": "BEGIN"}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(server.fake.noted(), ["open", "BEGIN", "close and roll back"]);
}

#[tokio::test]
async fn a_batch_answers_for_each_step() {
    let server = server().await;
    let steps = json!([
        {"stmt": {"sql": "ROWS 1"}},
        {"stmt": {"sql": "FAIL"}, "condition": {"type": "ok", "step": 0}},
        {"stmt": {"sql": "ROWS 3"}, "condition": {"type": "ok", "step": 1}},
    ]);
    let answer = server.post("/v1/batch", json!({"batch": {"steps": steps}})).await;
    assert_eq!(answer.status, StatusCode::OK);
    let error = json!({"message": "It fails, as asked.", "code": "SQLITE_ERROR"});
    let result = json!({
        "step_results": [result_of_rows(1), null, null], "step_errors": [null, error, null],
    });
    assert_eq!(answer.body, json!({"result": result}));
}

#[tokio::test]
async fn a_failure_is_the_whole_answer_and_ends_its_stream() {
    let server = server().await;
    let later = json!({"batch": {"steps": [
        {"stmt": {"sql": "ROWS 1"}, "condition": {"type": "is_autocommit"}},
    ]}});
    for (path, body, code) in [
        ("/v1/execute", json!({"stmt": {"sql": "FAIL"}}), "SQLITE_ERROR"),
        ("/v1/execute", json!({"stmt": {"sql_id": 1}}), "SQL_ID_UNKNOWN"),
        ("/v1/execute", json!({}), "BAD_REQUEST"),
        ("/v1/batch", json!({"stmt": {"sql": "ROWS 1"}}), "BAD_REQUEST"),
        ("/v1/batch", json!({"batch": {"steps": [{"stmt": {"sql": "GONE"}}]}}), "STREAM_EXPIRED"),
        ("/v1/batch", later, "UNSUPPORTED_VERSION"),
    ] {
        let answer = server.post(path, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.body["code"], code, "{path}: {answer:?}");
        assert!(!answer.body["message"].as_str().unwrap().is_empty());
    }
    // All of the request was read, so its connection goes on.
    let body = r#"{"stmt":{"sql":"LARGE"}}"#;
    let large = server.send(Method::POST, "/v1/execute", &[], body).await;
    assert_eq!(large.headers().get("connection"), None);
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let missing = server.post("/db/missing/v1/execute", json!({"stmt": {"sql": "ROWS 1"}})).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(
        server.fake.noted(),
        ["open", "FAIL", "close", "open", "GONE", "close", "open", "LARGE", "close"]
    );
}
