//! Hrana over WebSocket, over a real socket.

mod common;

use std::sync::atomic::Ordering;

use common::http::TestServer;
use common::until;
use common::ws::{Client, execute, open_stream, with_stream};
use counterpart_hrana::Limits;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

async fn server() -> TestServer {
    TestServer::start(Limits::default()).await
}

fn close_stream(stream_id: i32) -> Json {
    json!({"type": "close_stream", "stream_id": stream_id})
}

fn open_cursor(stream_id: i32, cursor_id: i32, sql: &str) -> Json {
    let batch = json!({"steps": [{"stmt": {"sql": sql}}]});
    json!({
        "type": "open_cursor", "stream_id": stream_id, "cursor_id": cursor_id, "batch": batch,
    })
}

fn fetch_cursor(cursor_id: i32, max_count: u32) -> Json {
    json!({"type": "fetch_cursor", "cursor_id": cursor_id, "max_count": max_count})
}

fn close_cursor(cursor_id: i32) -> Json {
    json!({"type": "close_cursor", "cursor_id": cursor_id})
}

/// A client with the stream 1 open.
#[tokio::test]
async fn the_best_subprotocol_that_both_know_is_selected() {
    let server = server().await;
    for (offered, selected) in [
        ("hrana2,hrana1", Some("hrana2")),
        ("hrana3, hrana2", Some("hrana3")),
        ("hrana1, hrana2, hrana3, hrana3-protobuf", Some("hrana3-protobuf")),
        ("hrana1", Some("hrana1")),
        ("", None),
    ] {
        let client = Client::connect(server.address, "/", offered).await.unwrap();
        assert_eq!(client.subprotocol.as_deref(), selected, "{offered}");
    }
    let error = Client::connect(server.address, "/", "hrana4").await.err().unwrap();
    assert!(matches!(*error, Error::Http(response) if response.status() == 400));
}

#[tokio::test]
async fn connections_are_accepted_at_every_address_and_choose_their_database() {
    let server = server().await;
    for (path, database) in [
        ("/", "main"),
        ("/v2", "main"),
        ("/v3", "main"),
        ("/db/x", "x"),
        ("/db/x/", "x"),
        ("/db/x/v3", "x"),
    ] {
        let mut client = Client::connect(server.address, path, "hrana2").await.unwrap();
        client.send(json!({"type": "hello", "jwt": "token"})).await;
        assert_eq!(client.receive().await["type"], "hello_ok");
        client.ask(open_stream(0)).await.unwrap();
        let target = server.fake.targets.lock().unwrap().pop().unwrap();
        assert_eq!(target.database, database, "{path}");
        assert_eq!(target.credentials.as_deref(), Some("token"));
    }
}

#[tokio::test]
async fn every_kind_of_request_is_answered() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    let result = client.ask(execute(1, "ROWS 1")).await.unwrap();
    assert_eq!(
        result,
        json!({"type": "execute", "result": {
            "cols": [{"name": "n", "decltype": "INT"}],
            "rows": [[{"type": "integer", "value": "0"}]],
            "affected_row_count": 0, "last_insert_rowid": "1",
        }})
    );
    let batch = json!({"steps": [{"stmt": {"sql": "FAIL"}}]});
    let batch = client.ask(json!({"type": "batch", "stream_id": 1, "batch": batch})).await.unwrap();
    assert_eq!(batch["result"]["step_errors"][0]["code"], "SQLITE_ERROR");
    let store = json!({"type": "store_sql", "sql_id": 4, "sql": "BEGIN"});
    assert_eq!(client.ask(store).await, Ok(json!({"type": "store_sql"})));
    let sequence = json!({"type": "sequence", "stream_id": 1, "sql_id": 4});
    assert_eq!(client.ask(sequence).await, Ok(json!({"type": "sequence"})));
    let describe = json!({"type": "describe", "stream_id": 1, "sql": "x"});
    assert_eq!(client.ask(describe).await.unwrap()["result"]["is_readonly"], true);
    let close_sql = json!({"type": "close_sql", "sql_id": 4});
    assert_eq!(client.ask(close_sql.clone()).await, Ok(json!({"type": "close_sql"})));
    assert_eq!(client.ask(close_sql).await, Ok(json!({"type": "close_sql"})));
    let autocommit = client.ask(json!({"type": "get_autocommit", "stream_id": 1})).await;
    assert_eq!(autocommit, Ok(json!({"type": "get_autocommit", "is_autocommit": false})));
    assert_eq!(client.code(execute(1, "FAIL")).await, "SQLITE_ERROR");
    assert_eq!(client.ask(close_stream(1)).await, Ok(json!({"type": "close_stream"})));
    assert_eq!(server.fake.noted().last().unwrap(), "close and roll back");
}

#[tokio::test]
async fn stored_sql_belongs_to_the_connection() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(json!({"type": "store_sql", "sql_id": 4, "sql": "ROWS 1"})).await.unwrap();
    client.ask(open_stream(2)).await.unwrap();
    for stream_id in [1, 2] {
        let request = json!({"type": "execute", "stream_id": stream_id, "stmt": {"sql_id": 4}});
        assert!(client.ask(request).await.is_ok());
    }
    let mut other = with_stream(&server).await;
    let request = json!({"type": "execute", "stream_id": 1, "stmt": {"sql_id": 4}});
    assert_eq!(other.code(request).await, "SQL_ID_UNKNOWN");
}

#[tokio::test]
async fn streams_run_beside_each_other_and_each_in_order() {
    let server = server().await;
    let mut client = Client::open(server.address, "hrana2").await;
    // Nothing waits for the stream to be open.
    let open = client.start(open_stream(1)).await;
    let slow = client.start(execute(1, "GATE")).await;
    let behind = client.start(execute(1, "ROWS 1")).await;
    assert_eq!(client.receive().await["request_id"], open);
    client.ask(open_stream(2)).await.unwrap();
    client.ask(execute(2, "ROWS 2")).await.unwrap();
    server.fake.open_gate();
    assert_eq!(client.receive().await["request_id"], slow);
    assert_eq!(client.receive().await["request_id"], behind);
}

#[tokio::test]
async fn a_cursor_is_fetched_in_pieces() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    let opened = client.ask(open_cursor(1, 7, "ROWS 3")).await;
    assert_eq!(opened, Ok(json!({"type": "open_cursor"})));
    let first = client.ask(fetch_cursor(7, 2)).await.unwrap();
    assert_eq!(first["type"], "fetch_cursor");
    assert_eq!(first["done"], false);
    assert_eq!(first["entries"][0]["type"], "step_begin");
    assert_eq!(first["entries"][1]["row"][0]["value"], "0");
    assert_eq!(first["entries"].as_array().unwrap().len(), 2);
    let mut entries = vec![];
    loop {
        let next = client.ask(fetch_cursor(7, 100)).await.unwrap();
        entries.extend(next["entries"].as_array().unwrap().clone());
        if next["done"] == true {
            break;
        }
    }
    assert_eq!(entries.len(), 3);
    assert_eq!(entries[2]["type"], "step_end");
    let after = client.ask(fetch_cursor(7, 100)).await.unwrap();
    assert_eq!(after, json!({"type": "fetch_cursor", "entries": [], "done": true}));
    assert_eq!(client.code(execute(1, "ROWS 1")).await, "CURSOR_OPEN");
    assert_eq!(client.ask(close_cursor(7)).await, Ok(json!({"type": "close_cursor"})));
    assert!(client.ask(execute(1, "ROWS 1")).await.is_ok());
    // The id is free again.
    client.ask(open_cursor(1, 7, "ROWS 3")).await.unwrap();
}

#[tokio::test]
async fn closing_a_cursor_early_stops_its_producer() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(open_cursor(1, 7, "ROWS 300000")).await.unwrap();
    client.ask(fetch_cursor(7, 10)).await.unwrap();
    client.ask(close_cursor(7)).await.unwrap();
    assert!(server.fake.produced.load(Ordering::SeqCst) < 300_000);
    assert_eq!(server.fake.noted().last().unwrap(), "nobody reads");
    assert!(client.ask(execute(1, "ROWS 1")).await.is_ok());
}

#[tokio::test]
async fn a_large_cursor_arrives_whole() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(open_cursor(1, 7, "ROWS 20000")).await.unwrap();
    let mut rows = 0;
    loop {
        let next = client.ask(fetch_cursor(7, 1000)).await.unwrap();
        for entry in next["entries"].as_array().unwrap() {
            if entry["type"] == "row" {
                assert_eq!(entry["row"][0]["value"], rows.to_string());
                rows += 1;
            }
        }
        if next["done"] == true {
            break;
        }
    }
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn closing_a_stream_closes_its_cursor() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(open_cursor(1, 7, "ROWS 300000")).await.unwrap();
    assert_eq!(client.ask(close_stream(1)).await, Ok(json!({"type": "close_stream"})));
    assert_eq!(server.fake.open_streams(), 0);
    client.ask(open_stream(1)).await.unwrap();
    client.ask(open_cursor(1, 7, "ROWS 1")).await.unwrap();
}

#[tokio::test]
async fn a_cursor_that_failed_to_open_answers_errors_until_it_is_closed() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    let batch = json!({"steps": [{"stmt": {"sql_id": 9}}]});
    let open = json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 7, "batch": batch});
    assert_eq!(client.code(open).await, "SQL_ID_UNKNOWN");
    assert_eq!(client.code(fetch_cursor(7, 1)).await, "CURSOR_NOT_OPEN");
    assert_eq!(client.ask(close_cursor(7)).await, Ok(json!({"type": "close_cursor"})));
    client.ask(open_cursor(1, 7, "ROWS 1")).await.unwrap();
    // A second cursor on the stream does not read the first one's entries.
    assert_eq!(client.code(open_cursor(1, 8, "ROWS 1")).await, "CURSOR_OPEN");
    assert_eq!(client.code(fetch_cursor(8, 1)).await, "CURSOR_NOT_OPEN");
    client.ask(close_cursor(8)).await.unwrap();
    assert_eq!(client.ask(fetch_cursor(7, 1)).await.unwrap()["entries"][0]["type"], "step_begin");
}

#[tokio::test]
async fn a_cursor_tells_the_failure_of_its_batch() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(open_cursor(1, 7, "GONE")).await.unwrap();
    let entries = client.ask(fetch_cursor(7, 9)).await.unwrap();
    assert_eq!(entries["entries"][0]["error"]["code"], "STREAM_EXPIRED");
}

#[tokio::test]
async fn a_stream_that_failed_to_open_answers_errors_until_it_is_closed() {
    let server = server().await;
    let mut client = Client::connect(server.address, "/db/missing", "hrana3").await.unwrap();
    client.send(json!({"type": "hello"})).await;
    client.receive().await;
    assert_eq!(client.code(open_stream(1)).await, "DATABASE_NOT_FOUND");
    assert_eq!(client.code(execute(1, "ROWS 1")).await, "STREAM_NOT_OPEN");
    assert_eq!(client.code(open_cursor(1, 7, "ROWS 1")).await, "STREAM_NOT_OPEN");
    assert_eq!(client.ask(close_cursor(7)).await, Ok(json!({"type": "close_cursor"})));
    assert_eq!(client.ask(close_stream(1)).await, Ok(json!({"type": "close_stream"})));
    assert_eq!(client.code(open_stream(1)).await, "DATABASE_NOT_FOUND");
}

#[tokio::test]
async fn later_requests_are_refused_in_earlier_versions() {
    let server = server().await;
    let mut client = Client::open(server.address, "hrana2").await;
    client.ask(open_stream(1)).await.unwrap();
    for request in [
        json!({"type": "get_autocommit", "stream_id": 1}),
        open_cursor(1, 7, "ROWS 1"),
        fetch_cursor(7, 1),
        close_cursor(7),
    ] {
        assert_eq!(client.code(request).await, "UNSUPPORTED_VERSION");
    }
    let mut client = Client::open(server.address, "").await;
    client.ask(open_stream(1)).await.unwrap();
    let describe = json!({"type": "describe", "stream_id": 1, "sql": "x"});
    assert_eq!(client.code(describe).await, "UNSUPPORTED_VERSION");
    assert!(client.ask(execute(1, "ROWS 1")).await.is_ok());
}

#[tokio::test]
async fn violations_close_the_connection_with_a_code_and_a_reason() {
    let server = server().await;
    let request = |request: Json| {
        let message = json!({"type": "request", "request_id": 1, "request": request});
        Message::text(message.to_string())
    };
    for (message, code, hint) in [
        (Message::text("nonsense"), 1007, "line 1"),
        (Message::text("{}"), 1007, "`type`"),
        (Message::text(r#"{"type":"shout"}"#), 1007, "`shout`"),
        (request(json!({"type": "explode"})), 1007, "`explode`"),
        (request(json!({"type": "execute", "stream_id": 1})), 1007, "`stmt`"),
        (Message::binary(Bytes::from_static(b"x")), 1003, "binary"),
        (request(execute(9, "ROWS 1")), 1008, "no stream with the id 9"),
        (request(close_stream(9)), 1008, "no stream with the id 9"),
        (request(open_stream(1)), 1008, "stream id 1 is already in use"),
        (request(open_cursor(9, 1, "x")), 1008, "no stream with the id 9"),
        (request(fetch_cursor(9, 1)), 1008, "no cursor with the id 9"),
        (request(close_cursor(9)), 1008, "no cursor with the id 9"),
        (request(open_cursor(1, 7, "x")), 1008, "cursor id 7 is already in use"),
        (request(json!({"type": "store_sql", "sql_id": 4, "sql": ""})), 1008, "SQL text id 4"),
    ] {
        let mut client = with_stream(&server).await;
        client.ask(open_cursor(1, 7, "ROWS 1")).await.unwrap();
        client.ask(json!({"type": "store_sql", "sql_id": 4, "sql": "x"})).await.unwrap();
        client.send_raw(message.clone()).await;
        let (closed, reason) = client.closed().await;
        assert_eq!(closed, code, "{message}: {reason}");
        assert!(reason.contains(hint), "{message}: {reason}");
    }
    until(|| server.fake.open_streams() == 0).await;
}

#[tokio::test]
async fn hello_comes_first_and_may_come_again() {
    let server = server().await;
    let mut client = Client::connect(server.address, "/", "hrana3").await.unwrap();
    client.start(open_stream(1)).await;
    assert_eq!(client.closed().await.0, 1008);

    let mut client = with_stream(&server).await;
    client.send(json!({"type": "hello", "jwt": "new"})).await;
    assert_eq!(client.receive().await, json!({"type": "hello_ok"}));
    client.ask(open_stream(2)).await.unwrap();
    let target = server.fake.targets.lock().unwrap().pop().unwrap();
    assert_eq!(target.credentials.as_deref(), Some("new"));

    let mut client = Client::open(server.address, "hrana1").await;
    client.send(json!({"type": "hello", "jwt": "new"})).await;
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn a_refused_hello_is_told_and_ends_the_connection() {
    let server = server().await;
    server.fake.refuse_hello.store(true, Ordering::SeqCst);
    let mut client = Client::connect(server.address, "/", "hrana3").await.unwrap();
    client.send(json!({"type": "hello", "jwt": "x"})).await;
    let message = client.receive().await;
    assert_eq!(message["type"], "hello_error");
    assert_eq!(message["error"]["code"], "UNAUTHORIZED");
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn a_message_beyond_the_limit_closes_the_connection() {
    let server = TestServer::start(Limits { request_bytes: 1000, ..Limits::default() }).await;
    let mut client = with_stream(&server).await;
    assert_eq!(client.code(execute(1, &"x".repeat(800))).await, "SQLITE_ERROR");
    client.start(execute(1, &"x".repeat(1000))).await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 1009);
    assert!(reason.contains("1000 bytes"), "{reason}");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_then_cut_off() {
    let server = TestServer::start(Limits { ws_streams: 2, ..Limits::default() }).await;
    let mut client = with_stream(&server).await;
    client.ask(open_stream(2)).await.unwrap();
    assert_eq!(client.code(open_stream(3)).await, "TOO_MANY_STREAMS");
    client.ask(close_stream(3)).await.unwrap();
    client.ask(close_stream(2)).await.unwrap();
    client.ask(open_stream(3)).await.unwrap();
    for stream_id in [4, 5] {
        assert_eq!(client.code(open_stream(stream_id)).await, "TOO_MANY_STREAMS");
    }
    client.start(open_stream(6)).await;
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn reading_stops_while_too_many_requests_are_unanswered() {
    let server = TestServer::start(Limits { ws_requests: 2, ..Limits::default() }).await;
    let mut client = with_stream(&server).await;
    client.start(execute(1, "GATE")).await;
    client.start(execute(1, "ROWS 1")).await;
    client.start(json!({"type": "store_sql", "sql_id": 1, "sql": "x"})).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    server.fake.open_gate();
    // Had the last request been read meanwhile, its answer would have come first.
    assert_eq!(client.receive().await["request_id"], 2);
    let mut rest = [client.receive().await, client.receive().await];
    rest.sort_by_key(|message| message["request_id"].as_i64());
    assert_eq!([&rest[0]["request_id"], &rest[1]["request_id"]], [&json!(3), &json!(4)]);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_streams_along() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.ask(open_stream(2)).await.unwrap();
    client.start(execute(1, "HANG")).await;
    until(|| server.fake.noted().last().is_some_and(|what| what == "HANG")).await;
    drop(client);
    until(|| server.fake.open_streams() == 0).await;
    assert_eq!(server.fake.noted().iter().filter(|what| *what == "dropped").count(), 2);
}

#[tokio::test]
async fn a_stream_that_panics_ends_the_connection_instead_of_leaving_a_request_unanswered() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    client.start(execute(1, "PANIC")).await;
    assert_eq!(client.closed().await.0, 1011);
}

#[tokio::test]
async fn shutting_down_closes_connections_and_those_that_come_later() {
    let server = server().await;
    let mut client = with_stream(&server).await;
    server.hrana.shut_down().await;
    assert_eq!(client.closed().await.0, 1001);
    until(|| server.fake.open_streams() == 0).await;
    let mut late = Client::connect(server.address, "/", "hrana3").await.unwrap();
    assert_eq!(late.closed().await.0, 1001);
    until(|| server.fake.open_streams() == 0).await;
}

/// A client whose request waits for the gate while the server stops, which takes until the gate is open.
async fn stopped_in_a_request(server: &TestServer) -> (Client, JoinHandle<()>) {
    let mut client = with_stream(server).await;
    client.start(execute(1, "GATE")).await;
    until(|| server.fake.noted().contains(&"GATE".to_owned())).await;
    let hrana = server.hrana.clone();
    let stopped = tokio::spawn(async move { hrana.shut_down().await });
    // The connection has heard of it when it reads nothing more.
    let mut late = Client::connect(server.address, "/", "hrana3").await.unwrap();
    assert_eq!(late.closed().await.0, 1001);
    (client, stopped)
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_stops() {
    let server = server().await;
    let (mut client, stopped) = stopped_in_a_request(&server).await;
    assert!(!stopped.is_finished(), "a request is under way");
    server.fake.open_gate();
    assert_eq!(client.receive().await["type"], "response_ok");
    assert_eq!(client.closed().await.0, 1001);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_on_sending_hears_why_its_connection_ends() {
    let server = server().await;
    let (mut client, stopped) = stopped_in_a_request(&server).await;
    // The server takes no more requests, and what arrives now would lie unread in its socket.
    client.send_raw(Message::Ping(Vec::new().into())).await;
    server.fake.open_gate();
    assert_eq!(client.receive().await["type"], "response_ok");
    for _ in 0..100 {
        client.send_raw(Message::Ping(Vec::new().into())).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.closed().await.0, 1001);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_holds_up_nothing() {
    let server = server().await;
    let _client = with_stream(&server).await;
    server.hrana.shut_down().await;
    assert_eq!(server.fake.open_streams(), 0);
}

#[tokio::test]
async fn a_web_page_of_another_site_is_refused_a_connection() {
    let server = server().await;
    for (origin, welcome) in [("http://evil.example", false), ("http://127.0.0.1:5173", true)] {
        let url = format!("ws://{}/", server.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let connected = Client::connect_with(server.address, request, "hrana3").await;
        match connected.map_err(|error| *error) {
            Ok(_) => assert!(welcome, "{origin}"),
            Err(Error::Http(response)) => {
                assert_eq!((response.status().as_u16(), welcome), (403, false))
            }
            Err(error) => panic!("{origin}: {error}"),
        }
    }
}

#[tokio::test]
async fn streams_execute_nothing_more_while_a_client_has_too_much_to_read() {
    let limits = Limits { response_bytes: 1000, ..Limits::default() };
    let server = TestServer::start(limits).await;
    let mut client = with_stream(&server).await;
    // Far more than sockets hold, which is a dozen of these results.
    for _ in 0..40 {
        client.start(execute(1, "ROWS 20000")).await;
    }
    for received in 1..=40 {
        while !matches!(client.receive_raw().await, Some(Message::Text(_))) {}
        let noted = server.fake.noted();
        let executed = noted.iter().filter(|what| what.starts_with("ROWS")).count();
        assert!(executed < received + 30, "{executed} executed, {received} received");
    }
}

#[tokio::test]
async fn a_cursor_is_fetched_no_further_while_a_client_has_too_much_to_read() {
    const ROWS: usize = 60;
    let limits = Limits { response_bytes: 1000, ..Limits::default() };
    let server = TestServer::start(limits).await;
    let mut client = with_stream(&server).await;
    client.ask(open_cursor(1, 7, &format!("WIDE {ROWS}"))).await.unwrap();
    for _ in 0..=ROWS {
        client.start(fetch_cursor(7, 1)).await;
    }
    let produced = || server.fake.produced.load(Ordering::SeqCst);
    let mut seen = 0;
    while seen == 0 || seen != produced() {
        seen = produced();
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    // Sockets hold a dozen of them.
    assert!(seen < ROWS / 2, "{seen} rows were fetched although none was read");
    for _ in 0..=ROWS {
        assert_eq!(client.receive().await["type"], "response_ok");
    }
}
