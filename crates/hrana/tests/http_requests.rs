//! Requests over HTTP: each kind, each refusal, each route. Over a real socket.

mod common;

use axum::http::{Method, StatusCode};
use common::http::{TestServer, answer, execute};
use counterpart_hrana::{ChosenBy, Limits};
use serde_json::{Value as Json, json};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn ok(response: Json) -> Json {
    json!({"type": "ok", "response": response})
}

#[tokio::test]
async fn versions_answer_without_credentials() {
    let server = server().await;
    for prefix in ["", "/db/any"] {
        for version in ["v1", "v2", "v3", "v3-protobuf"] {
            let path = format!("{prefix}/{version}");
            let answer = answer(server.send(Method::GET, &path, &[], "").await).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        }
    }
    let answer = answer(server.send(Method::GET, "/version", &[], "").await).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, concat!("counterpart ", env!("CARGO_PKG_VERSION")));
    assert!(server.fake.noted().is_empty());
}

#[tokio::test]
async fn execute_returns_exactly_the_fields_of_the_specification() {
    let server = server().await;
    let stmt = json!({
        "sql": "ECHO",
        "args": [
            {"type": "null"},
            {"type": "integer", "value": "9007199254740993"},
            {"type": "float", "value": 0.5},
            {"type": "text", "value": "é\n\"\u{0}"},
            {"type": "blob", "base64": "AAEC/w=="},
        ],
        "named_args": [{"name": ":n", "value": {"type": "integer", "value": "-1"}}],
        "want_rows": true,
    });
    let results = server.once(json!([{"type": "execute", "stmt": stmt}])).await;
    let mut row = stmt["args"].as_array().unwrap().clone();
    row.push(json!({"type": "integer", "value": "-1"}));
    let cols = ["0", "1", "2", "3", "4", ":n"].map(|name| json!({"name": name, "decltype": null}));
    let result = json!({
        "cols": cols, "rows": [row], "affected_row_count": 0, "last_insert_rowid": null,
    });
    assert_eq!(results, [ok(json!({"type": "execute", "result": result}))]);
}

#[tokio::test]
async fn infinities_travel_both_ways() {
    let server = server().await;
    let body = r#"{"requests":[{"type":"execute","stmt":{"sql":"ECHO","args":[
        {"type":"float","value":1e999},{"type":"float","value":-1e999}]}},{"type":"close"}]}"#;
    let response = server.send(Method::POST, "/v2/pipeline", &[], body).await;
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let row = r#"[{"type":"float","value":1e999},{"type":"float","value":-1e999}]"#;
    assert!(body.contains(row), "{body}");
}

#[tokio::test]
async fn rows_are_left_out_if_they_are_not_wanted() {
    let server = server().await;
    let stmt = json!({"sql": "ROWS 3", "want_rows": false});
    let results = server.once(json!([{"type": "execute", "stmt": stmt}])).await;
    let result = &results[0]["response"]["result"];
    assert_eq!(result["rows"], json!([]));
    assert_eq!(result["cols"], json!([{"name": "n", "decltype": "INT"}]));
    assert_eq!(result["last_insert_rowid"], "3");
}

#[tokio::test]
async fn a_failing_request_is_a_result_and_the_next_one_is_executed() {
    let server = server().await;
    let results = server.once(json!([execute("FAIL"), execute("ROWS 0")])).await;
    let error = json!({"message": "It fails, as asked.", "code": "SQLITE_ERROR"});
    assert_eq!(results[0], json!({"type": "error", "error": error}));
    assert_eq!(results[1]["type"], "ok");
}

#[tokio::test]
async fn statements_behind_each_other_are_answered_in_their_order_whatever_each_comes_to() {
    let server = server().await;
    let unknown = json!({"type": "execute", "stmt": {"sql_id": 9}});
    let results = server
        .once(json!([
            execute("ROWS 1"),
            execute("FAIL"),
            execute("ROWS 2"),
            unknown,
            execute("ROWS 3"),
            execute("ROWS 4"),
            {"type": "sequence", "sql": "ROWS 5"},
            execute("ROWS 6"),
        ]))
        .await;
    let rows = |n: usize| results[n]["response"]["result"]["rows"].as_array().map(Vec::len);
    assert_eq!(
        (rows(0), rows(2), rows(4), rows(5), rows(7)),
        (Some(1), Some(2), Some(3), Some(4), Some(6))
    );
    assert_eq!(results[1]["error"]["code"], "SQLITE_ERROR");
    assert_eq!(results[3]["error"]["code"], "SQL_ID_UNKNOWN");
    assert_eq!(results[6], ok(json!({"type": "sequence"})));
    assert_eq!(
        server.fake.noted(),
        ["open", "ROWS 1", "FAIL", "ROWS 2", "ROWS 3", "ROWS 4", "ROWS 5", "ROWS 6", "close"]
    );
}

#[tokio::test]
async fn a_stream_that_goes_between_statements_behind_each_other_executes_none_of_the_rest() {
    let server = server().await;
    let results = server.post(
        "/v3/pipeline",
        json!({"requests": [execute("ROWS 1"), execute("GONE"), execute("ROWS 2")]}),
    );
    let codes: Vec<_> = results.await.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [Json::Null, json!("STREAM_EXPIRED"), json!("STREAM_EXPIRED")]);
    assert_eq!(server.fake.noted(), ["open", "ROWS 1", "GONE", "close"]);
    let gone = server
        .post("/v3/pipeline", json!({"requests": [execute("GONE"), execute("ROWS 2")]}))
        .await;
    assert_eq!(gone.status, StatusCode::BAD_REQUEST, "as if its baton had expired");
}

#[tokio::test]
async fn batch_steps_run_under_their_conditions() {
    let server = server().await;
    let steps = json!([
        {"stmt": {"sql": "FAIL"}},
        {"stmt": {"sql": "ROWS 0"}, "condition": {"type": "ok", "step": 0}},
        {"stmt": {"sql": "ROWS 0"}, "condition": {"type": "error", "step": 0}},
        {"stmt": {"sql": "ROWS 0"}, "condition": {"type": "not", "cond": {"type": "is_autocommit"}}},
    ]);
    let results = server.once(json!([{"type": "batch", "batch": {"steps": steps}}])).await;
    let result = &results[0]["response"]["result"];
    let shape = |name: &str| {
        let values = result[name].as_array().unwrap();
        values.iter().map(|value| !value.is_null()).collect::<Vec<_>>()
    };
    assert_eq!(shape("step_results"), [false, false, true, false]);
    assert_eq!(shape("step_errors"), [true, false, false, false]);
    let fields: Vec<_> = result.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["step_errors", "step_results"]);
}

#[tokio::test]
async fn a_batch_whose_condition_looks_ahead_is_refused_and_nothing_is_executed() {
    let server = server().await;
    let steps = json!([{"stmt": {"sql": "ROWS 0"}, "condition": {"type": "ok", "step": 0}}]);
    let results = server.once(json!([{"type": "batch", "batch": {"steps": steps}}])).await;
    assert_eq!(results[0]["error"]["code"], "BAD_REQUEST");
    assert_eq!(server.fake.noted(), ["open", "close"]);
}

#[tokio::test]
async fn sequence_and_describe_and_get_autocommit_answer() {
    let server = server().await;
    let results = server
        .once(json!([
            {"type": "sequence", "sql": "BEGIN; ROWS 1;"},
            {"type": "get_autocommit"},
            {"type": "describe", "sql": "x"},
            {"type": "describe", "sql": "FAIL"},
            {"type": "sequence", "sql": "FAIL; ROWS 7"},
        ]))
        .await;
    assert_eq!(results[0], ok(json!({"type": "sequence"})));
    assert_eq!(results[1], ok(json!({"type": "get_autocommit", "is_autocommit": false})));
    let description = json!({
        "params": [{"name": ":a"}, {"name": null}],
        "cols": [{"name": "x", "decltype": "TEXT"}],
        "is_explain": false, "is_readonly": true,
    });
    assert_eq!(results[2], ok(json!({"type": "describe", "result": description})));
    assert_eq!(results[3]["error"]["code"], "SQLITE_ERROR");
    assert_eq!(results[4]["error"]["code"], "SQLITE_ERROR");
    let expected = ["open", "BEGIN", "ROWS 1", "FAIL", "close and roll back"];
    assert_eq!(server.fake.noted(), expected);
}

#[tokio::test]
async fn stored_sql_can_be_used_by_id_until_it_is_closed() {
    let server = server().await;
    let by_id = json!({"type": "execute", "stmt": {"sql_id": 5}});
    let results = server
        .once(json!([
            {"type": "store_sql", "sql_id": 5, "sql": "ROWS 2"},
            by_id,
            {"type": "store_sql", "sql_id": 5, "sql": "ROWS 3"},
            {"type": "describe", "sql_id": 5},
            {"type": "sequence", "sql_id": 5},
            {"type": "close_sql", "sql_id": 5},
            {"type": "close_sql", "sql_id": 5},
            by_id,
            {"type": "execute", "stmt": {}},
        ]))
        .await;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| match result["type"].as_str() {
            Some("ok") => result["response"]["type"].as_str().unwrap(),
            _ => result["error"]["code"].as_str().unwrap(),
        })
        .collect();
    let expected = [
        "store_sql",
        "execute",
        "SQL_ID_IN_USE",
        "describe",
        "sequence",
        "close_sql",
        "close_sql",
        "SQL_ID_UNKNOWN",
        "BAD_REQUEST",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn version_2_refuses_what_came_with_version_3() {
    let server = server().await;
    let steps = json!([{"stmt": {"sql": "ROWS 0"}, "condition": {"type": "is_autocommit"}}]);
    let requests = json!([
        {"type": "get_autocommit"}, {"type": "batch", "batch": {"steps": steps}}, {"type": "close"},
    ]);
    let answer = server.post("/v2/pipeline", json!({"requests": requests})).await;
    for result in &answer.body["results"].as_array().unwrap()[..2] {
        assert_eq!(result["error"]["code"], "UNSUPPORTED_VERSION");
    }
}

#[tokio::test]
async fn requests_after_a_close_are_errors() {
    let server = server().await;
    let requests = json!([{"type": "close"}, execute("ROWS 0"), {"type": "close"}]);
    let answer = server.post("/v3/pipeline", json!({"requests": requests})).await;
    assert_eq!(answer.body["results"][0], ok(json!({"type": "close"})));
    assert_eq!(answer.body["results"][1]["error"]["code"], "STREAM_CLOSED");
    assert_eq!(answer.body["results"][2]["error"]["code"], "STREAM_CLOSED");
    assert_eq!(server.fake.noted(), ["open", "close"]);
}

#[tokio::test]
async fn malformed_bodies_are_told_what_is_wrong_and_where() {
    let server = server().await;
    for (body, hint) in [
        ("", "EOF"),
        ("nonsense", "line 1 column"),
        ("[1]", "invalid"),
        ("{}", "`requests`"),
        (r#"{"requests":{}}"#, "sequence"),
        (r#"{"requests":[{"type":"explode"}]}"#, "`explode`"),
        (r#"{"requests":[{"stmt":{}}]}"#, "`type`"),
        (r#"{"requests":[{"type":"execute"}]}"#, "`stmt`"),
        (r#"{"requests":[{"type":"execute","stmt":{"sql":1}}]}"#, "a string"),
        (r#"{"requests":[{"type":"execute","stmt":{"args":[{"type":"x"}]}}]}"#, "`x`"),
        (r#"{"requests":[{"type":"store_sql","sql":"x"}]}"#, "`sql_id`"),
        (r#"{"requests":[{"type":"close_sql","sql_id":4294967296}]}"#, "i32"),
        (r#"{"baton":1,"requests":[]}"#, "a string"),
        (r#"{"requests":[]} x"#, "trailing"),
    ] {
        let answer = server.post_text("/v2/pipeline", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(answer.body["code"], "BAD_REQUEST");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(hint), "{body}: {message}");
    }
    let deep = format!(
        r#"{{"requests":[{{"type":"batch","batch":{{"steps":[{{"condition":{}{}}}]}}}}]}}"#,
        r#"{"type":"not","cond":"#.repeat(10_000),
        "}".repeat(10_000)
    );
    let answer = server.post_text("/v2/pipeline", deep).await;
    assert!(answer.body["message"].as_str().unwrap().contains("recursion"), "{answer:?}");
    assert!(server.fake.noted().is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let server = TestServer::start(Limits { request_bytes: 1000, ..Limits::default() }).await;
    let body = |length: usize| {
        let rest = r#"{"requests":[{"type":"close"}]}"#;
        format!("{}{rest}", " ".repeat(length - rest.len()))
    };
    let answer = server.post_text("/v3/pipeline", body(1000)).await;
    assert_eq!(answer.status, StatusCode::OK);
    for path in ["/v2/pipeline", "/v3/cursor"] {
        let answer = server.post_text(path, body(1001)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.body["code"], "REQUEST_TOO_LARGE");
    }
}

#[tokio::test]
async fn a_pipeline_stops_executing_when_its_response_is_full() {
    let server = TestServer::start(Limits { response_bytes: 1000, ..Limits::default() }).await;
    let results = server.once(json!([execute("ROWS 100"), execute("ROWS 0")])).await;
    assert_eq!(results[0]["type"], "ok");
    assert_eq!(results[1]["error"]["code"], "RESPONSE_TOO_LARGE");
    assert_eq!(server.fake.noted(), ["open", "ROWS 100", "close"]);
}

#[tokio::test]
async fn a_pipeline_of_many_requests_is_refused_in_few_words() {
    let server = TestServer::start(Limits { response_bytes: 1000, ..Limits::default() }).await;
    let mut requests = vec![execute("ROWS 100")];
    requests.extend(std::iter::repeat_n(json!({"type": "close_sql", "sql_id": 1}), 10_000));
    let results = server.once(Json::Array(requests)).await;
    assert!(results[1]["error"]["message"].as_str().unwrap().contains("1000 bytes"));
    assert_eq!(results[10_000]["error"]["code"], "RESPONSE_TOO_LARGE");
    let bytes: usize = results[2..].iter().map(|result| result.to_string().len()).sum();
    assert!(bytes < 10_000 * 100, "{bytes} bytes of refusals");
}

/// A page that somebody only looked at could drop the tables of a server on the same machine: a browser sends a body of
/// plain text anywhere, without asking first.
#[tokio::test]
async fn a_web_page_of_another_site_is_refused_before_anything_is_executed() {
    let server = server().await;
    let pipeline = r#"{"requests":[{"type":"execute","stmt":{"sql":"ROWS 1"}},{"type":"close"}]}"#;
    let cursor = r#"{"batch":{"steps":[{"stmt":{"sql":"ROWS 1"}}]}}"#;
    for (path, body) in
        [("/v2/pipeline", pipeline), ("/db/a/v3/pipeline", pipeline), ("/v3/cursor", cursor)]
    {
        let headers = [("origin", "http://evil.example"), ("content-type", "text/plain")];
        let answer = answer(server.send(Method::POST, path, &headers, body).await).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(answer.body["code"], "CROSS_ORIGIN");
    }
    assert_eq!(server.fake.noted(), [""; 0]);
    let from_here = [("origin", "http://localhost:5173")];
    let answer =
        answer(server.send(Method::POST, "/v2/pipeline", &from_here, pipeline).await).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn the_database_is_chosen_by_path_header_or_host() {
    let server = server().await;
    let body = r#"{"requests":[{"type":"close"}]}"#;
    for (path, headers, database, chosen_by) in [
        ("/v2/pipeline", vec![], "main", ChosenBy::Default),
        ("/db/a-1/v2/pipeline", vec![("x-namespace", "b")], "a-1", ChosenBy::Path),
        ("/db/b%20c/v3/pipeline", vec![], "b c", ChosenBy::Path),
        ("/v3/pipeline", vec![("x-namespace", "b"), ("host", "c.example")], "b", ChosenBy::Header),
        ("/v3/pipeline", vec![("host", "c.example:80")], "c", ChosenBy::Host),
    ] {
        let mut headers = headers;
        headers.push(("authorization", "Bearer token"));
        let answer = answer(server.send(Method::POST, path, &headers, body).await).await;
        assert_eq!(answer.status, StatusCode::OK);
        let target = server.fake.targets.lock().unwrap().pop().unwrap();
        assert_eq!((target.database.as_str(), target.chosen_by), (database, chosen_by));
        assert_eq!(target.credentials.as_deref(), Some("token"));
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_gives_the_error_its_status() {
    let server = server().await;
    for path in ["/db/missing/v2/pipeline", "/db/missing/v3/pipeline"] {
        let answer = server.post(path, json!({"requests": [execute("ROWS 0")]})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.body["code"], "DATABASE_NOT_FOUND");
    }
    let answer = server.post("/db/missing/v3/cursor", json!({"batch": {"steps": []}})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_plain_get_at_the_root_is_told_about_websockets() {
    let server = server().await;
    for path in ["/", "/db/x", "/db/x/"] {
        let answer = answer(server.send(Method::GET, path, &[], "").await).await;
        assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED, "{path}");
        assert_eq!(answer.body["code"], "UPGRADE_REQUIRED");
    }
}
