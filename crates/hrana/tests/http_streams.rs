//! Streams across HTTP requests: batons, expiry, serialisation, what happens when a client leaves.

mod common;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use common::http::{Answer, TestServer, execute};
use common::until;
use counterpart_hrana::Limits;
use serde_json::{Value as Json, json};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

async fn pipeline(server: &TestServer, baton: &Json, requests: Json) -> Answer {
    server.post("/v3/pipeline", json!({"baton": baton, "requests": requests})).await
}

/// Opens a stream with these requests; its baton.
async fn open(server: &TestServer, requests: Json) -> Json {
    let answer = pipeline(server, &Json::Null, requests).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body["baton"].is_string());
    assert_eq!(answer.body["base_url"], Json::Null);
    answer.body["baton"].clone()
}

fn assert_refused(answer: &Answer, code: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(answer.content_type, "application/json");
    assert_eq!(answer.body["code"], code);
    assert!(answer.body["message"].as_str().unwrap().ends_with('.'));
}

#[tokio::test]
async fn a_stream_keeps_its_state_from_request_to_request() {
    let server = server().await;
    let store = json!({"type": "store_sql", "sql_id": 1, "sql": "ROWS 1"});
    let mut baton = open(&server, json!([execute("BEGIN"), store])).await;
    for _ in 0..3 {
        let requests = json!([
            {"type": "get_autocommit"}, {"type": "execute", "stmt": {"sql_id": 1}},
        ]);
        let answer = pipeline(&server, &baton, requests).await;
        assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
        assert_eq!(answer.body["results"][1]["type"], "ok");
        assert_ne!(answer.body["baton"], baton, "every response has a new baton");
        baton = answer.body["baton"].clone();
    }
    let answer = pipeline(&server, &baton, json!([{"type": "close"}])).await;
    assert_eq!(answer.body["baton"], Json::Null);
    assert_eq!(server.fake.noted().last().unwrap(), "close and roll back");
    assert_eq!(server.fake.noted().iter().filter(|what| *what == "open").count(), 1);
}

#[tokio::test]
async fn a_baton_is_good_for_one_request() {
    let server = server().await;
    let first = open(&server, json!([execute("BEGIN")])).await;
    let second = pipeline(&server, &first, json!([])).await.body["baton"].clone();
    assert_refused(&pipeline(&server, &first, json!([execute("ROWS 1")])).await, "BATON_REUSED");
    let answer = pipeline(&server, &second, json!([{"type": "get_autocommit"}])).await;
    assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
}

#[tokio::test]
async fn forged_and_garbled_batons_are_invalid() {
    let server = server().await;
    let baton = open(&server, json!([])).await;
    let baton = baton.as_str().unwrap();
    let last = if baton.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{last}{}", &baton[..40], &baton[41..]);
    let forged =
        if forged == baton { format!("{}B{}", &baton[..40], &baton[41..]) } else { forged };
    for garbled in [forged.as_str(), "", "x", "é", &baton[1..], &format!("{baton}AAAA")] {
        let answer = pipeline(&server, &json!(garbled), json!([])).await;
        assert_refused(&answer, "INVALID_BATON");
    }
}

#[tokio::test]
async fn a_baton_is_bound_to_its_database() {
    let server = server().await;
    let baton = open(&server, json!([])).await;
    let body = json!({"baton": baton, "requests": []});
    assert_refused(&server.post("/db/other/v3/pipeline", body.clone()).await, "INVALID_BATON");
    assert_eq!(server.post("/db/main/v3/pipeline", body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_baton_of_another_server_has_expired() {
    let baton = open(&server().await, json!([])).await;
    let other = server().await;
    assert_refused(&pipeline(&other, &baton, json!([])).await, "STREAM_EXPIRED");
}

#[tokio::test]
async fn an_idle_stream_expires_and_rolls_back() {
    let server = server().await;
    let baton = open(&server, json!([execute("BEGIN")])).await;
    let other = open(&server, json!([])).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    tokio::time::resume();
    let other = pipeline(&server, &other, json!([])).await.body["baton"].clone();

    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1500)).await;
    until(|| server.fake.open_streams() == 1).await;
    tokio::time::resume();
    assert_eq!(server.fake.noted().last().unwrap(), "close and roll back");
    assert_refused(&pipeline(&server, &baton, json!([])).await, "STREAM_EXPIRED");
    // Its idle limit began anew with the request in between.
    let answer = pipeline(&server, &other, json!([])).await;
    assert_eq!(answer.status, StatusCode::OK);

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    until(|| server.fake.open_streams() == 0).await;
    tokio::time::resume();
    // The reaper ended with the last stream; it comes back for the next.
    open(&server, json!([])).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    until(|| server.fake.open_streams() == 0).await;
}

#[tokio::test]
async fn dropped_streams_expire_and_new_ones_can_be_opened() {
    let server = server().await;
    let baton = open(&server, json!([execute("BEGIN")])).await;
    server.hrana.drop_streams().await;
    assert_eq!(server.fake.noted().last().unwrap(), "close and roll back");
    assert_refused(&pipeline(&server, &baton, json!([])).await, "STREAM_EXPIRED");
    let baton = open(&server, json!([])).await;
    assert_eq!(pipeline(&server, &baton, json!([])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_under_way_while_streams_are_dropped_ends_its_stream() {
    let server = server().await;
    for is_new in [true, false] {
        let baton = if is_new { Json::Null } else { open(&server, json!([])).await };
        let requests = json!([execute("GATE"), execute("ROWS 1")]);
        let request = pipeline(&server, &baton, requests);
        let meanwhile = async {
            until(|| server.fake.noted().last().is_some_and(|what| what == "GATE")).await;
            server.hrana.drop_streams().await;
            server.fake.open_gate();
        };
        let (answer, ()) = tokio::join!(request, meanwhile);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body["results"][1]["type"], "ok");
        assert_eq!(answer.body["baton"], Json::Null);
        assert_eq!(server.fake.open_streams(), 0);
    }
}

#[tokio::test]
async fn a_stream_that_is_found_gone_answers_as_an_expired_baton_does() {
    let server = server().await;
    let baton = open(&server, json!([])).await;
    let answer = pipeline(&server, &baton, json!([execute("GONE"), execute("ROWS 1")])).await;
    assert_refused(&answer, "STREAM_EXPIRED");
    assert_eq!(server.fake.open_streams(), 0);
    assert_refused(&pipeline(&server, &baton, json!([])).await, "STREAM_EXPIRED");

    // After something was executed, the results tell.
    let requests = json!([execute("ROWS 1"), execute("GONE"), execute("ROWS 1")]);
    let answer = pipeline(&server, &Json::Null, requests).await;
    assert_eq!(answer.body["results"][0]["type"], "ok");
    assert_eq!(answer.body["results"][1]["error"]["code"], "STREAM_EXPIRED");
    assert_eq!(answer.body["results"][2]["error"]["code"], "STREAM_EXPIRED", "nobody closed it");
    assert_eq!(answer.body["baton"], Json::Null);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_one_is_closed() {
    let server = TestServer::start(Limits { http_streams: 1, ..Limits::default() }).await;
    let baton = open(&server, json!([])).await;
    let answer = pipeline(&server, &Json::Null, json!([])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.body["code"], "TOO_MANY_STREAMS");
    // A pipeline that closes its stream itself needs no room.
    assert_eq!(server.once(json!([execute("ROWS 0")])).await[0]["type"], "ok");
    pipeline(&server, &baton, json!([{"type": "close"}])).await;
    open(&server, json!([])).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_takes_its_stream_along() {
    let server = server().await;
    let baton = open(&server, json!([execute("BEGIN")])).await;
    {
        let body = json!({"baton": baton, "requests": [execute("HANG")]}).to_string();
        let request = server.send(Method::POST, "/v3/pipeline", &[], body);
        let hanging = until(|| server.fake.noted().last().is_some_and(|what| what == "HANG"));
        tokio::select! {
            _ = request => panic!("HANG was answered"),
            () = hanging => {}
        }
    }
    until(|| server.fake.open_streams() == 0).await;
    assert_eq!(server.fake.noted().last().unwrap(), "dropped");
}
