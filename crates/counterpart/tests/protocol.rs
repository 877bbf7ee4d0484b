//! The client protocol as the binary speaks it: batons, cursors, values, versions, limits and codes.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use support::{
    client::{Client, get_status, rows_of},
    pair::{Pair, wait_role},
    server::Server,
    socket::Socket,
    stream::Stream,
};

/// Connects, with a time limit that fails a test rather than hang it.
fn connect(server: &Server) -> TcpStream {
    let connection = TcpStream::connect((server.address, server.port)).unwrap();
    connection.set_read_timeout(Some(support::DEADLINE)).unwrap();
    connection
}

// ---- batons -------------------------------------------------------------------------------------

/// The status and the code with which a request with this baton is refused.
fn refusal(client: &Client, baton: &str) -> (u16, String) {
    let requests = json!([{"type": "execute", "stmt": {"sql": "select 1"}}]);
    let (status, body) =
        client.post("/v3/pipeline", &json!({"baton": baton, "requests": requests})).unwrap();
    (status, body["code"].as_str().unwrap_or_else(|| panic!("no code: {body}")).to_owned())
}

fn refused(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

#[test]
fn a_baton_is_good_once_on_its_server_and_database() {
    let server = Server::start();
    server.cli_ok(&["db", "create", "other"]);
    let client = server.client();
    let mut stream = Stream::on(&client);
    stream.run("begin");
    let first = stream.baton.clone().unwrap();
    assert_eq!(refusal(&client.database("other"), &first), refused("INVALID_BATON"));
    stream.run("select 1");
    let second = stream.baton.clone().unwrap();
    assert_ne!(first, second);
    assert_eq!(refusal(&client, &first), refused("BATON_REUSED"));
    for forged in ["", "x", "AAAA", &second[1..], &format!("{second}A")] {
        assert_eq!(refusal(&client, forged), refused("INVALID_BATON"), "{forged:?}");
    }
    let mut changed = second.clone().into_bytes();
    let last = changed.len() - 3;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    assert_eq!(refusal(&client, &changed), refused("INVALID_BATON"));
    assert!(!stream.autocommit(), "none of that touched the stream");
    let third = stream.baton.clone().unwrap();
    stream.close();
    assert_eq!(refusal(&client, &third), refused("STREAM_EXPIRED"));
}

#[test]
fn batons_expire_with_their_server_whether_it_restarts_is_killed_or_changes_its_role() {
    let mut server = Server::start();
    let mut batons = Vec::new();
    for end in [Server::kill as fn(&mut Server), |server| assert!(server.terminate().success())] {
        let mut stream = Stream::on(&server.client());
        stream.run("begin immediate");
        batons.push(stream.baton.clone().unwrap());
        end(&mut server);
        server.launch();
        for baton in &batons {
            assert_eq!(refusal(&server.client(), baton), refused("STREAM_EXPIRED"));
        }
        server.client().run("create table if not exists t(x)");
    }

    let pair = Pair::start();
    pair.principal.client().run("create table t(x)");
    let mut writing = Stream::on(&pair.principal.client());
    writing.run("begin immediate");
    writing.run("insert into t values('lost')");
    let mut reading = Stream::on(&pair.principal.client());
    reading.run("begin");
    let batons = [writing.baton.clone().unwrap(), reading.baton.clone().unwrap()];
    pair.principal.cli_ok(&["failover"]);
    wait_role(&pair.mirror, "principal");
    wait_role(&pair.principal, "mirror");
    for server in [&pair.principal, &pair.mirror] {
        for baton in &batons {
            assert_eq!(refusal(&server.client(), baton), refused("STREAM_EXPIRED"));
        }
    }
    assert_eq!(pair.mirror.client().value("select count(*) from t"), json!(0));
}

// ---- cursors ------------------------------------------------------------------------------------

/// About 200 MB in rows of 1 KB.
const LARGE: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) \
     select i, hex(zeroblob(500)) from n";

fn peak_rss_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Opens a cursor and returns the lines of its body.
fn cursor(server: &Server, steps: &[&str]) -> impl Iterator<Item = Value> + use<> {
    let steps: Vec<_> = steps.iter().map(|sql| json!({"stmt": {"sql": sql}})).collect();
    let body = json!({"baton": null, "batch": {"steps": steps}}).to_string();
    let mut connection = connect(server);
    // HTTP/1.0: the body ends with the connection and has no chunks.
    write!(
        connection,
        "POST /v3/cursor HTTP/1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut lines = BufReader::new(connection).lines().map(Result::unwrap);
    let status = lines.next().unwrap();
    assert!(status.ends_with("200 OK"), "{status}");
    let body = lines.skip_while(|line| !line.is_empty()).skip(1);
    body.filter(|line| !line.is_empty()).map(|line| serde_json::from_str(&line).unwrap())
}

#[test]
fn a_cursor_over_http_streams_a_result_beyond_every_limit_within_bounded_memory() {
    let server = Server::start_with(&["--max-result-bytes", "1MiB"]);
    server.client().run("create table t(x)");
    let before = peak_rss_mib(&server);
    let mut entries = cursor(&server, &["insert into t values(5)", LARGE, "selekt", "select 2"]);
    let head = entries.next().unwrap();
    assert!(head["baton"].is_string(), "{head}");
    assert_eq!(entries.next().unwrap()["type"], "step_begin");
    let end = entries.next().unwrap();
    assert_eq!((&end["type"], &end["affected_row_count"]), (&json!("step_end"), &json!(1)));
    let begin = entries.next().unwrap();
    assert_eq!((&begin["type"], &begin["step"]), (&json!("step_begin"), &json!(1)));
    for i in 1..=200_000 {
        let row = entries.next().unwrap();
        assert_eq!(row["row"][0]["value"], i.to_string());
    }
    let rest: Vec<_> = entries.map(|entry| entry["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rest, ["step_end", "step_error", "step_begin", "row", "step_end"]);
    let grown = peak_rss_mib(&server) - before;
    assert!(grown < 50, "the server grew by {grown} MiB");
}

/// A cursor's turn went with its request, while its thread waited on for what it had seen to become final. Whoever opened
/// cursors and hung up took all threads, and nothing was left to answer anybody.
#[test]
fn a_cursor_whose_client_hangs_up_keeps_its_turn_as_long_as_its_thread() {
    const TURNS: u64 = 128;
    let pair = Pair::start_with(&["--partner-timeout", "60s"], &[]);
    let server = &pair.principal;
    server.client().run("create table t(x)");
    let threads = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("Threads:")).expect("a number");
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    pair.mirror.signal("STOP");
    std::thread::scope(|scope| {
        scope.spawn(|| server.client().run("insert into t values (1)"));
        support::wait_for("a commit that is not final", || {
            let journal = &server.status()["journal"];
            (journal["last"].as_u64()? > journal["commit"].as_u64()?).then_some(())
        });
        let before = threads();
        for round in 1..=4 {
            // The head of each has been read: it runs.
            let open: Vec<_> =
                (0..TURNS / 2).map(|_| cursor(server, &["select x from t"])).collect();
            if round <= 2 {
                let taken = before + round * TURNS / 2 - 16;
                support::wait_for("a thread for each", || (threads() >= taken).then_some(()));
            }
            drop(open);
            server.status();
        }
        let most = before + TURNS + 16;
        assert!(threads() <= most, "{} threads, where {most} would be many", threads());
        pair.mirror.signal("CONT");
    });
}

#[test]
fn a_cursor_over_websocket_streams_a_large_result_in_portions_within_bounded_memory() {
    let server = Server::start();
    let before = peak_rss_mib(&server);
    let mut socket = Socket::with_streams(&server, 1);
    let batch = json!({"steps": [{"stmt": {"sql": LARGE}}]});
    socket
        .ask(json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": batch}))
        .unwrap();
    let (mut rows, mut portions) = (0, 0);
    loop {
        let response =
            socket.ask(json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 1000})).unwrap();
        let entries = response["entries"].as_array().unwrap();
        assert!(entries.len() <= 1000);
        rows += entries.iter().filter(|entry| entry["type"] == "row").count();
        portions += 1;
        if response["done"] == true {
            break;
        }
    }
    assert_eq!(rows, 200_000);
    assert!(portions >= 200, "{portions}");
    socket.ask(json!({"type": "close_cursor", "cursor_id": 1})).unwrap();
    assert_eq!(socket.run(1, "select 1")["rows"], json!([[{"type": "integer", "value": "1"}]]));
    let grown = peak_rss_mib(&server) - before;
    assert!(grown < 50, "the server grew by {grown} MiB");
}

#[test]
fn a_cursor_that_nobody_reads_ends_at_the_idle_limit_and_releases_the_permit() {
    let server = Server::start_with(&["--stream-idle", "300ms"]);
    let client = server.client();
    client.run("create table t(x)");
    let mut entries = cursor(&server, &["begin immediate", "insert into t values('lost')", LARGE]);
    // Rows come, so the cursor has the permit.
    assert!(entries.any(|entry| entry["type"] == "row"));
    // Waits for the permit, which the unread cursor holds.
    client.run("insert into t values('next')");
    let last = entries.last().unwrap();
    assert_eq!(last["type"], "error", "it must not look complete: {last}");
    assert_eq!(last["error"]["code"], "STREAM_EXPIRED");
    assert_eq!(client.rows("select x from t"), [[json!("next")]]);

    let mut socket = Socket::with_streams(&server, 1);
    let steps: Vec<_> = ["begin immediate", "insert into t values('lost')", LARGE]
        .iter()
        .map(|sql| json!({"stmt": {"sql": sql}}))
        .collect();
    let open =
        json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": {"steps": steps}});
    socket.ask(open).unwrap();
    let fetch = || json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 5});
    socket.ask(fetch()).unwrap();
    client.run("insert into t values('next')");
    let last = loop {
        let response = socket.ask(fetch()).unwrap();
        if response["done"] == true {
            break response["entries"].as_array().unwrap().last().cloned();
        }
        let entries = response["entries"].as_array().unwrap();
        if let Some(error) = entries.iter().find(|entry| entry["type"] == "error") {
            break Some(error.clone());
        }
    };
    assert_eq!(last.expect("an error entry")["error"]["code"], "STREAM_EXPIRED");
    assert_eq!(client.rows("select x from t"), [[json!("next")], [json!("next")]]);
}

// ---- versions -----------------------------------------------------------------------------------

#[test]
fn each_version_answers_the_greeting_and_knows_its_own_requests() {
    let server = Server::start();
    let client = server.client();
    for version in ["version", "v1", "v2", "v3", "v3-protobuf"] {
        for prefix in ["", "/db/main"] {
            let url = format!("{}{prefix}/{version}", server.url());
            assert_eq!(get_status(&url), 200, "{url}");
        }
    }
    assert_eq!(get_status(&format!("{}/v4", server.url())), 404);
    let autocommit = json!([{"type": "get_autocommit"}]);
    let (outcomes, _) = client.pipeline(None, &autocommit).unwrap();
    assert_eq!(outcomes[0].clone().unwrap_err().code, "UNSUPPORTED_VERSION");
    assert!(Stream::on(&client).autocommit());

    for version in ["hrana2", "hrana3"] {
        let mut socket = Socket::connect(&server, version, "/db/main");
        socket.ask(json!({"type": "open_stream", "stream_id": 7})).unwrap();
        socket.run(7, &format!("create table {version}(x)"));
        socket.ask(json!({"type": "store_sql", "sql_id": 3, "sql": format!("insert into {version} values(:x)")})).unwrap();
        let stmt = json!({"sql_id": 3, "named_args": [{"name": "x", "value": {"type": "text", "value": "named"}}]});
        socket.ask(json!({"type": "execute", "stream_id": 7, "stmt": stmt})).unwrap();
        socket.ask(json!({"type": "close_sql", "sql_id": 3})).unwrap();
        let described = socket
            .ask(json!({"type": "describe", "stream_id": 7, "sql": format!("select x as y from {version} where x = ?")}))
            .unwrap();
        assert_eq!(described["result"]["cols"][0]["name"], "y");
        assert_eq!(described["result"]["params"], json!([{"name": null}]));
        assert_eq!(described["result"]["is_readonly"], true);
        let batch = json!({"steps": [
            {"stmt": {"sql": "selekt"}},
            {"condition": {"type": "ok", "step": 0}, "stmt": {"sql": "select 1"}},
            {"condition": {"type": "not", "cond": {"type": "ok", "step": 0}}, "stmt": {"sql": "select 2"}},
        ]});
        let result = socket.ask(json!({"type": "batch", "stream_id": 7, "batch": batch})).unwrap();
        let result = &result["result"];
        assert_eq!(result["step_errors"][0]["code"], "SQLITE_ERROR");
        assert!(result["step_results"][1].is_null() && result["step_errors"][1].is_null());
        assert_eq!(rows_of(&result["step_results"][2]), [[json!(2)]]);
        let autocommit = socket.ask(json!({"type": "get_autocommit", "stream_id": 7}));
        if version == "hrana3" {
            assert_eq!(autocommit.unwrap()["is_autocommit"], true);
        } else {
            assert_eq!(autocommit.unwrap_err().code, "UNSUPPORTED_VERSION");
        }
        assert_eq!(client.rows(&format!("select x from {version}")), [[json!("named")]]);
        socket.ask(json!({"type": "close_stream", "stream_id": 7})).unwrap();
    }
}

#[test]
fn a_database_is_chosen_by_path_by_header_or_by_the_hosts_first_label() {
    let server = Server::start();
    server.cli_ok(&["db", "create", "shop"]);
    server.client().database("shop").run("create table only_here(x)");
    for (header, path) in [
        ("host: shop.example.org", "/"),
        ("host: x\r\nx-namespace: shop", "/"),
        ("host: x", "/db/shop/"),
    ] {
        let body = json!({"baton": null, "requests": [{"type": "execute", "stmt": {"sql": "select count(*) from only_here"}}]}).to_string();
        let mut connection = connect(&server);
        write!(
            connection,
            "POST {path}v2/pipeline HTTP/1.0\r\nconnection: close\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        assert!(response.contains(r#""type":"ok""#), "{header} {path}: {response}");
    }
    let missing = server.client().database("missing").execute("select 1", &[]).unwrap_err();
    assert_eq!(missing.code, "DATABASE_NOT_FOUND");
}

// ---- values -------------------------------------------------------------------------------------

#[test]
fn values_of_every_type_come_back_as_they_were_sent_from_both_servers() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.run("create table v(id integer primary key, x)");
    let values = [
        json!({"type": "null"}),
        json!({"type": "integer", "value": "0"}),
        json!({"type": "integer", "value": "9007199254740993"}),
        json!({"type": "integer", "value": "9223372036854775807"}),
        json!({"type": "integer", "value": "-9223372036854775808"}),
        json!({"type": "float", "value": 0.1}),
        json!({"type": "float", "value": -1.5e300}),
        json!({"type": "float", "value": 5e-324}),
        json!({"type": "float", "value": 3.0}),
        json!({"type": "text", "value": ""}),
        json!({"type": "text", "value": "žluťoučký 🐎 \u{0} \" \\ \n"}),
        json!({"type": "blob", "base64": ""}),
        json!({"type": "blob", "base64": "AAECA//+/f=="}),
    ];
    let values = &values.map(|value| match value["base64"].as_str() {
        // Written with the right padding, whatever was sent.
        Some("AAECA//+/f==") => json!({"type": "blob", "base64": "AAECA//+/Q=="}),
        _ => value,
    });
    for value in values {
        let result = client
            .execute("insert into v(x) values(?) returning x", std::slice::from_ref(value))
            .unwrap();
        assert_eq!(result["rows"][0][0], *value);
    }
    support::pair::wait_applied(&pair.principal, &pair.mirror);
    for server in [&pair.principal, &pair.mirror] {
        let result = server.client().run("select x from v order by id");
        let back: Vec<_> = result["rows"].as_array().unwrap().iter().map(|row| &row[0]).collect();
        assert_eq!(back, values.iter().collect::<Vec<_>>());
        let rows = cursor(server, &["select x from v order by id"]).filter(|e| e["type"] == "row");
        let back: Vec<_> = rows.map(|row| row["row"][0].clone()).collect();
        assert_eq!(back, *values);
    }
}

#[test]
fn infinities_travel_as_numbers_beyond_the_range_and_nan_is_null() {
    let server = Server::start();
    // As text both ways: the tests' JSON library refuses such numbers.
    let post = |sql: &str, arg: &str| {
        let body = format!(
            r#"{{"baton": null, "requests": [{{"type": "execute", "stmt": {{"sql": "{sql}", "args": [{{"type": "float", "value": {arg}}}]}}}}, {{"type": "close"}}]}}"#
        );
        let mut connection = connect(&server);
        write!(
            connection,
            "POST /v2/pipeline HTTP/1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        response
    };
    for (arg, expected) in [
        ("1e999", r#"{"type":"float","value":1e999}"#),
        ("-1e999", r#"{"type":"float","value":-1e999}"#),
    ] {
        let response = post("select ?", arg);
        assert!(response.contains(expected), "{response}");
        let response = post("select ? > 1e300 or ?1 < -1e300", arg);
        assert!(response.contains(r#"{"type":"integer","value":"1"}"#), "{response}");
    }
    let response = post("select ? - 1e999", "1e999");
    assert!(response.contains(r#"{"type":"null"}"#), "{response}");
}

// ---- limits and codes ---------------------------------------------------------------------------

#[test]
fn each_limit_has_its_own_code_and_the_server_goes_on() {
    let server = Server::start_with(&[
        "--statement-timeout",
        "1s",
        "--max-result-bytes",
        "64KiB",
        "--max-request-bytes",
        "64KiB",
    ]);
    let client = server.client();
    client.run("create table t(x)");
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) ";
    let mut stream = Stream::on(&client);
    stream.run("begin immediate");
    stream.run("insert into t values(1)");
    assert_eq!(stream.code(&format!("{endless} select count(*) from n")), "SQL_TIMEOUT");
    assert_eq!(stream.code(&format!("{endless} insert into t select i from n")), "SQL_TIMEOUT");
    stream.close();
    assert_eq!(client.value("select count(*) from t"), json!(0), "nothing of it stays");

    let large = "select hex(zeroblob(40000))";
    assert_eq!(client.execute(large, &[]).unwrap_err().code, "RESPONSE_TOO_LARGE");
    let mut written = Stream::on(&client);
    let returning = "insert into t values(zeroblob(30000)), (zeroblob(50000)) returning hex(x)";
    assert_eq!(written.code(returning), "RESPONSE_TOO_LARGE");
    assert_eq!(client.value("select count(*) from t"), json!(0), "nothing of it stays");
    let small = json!({"type": "execute", "stmt": {"sql": "select hex(zeroblob(30000))"}});
    let outcomes = written.pipeline(&json!([small, small, small])).unwrap();
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[2].clone().unwrap_err().code, "RESPONSE_TOO_LARGE");
    // A cursor streams, and so has no such limit.
    assert!(cursor(&server, &[large, large]).all(|entry| entry["type"] != "step_error"));

    let long = json!({"requests": [{"type": "execute", "stmt": {"sql": format!("select '{}'", "x".repeat(70_000))}}]});
    for path in ["/v2/pipeline", "/v3/pipeline", "/v3/cursor"] {
        let (status, body) = client.post(path, &long).unwrap();
        assert_eq!((status, body["code"].as_str()), (413, Some("REQUEST_TOO_LARGE")), "{path}");
        // The client keeps its connections: it must have been told that this one is over.
        assert_eq!(client.value("select count(*) from t"), json!(0));
    }
    client.run("insert into t values('goes on')");
}

#[test]
fn errors_carry_sqlites_extended_codes_by_name() {
    let server = Server::start();
    let client = server.client();
    client.script(
        "create table t(id integer primary key, u unique, n not null default 0, c check(c < 10));
         create table strict_t(i integer) strict; create table parent(id integer primary key);
         create table child(p references parent(id));
         create table wr(a primary key) without rowid;
         create trigger tr before delete on t begin select raise(abort, 'rows stay'); end;
         insert into t(id, u) values(1, 'x'); insert into wr values(1)",
    );
    for (sql, code) in [
        ("insert into t(u) values('x')", "SQLITE_CONSTRAINT_UNIQUE"),
        ("insert into t(id) values(1)", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("insert into wr values(1)", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("insert into t(n) values(null)", "SQLITE_CONSTRAINT_NOTNULL"),
        ("insert into t(c) values(11)", "SQLITE_CONSTRAINT_CHECK"),
        ("delete from t", "SQLITE_CONSTRAINT_TRIGGER"),
        ("insert into strict_t values('x')", "SQLITE_CONSTRAINT_DATATYPE"),
        ("insert into t(id) values('x')", "SQLITE_MISMATCH"),
        ("selekt 1", "SQLITE_ERROR"),
        ("select * from missing", "SQLITE_ERROR"),
        ("select x from t limit 'x'", "SQLITE_ERROR"),
        ("select zeroblob(3000000000)", "SQLITE_TOOBIG"),
        ("", "SQL_NO_STATEMENT"),
        ("-- nothing", "SQL_NO_STATEMENT"),
        ("select 1; select 2", "SQL_MANY_STATEMENTS"),
        ("rollback", "SQLITE_ERROR"),
    ] {
        let failure = client.execute(sql, &[]).expect_err(sql);
        assert_eq!(failure.code, code, "{sql}: {}", failure.message);
        assert!(!failure.message.is_empty());
    }
    let mut stream = Stream::on(&client);
    stream.run("pragma foreign_keys = on");
    assert_eq!(stream.code("insert into child values(9)"), "SQLITE_CONSTRAINT_FOREIGNKEY");
    let too_many = client.execute("select ?", &[json!(1), json!(2)]).unwrap_err();
    assert_eq!(too_many.code, "ARGS_INVALID");
}
