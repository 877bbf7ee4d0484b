//! Large answers are written beside the sockets' thread.
//!
//! The server of these tests has one thread for that, and the test keeps it. So a large answer is not there until the test
//! lets go of it; and whoever wants something small is answered meanwhile, because nothing of that is needed.

mod common;

use std::future::Future;
use std::sync::mpsc;

use axum::http::{Method, StatusCode};
use common::http::{TestServer, execute};
use common::until;
use common::ws::Client;
use counterpart_hrana::Limits;
use counterpart_hrana::proto::protobuf::{
    PipelineRespBody, StreamResponse, StreamResponseKind, StreamResultKind, encode,
};
use counterpart_hrana::proto::{Batch, BatchStep, PipelineRequest, Stmt, StreamRequest};
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde_json::{Value as Json, json};
use tokio::task::{JoinHandle, spawn_blocking};

/// As much as is large by its numbers alone: 10,000 rows.
const ROWS: &str = "ROWS 10000";
/// How often others are answered while a large answer waits.
const OTHERS: usize = 20;

/// The one thread beside that of the sockets, until it is let go of.
struct Kept {
    release: mpsc::Sender<()>,
    keeping: JoinHandle<()>,
}

impl Kept {
    async fn take() -> Kept {
        let (release, released) = mpsc::channel();
        let (taken, is_taken) = tokio::sync::oneshot::channel();
        let keeping = spawn_blocking(move || {
            taken.send(()).unwrap();
            released.recv().unwrap();
        });
        is_taken.await.unwrap();
        Kept { release, keeping }
    }

    async fn let_go(self) {
        self.release.send(()).unwrap();
        self.keeping.await.unwrap();
    }
}

fn with_one_thread_beside(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(test);
}

/// What `asking` is answered, once it is shown that nobody waits while that is written.
async fn written_beside<T: Send + 'static>(
    server: &TestServer,
    asking: impl Future<Output = T> + Send + 'static,
) -> T {
    let executed = || server.fake.noted().iter().filter(|noted| *noted == ROWS).count();
    let before = executed();
    let kept = Kept::take().await;
    let asking = tokio::spawn(asking);
    until(|| executed() > before).await;
    let mut other = Client::open(server.address, "hrana3").await;
    other.ask(json!({"type": "open_stream", "stream_id": 1})).await.unwrap();
    for _ in 0..OTHERS {
        let stmt = json!({"sql": "ROWS 1"});
        other.ask(json!({"type": "execute", "stream_id": 1, "stmt": stmt})).await.unwrap();
        assert_eq!(server.once(json!([execute("ROWS 1")])).await[0]["type"], "ok");
    }
    assert!(!asking.is_finished(), "it was written on the sockets' thread");
    kept.let_go().await;
    asking.await.unwrap()
}

async fn post(server: &TestServer, path: &'static str, body: Vec<u8>) -> Vec<u8> {
    let response = server.send(Method::POST, path, &[], body).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

fn rows(result: &Json) -> usize {
    result["rows"].as_array().map_or(0, Vec::len)
}

#[test]
fn nobody_waits_while_an_answer_over_http_is_written() {
    with_one_thread_beside(async {
        let server = TestServer::start(Limits::default()).await;
        let stmt = json!({"sql": ROWS});
        let batch = json!({"steps": [{"stmt": {"sql": "ROWS 1"}}, {"stmt": stmt}]});
        let lone = execute(ROWS);
        let batched = json!({"type": "batch", "batch": batch});
        let result = "/results/0/response/result";
        let second = |pointer: &str| format!("{pointer}/step_results/1");
        for (path, body, pointer) in [
            ("/v2/pipeline", json!({"requests": [lone]}), result.to_owned()),
            ("/v3/pipeline", json!({"requests": [lone]}), result.to_owned()),
            ("/v3/pipeline", json!({"requests": [lone, execute("ROWS 1")]}), result.to_owned()),
            ("/v3/pipeline", json!({"requests": [batched]}), second(result)),
            ("/v1/execute", json!({"stmt": stmt}), "/result".to_owned()),
            ("/v1/batch", json!({"batch": batch}), second("/result")),
        ] {
            let asked = body.to_string().into_bytes();
            let asking = {
                let server = server.another();
                async move { post(&server, path, asked).await }
            };
            let answer = written_beside(&server, asking).await;
            let answer: Json = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer.pointer(&pointer).map(rows), Some(10_000), "{path} {body}");
        }
    });
}

#[test]
fn nobody_waits_while_an_answer_in_protobuf_is_written() {
    with_one_thread_beside(async {
        let server = TestServer::start(Limits::default()).await;
        let stmt = Stmt { sql: Some(ROWS.into()), ..Stmt::default() };
        let batch = Batch { steps: vec![BatchStep { condition: None, stmt: stmt.clone() }] };
        for request in [StreamRequest::Execute { stmt }, StreamRequest::Batch { batch }] {
            let body = encode(PipelineRequest { baton: None, requests: vec![request] });
            let asking = {
                let server = server.another();
                async move { post(&server, "/v3-protobuf/pipeline", body).await }
            };
            let answer = written_beside(&server, asking).await;
            // As a message only: what is bounded is a request.
            let answer = PipelineRespBody::decode(&*answer).unwrap();
            let result = answer.results[0].result.clone();
            let Some(StreamResultKind::Ok(StreamResponse { response: Some(response) })) = result
            else {
                panic!("unexpected {result:?}");
            };
            let rows = match response {
                StreamResponseKind::Execute(response) => response.result.unwrap().rows,
                StreamResponseKind::Batch(response) => {
                    response.result.unwrap().step_results.remove(&0).unwrap().rows
                }
                other => panic!("unexpected {other:?}"),
            };
            assert_eq!(rows.len(), 10_000);
        }
    });
}

#[test]
fn nobody_waits_while_an_answer_on_a_websocket_is_written_and_those_behind_it_stay_behind() {
    with_one_thread_beside(async {
        let server = TestServer::start(Limits::default()).await;
        let address = server.address;
        let batch = json!({"steps": [{"stmt": {"sql": ROWS}}]});
        for request in [
            json!({"type": "execute", "stream_id": 1, "stmt": {"sql": ROWS}}),
            json!({"type": "batch", "stream_id": 1, "batch": batch}),
        ] {
            let asking = async move {
                let mut client = Client::open(address, "hrana3").await;
                client.ask(json!({"type": "open_stream", "stream_id": 1})).await.unwrap();
                let large = client.start(request).await;
                let behind = json!({"type": "get_autocommit", "stream_id": 1});
                let behind = client.start(behind).await;
                let (first, second) = (client.receive().await, client.receive().await);
                assert_eq!(
                    (&first["request_id"], &second["request_id"]),
                    (&json!(large), &json!(behind))
                );
                let result = &first["response"]["result"];
                rows(result) + result["step_results"].get(0).map_or(0, rows)
            };
            assert_eq!(written_beside(&server, asking).await, 10_000);
        }
    });
}

#[test]
fn nobody_waits_while_a_large_entry_is_fetched() {
    with_one_thread_beside(async {
        let server = TestServer::start(Limits::default()).await;
        let address = server.address;
        let asking = async move {
            let mut client = Client::open(address, "hrana3").await;
            client.ask(json!({"type": "open_stream", "stream_id": 1})).await.unwrap();
            // The wide row is behind what shows that the cursor has begun.
            let steps =
                json!([{"stmt": {"sql": ROWS, "want_rows": false}}, {"stmt": {"sql": "WIDE 1"}}]);
            let open = json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": {"steps": steps}});
            client.ask(open).await.unwrap();
            let (mut entries, mut done) = (Vec::new(), false);
            while !done {
                let fetch = json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 100});
                let fetched = client.ask(fetch).await.unwrap();
                entries.extend(fetched["entries"].as_array().unwrap().iter().cloned());
                done = fetched["done"] == true;
            }
            entries
        };
        let entries = written_beside(&server, asking).await;
        let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["step_begin", "step_end", "step_begin", "row", "step_end"]);
        assert_eq!(entries[3]["row"][0]["value"].as_str().map(str::len), Some(1 << 20));
    });
}
