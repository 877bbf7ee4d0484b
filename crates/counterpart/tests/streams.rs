//! What belongs to a stream stays with it, and what it holds is released: connections are shared, nothing else is.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread::{self, ScopedJoinHandle},
};

use serde_json::{Value, json};
use support::{
    client::{Client, Failure},
    server::Server,
    socket::Socket,
    stream::Stream,
};

fn code_of(outcome: Result<Value, Failure>) -> String {
    outcome.expect_err("it should have failed").code
}

// ---- what SQLite scopes to a connection ---------------------------------------------------------

#[test]
fn interleaved_streams_each_have_their_own_last_rowid_and_counts() {
    let server = Server::start();
    let client = server.client();
    let numbers = "select last_insert_rowid(), changes(), total_changes()";
    let mut streams: Vec<_> = (0..5).map(|_| (Stream::on(&client), 0_u64, 0_u64)).collect();
    for i in 0..streams.len() {
        client.run(&format!("create table t{i}(x)"));
    }
    for round in 1_u64..=12 {
        for (i, (stream, rowid, total)) in streams.iter_mut().enumerate() {
            // Streams rest in turn, so that connections wander between them.
            if (round + i as u64).is_multiple_of(3) {
                continue;
            }
            let rows = 1 + (round * 7 + i as u64) % 4;
            let values = vec!["(0)"; rows as usize].join(",");
            let result = stream.run(&format!("insert into t{i} values {values}"));
            (*rowid, *total) = (*rowid + rows, *total + rows);
            assert_eq!(result["affected_row_count"], rows);
            assert_eq!(result["last_insert_rowid"], rowid.to_string());
            let result = stream.run("select 1");
            assert_eq!(result["last_insert_rowid"], rowid.to_string(), "a read carries it too");
            assert_eq!(result["affected_row_count"], 0);
            assert_eq!(stream.rows(numbers), [[json!(*rowid), json!(rows), json!(*total)]]);
        }
        let mut fresh = Stream::on(&client);
        assert_eq!(fresh.rows(numbers), [[json!(0), json!(0), json!(0)]], "a new stream has none");
    }
}

#[test]
fn temporary_tables_and_views_belong_to_their_stream() {
    let server = Server::start();
    let client = server.client();
    client.script("create table t(a); insert into t values (1), (2)");
    let mut stream = Stream::on(&client);
    stream.run("create temp table mine as select a * 10 as a from t");
    stream.run("create temp view both as select a from t union all select a from mine");
    assert_eq!(stream.value("select sum(a) from both"), json!(33));
    for sql in ["begin", "update mine set a = a + 1", "insert into t values (3)", "rollback"] {
        stream.run(sql);
    }
    assert_eq!(stream.value("select sum(a) from both"), json!(33));
    let mut other = Stream::on(&client);
    assert_eq!(other.code("select * from mine"), "SQLITE_ERROR");
    other.run("create temp table mine(b)");
    assert_eq!(other.value("select count(*) from mine"), json!(0));
    stream.close();
    other.close();
    for _ in 0..5 {
        assert_eq!(Stream::on(&client).code("select * from mine"), "SQLITE_ERROR");
    }
}

/// SQLite fixes the text encoding with a database's first table, and that of a connection with the first one that it
/// has itself.
#[test]
fn a_stream_whose_temporary_tables_have_another_encoding_than_the_database_expires() {
    let server = Server::start();
    let client = server.client();
    let with_table = || {
        let mut stream = Stream::on(&client);
        stream.run("create temp table mine(x)");
        stream
    };
    let (mut reading, mut writing) = (with_table(), with_table());
    let mut setting = Stream::on(&client);
    for sql in ["pragma encoding = 'UTF-16le'", "create table t(x)", "insert into t values ('ü')"]
    {
        setting.run(sql);
    }
    for (stream, sql) in
        [(&mut reading, "select x from t"), (&mut writing, "insert into t values ('z')")]
    {
        assert_eq!(stream.code(sql), "STREAM_EXPIRED");
    }
    let mut fresh = with_table();
    assert_eq!(fresh.rows("select x, hex(x) from t"), [[json!("ü"), json!("FC00")]]);
}

/// Messages quote what the client wrote.
#[test]
fn a_message_that_only_speaks_of_text_encodings_ends_no_transaction() {
    let server = Server::start();
    let client = server.client();
    client.script("create table t(x)");
    let mut stream = Stream::on(&client);
    stream.run("begin");
    stream.run("insert into t values (1)");
    let failing = "select json_extract('{}', 'they must use the same text encoding')";
    assert_eq!(stream.code(failing), "SQLITE_ERROR");
    stream.run("commit");
    assert_eq!(client.value("select count(*) from t"), json!(1));
}

#[test]
fn connection_pragmas_stay_with_their_stream() {
    let server = Server::start();
    let client = server.client();
    client.script(
        "create table parent(id integer primary key);
         create table child(parent references parent(id))",
    );
    let (mut strict, mut other) = (Stream::on(&client), Stream::on(&client));
    strict.run("pragma foreign_keys = on");
    strict.run("pragma case_sensitive_like = on");
    strict.run("pragma recursive_triggers = on");
    let settings = |stream: &mut Stream| {
        let foreign_keys = stream.value("pragma foreign_keys");
        let triggers = stream.value("pragma recursive_triggers");
        (foreign_keys, stream.value("select 'A' like 'a'"), triggers)
    };
    for _ in 0..4 {
        assert_eq!(settings(&mut strict), (json!(1), json!(0), json!(1)));
        assert_eq!(settings(&mut other), (json!(0), json!(1), json!(0)));
        assert_eq!(client.value("pragma foreign_keys"), json!(0));
        assert_eq!(client.value("select 'A' like 'a'"), json!(1));
    }
    let orphan = "insert into child values(99)";
    assert_eq!(strict.code(orphan), "SQLITE_CONSTRAINT_FOREIGNKEY");
    other.run(orphan);
    strict.close();
    for _ in 0..8 {
        let mut later = Stream::on(&client);
        assert_eq!(settings(&mut later), (json!(0), json!(1), json!(0)), "nothing is left behind");
    }
}

#[test]
fn the_foreign_keys_setting_is_the_default_of_new_streams() {
    let server = Server::start_with(&["--foreign-keys", "on"]);
    let client = server.client();
    client.script("create table p(id integer primary key); create table c(p references p(id))");
    let orphan = "insert into c values(99)";
    assert_eq!(code_of(client.execute(orphan, &[])), "SQLITE_CONSTRAINT_FOREIGNKEY");
    let mut lax = Stream::on(&client);
    lax.run("pragma foreign_keys = off");
    lax.run(orphan);
    assert_eq!(code_of(client.execute(orphan, &[])), "SQLITE_CONSTRAINT_FOREIGNKEY");
    lax.close();
    assert_eq!(client.value("pragma foreign_keys"), json!(1));
}

#[test]
fn temporary_tables_views_and_triggers_live_within_a_stream_and_reach_no_journal() {
    let server = Server::start();
    let client = server.client();
    client.run("create table t(x)");
    let last = || server.status()["journal"]["last"].clone();
    let before = last();
    let mut stream = Stream::on(&client);
    stream.run("create temp table scratch(x)");
    stream.run("create temp view seen as select x * 2 as y from scratch");
    stream.run("create temp table log(what)");
    stream.run(
        "create temp trigger note after insert on scratch begin insert into log values('in'); end",
    );
    assert_eq!(stream.run("insert into scratch values(1), (2)")["affected_row_count"], 2);
    assert_eq!(stream.rows("select y from seen"), [[json!(2)], [json!(4)]]);
    assert_eq!(stream.value("select count(*) from log"), json!(2));
    stream.run("begin");
    stream.run("delete from scratch");
    stream.run("rollback");
    assert_eq!(stream.value("select count(*) from scratch"), json!(2));
    assert_eq!(last(), before, "the journal has nothing of it");
    assert_eq!(code_of(client.execute("select * from scratch", &[])), "SQLITE_ERROR");
    // A temporary table may hide one of the database; what is written then is the temporary one.
    stream.run("create temp table t(x)");
    stream.run("insert into t values('temporary')");
    stream.run("insert into main.t values('lasting')");
    assert_eq!(client.rows("select x from t"), [[json!("lasting")]]);
    stream.close();
    assert_eq!(code_of(client.execute("select * from scratch", &[])), "SQLITE_ERROR");
}

// ---- transactions -------------------------------------------------------------------------------

#[test]
fn a_readonly_transaction_keeps_its_snapshot_and_refuses_writes_without_hindering_writers() {
    let server = Server::start();
    let client = server.client();
    client.script("create table t(x); insert into t values(1)");
    for begin in ["begin transaction readonly", "BEGIN READONLY"] {
        client.run("delete from t where x > 1");
        let mut reader = Stream::on(&client);
        reader.run(begin);
        assert!(!reader.autocommit());
        assert_eq!(reader.value("select count(*) from t"), json!(1));
        client.run("insert into t values(2)");
        assert_eq!(reader.value("select count(*) from t"), json!(1), "its snapshot stays");
        assert_eq!(reader.code("insert into t values(3)"), "SQLITE_READONLY");
        assert_eq!(reader.code("drop table t"), "SQLITE_READONLY");
        reader.run("commit");
        assert!(reader.autocommit());
        assert_eq!(reader.value("select count(*) from t"), json!(2));
        reader.run("insert into t values(3)");
    }
}

#[test]
fn an_idle_transaction_is_rolled_back_and_its_stream_expires() {
    let server = Server::start_with(&["--stream-idle", "300ms"]);
    let client = server.client();
    client.run("create table t(x)");
    let mut http = Stream::on(&client);
    http.run("begin immediate");
    http.run("insert into t values('http')");
    // Waits for the permit until the transaction has been rolled back.
    client.run("insert into t values('next')");
    let failure = http.execute("insert into t values('late')", &[]).unwrap_err();
    assert_eq!(failure.code, "STREAM_EXPIRED", "{}", failure.message);

    let mut socket = Socket::with_streams(&server, 2);
    socket.run(1, "begin immediate");
    socket.run(1, "insert into t values('ws')");
    socket.run(2, "insert into t values('after')");
    assert_eq!(socket.code(1, "insert into t values('late')"), "STREAM_EXPIRED");
    assert_eq!(socket.code(1, "select 1"), "STREAM_EXPIRED", "it stays expired");
    socket.run(2, "select 1");
    assert_eq!(client.rows("select x from t"), [[json!("next")], [json!("after")]]);
}

#[test]
fn a_reader_is_cut_off_when_the_wal_that_it_pins_has_grown_to_its_bound() {
    let server = Server::start_with(&["--stream-idle", "10m", "--reader-max-wal", "1MiB"]);
    let client = server.client();
    client.run("create table t(x)");
    let mut reader = Stream::on(&client);
    reader.run("begin");
    assert_eq!(reader.value("select count(*) from t"), json!(0));
    for _ in 0..8 {
        client.run("insert into t values(randomblob(300000))");
    }
    let failure = support::wait_for("the reader to be cut off", || {
        reader.execute("select count(*) from t", &[]).err()
    });
    assert_eq!(failure.code, "STREAM_EXPIRED", "{}", failure.message);
    assert!(failure.message.contains("so that the WAL can shrink"), "{}", failure.message);
    assert_eq!(client.value("select count(*) from t"), json!(8));
}

#[test]
fn a_reader_that_is_cut_off_while_it_reads_is_told_why() {
    let server = Server::start_with(&["--reader-max-age", "300ms"]);
    let endless =
        "with recursive n(x) as (values(1) union all select x + 1 from n) select max(x) from n";
    let mut reader = Stream::on(&server.client());
    let failure = reader.execute(endless, &[]).unwrap_err();
    assert_eq!(failure.code, "SQLITE_INTERRUPT", "{}", failure.message);
    assert!(failure.message.contains("ran for more than 0.3 s"), "{}", failure.message);
    assert_eq!(reader.value("select 1"), json!(1), "the stream goes on");
    reader.run("begin");
    let failure = reader.execute(endless, &[]).unwrap_err();
    assert_eq!(failure.code, "STREAM_EXPIRED", "{}", failure.message);
    assert!(failure.message.contains("open for more than 0.3 s"), "{}", failure.message);
    let mut socket = Socket::with_streams(&server, 1);
    socket.run(1, "begin");
    assert_eq!(socket.code(1, endless), "STREAM_EXPIRED");
    assert_eq!(socket.code(1, "select 1"), "STREAM_EXPIRED", "it stays expired");
}

#[test]
fn a_stream_in_use_does_not_expire_however_long_its_transaction() {
    let server = Server::start_with(&["--stream-idle", "2s"]);
    let client = server.client();
    client.run("create table t(x)");
    let mut stream = Stream::on(&client);
    stream.run("begin immediate");
    let begun = support::clock::now();
    let mut rows = 0;
    while begun.elapsed() < std::time::Duration::from_millis(2500) {
        stream.run("insert into t values(1)");
        rows += 1;
    }
    stream.run("commit");
    assert_eq!(client.value("select count(*) from t"), json!(rows));
}

#[test]
fn writers_are_served_in_the_order_of_asking_and_wait_for_a_long_transaction() {
    let server = Server::start();
    server.client().run("create table t(n)");
    let mut socket = Socket::with_streams(&server, 40);
    for round in 0..5 {
        socket.run(1, "begin immediate");
        let waiting: Vec<_> = (2..=40)
            .map(|stream| {
                let sql = format!("insert into t values({})", round * 100 + stream);
                socket.send_sql(stream, &sql)
            })
            .collect();
        socket.run(1, "insert into t values(0)");
        let commit = socket.send_sql(1, "commit");
        for &id in &waiting {
            socket.answer(id).expect("it waits, and does not fail");
        }
        socket.answer(commit).unwrap();
        let rows = server
            .client()
            .rows(&format!("select n from t where n > {} order by rowid", round * 100));
        let expected: Vec<_> = (2..=40).map(|stream| vec![json!(round * 100 + stream)]).collect();
        assert_eq!(rows, expected, "executed in the order of asking");
    }
}

#[test]
fn a_transaction_that_read_an_older_snapshot_cannot_begin_to_write_and_hinders_nobody() {
    let server = Server::start();
    let client = server.client();
    client.script("create table t(x); insert into t values(1)");
    let mut old = Stream::on(&client);
    old.run("begin");
    assert_eq!(old.value("select count(*) from t"), json!(1));
    client.run("insert into t values(2)");
    assert_eq!(old.code("insert into t values(3)"), "SQLITE_BUSY_SNAPSHOT");
    assert!(!old.autocommit(), "the transaction is still there");
    // It writes nothing, so it must not keep the permit: these would wait for its end otherwise.
    let mut second = Stream::on(&client);
    second.run("begin immediate");
    second.run("insert into t values(4)");
    second.run("commit");
    assert_eq!(old.value("select count(*) from t"), json!(1), "its snapshot stays");
    old.run("rollback");
    old.run("begin");
    old.run("insert into t values(3)");
    old.run("commit");
    assert_eq!(client.value("select group_concat(x) from t"), json!("1,2,4,3"));
}

#[test]
fn a_deferred_transaction_takes_the_permit_at_its_first_write_only() {
    let server = Server::start();
    let client = server.client();
    client.script("create table t(x)");
    let mut stream = Stream::on(&client);
    stream.run("begin");
    client.run("insert into t values(1)");
    stream.run("insert into t values(2)");
    thread::scope(|scope| {
        let waiting: ScopedJoinHandle<'_, _> =
            scope.spawn(|| client.run("insert into t values(3)"));
        stream.run("savepoint s");
        stream.run("insert into t values(4)");
        stream.run("rollback to s");
        stream.run("release s");
        stream.run("commit");
        waiting.join().expect("the waiting writer succeeds");
    });
    assert_eq!(client.value("select group_concat(x) from t"), json!("1,2,3"));
}

// ---- clients that hang up -----------------------------------------------------------------------

/// Never ends by itself.
const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
const ENDLESS_WRITE: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) \
     insert into t select count(*) from n";

/// Posts a pipeline and returns the connection without waiting for the answer.
fn post(server: &Server, path: &str, body: &Value) -> TcpStream {
    let mut connection = TcpStream::connect((server.address, server.port)).unwrap();
    let body = body.to_string();
    write!(
        connection,
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    connection
}

fn execute(sql: &str) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql}})
}

/// A server on which nothing but hanging up can end a statement or a transaction within the test's time.
fn patient_server() -> Server {
    let server = Server::start_with(&["--stream-idle", "10m", "--statement-timeout", "10m"]);
    server.client().run("create table t(x)");
    server
}

/// A writer that waits for the permit while `hang_up` is called, and gets it because of that.
fn write_succeeds_after(server: &Server, hang_up: impl FnOnce()) {
    let client = server.client();
    thread::scope(|scope| {
        let writer = scope.spawn(|| client.run("insert into t values('next')"));
        hang_up();
        writer.join().expect("the permit was released");
    });
    assert_eq!(client.rows("select x from t"), [[json!("next")]]);
}

/// Waits until a statement that was sent is running: it keeps a processor busy, and an idle server does not.
fn wait_busy(server: &Server) {
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
        // User and system time in ticks of 10 ms.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = used();
    support::wait_for("the server to be busy", || (used() > before + 20).then_some(()));
}

#[test]
fn a_client_that_hangs_up_in_a_request_over_http_releases_everything() {
    let server = patient_server();
    let requests = json!([
        execute("begin immediate"),
        execute("insert into t values('lost')"),
        execute(ENDLESS)
    ]);
    let connection = post(&server, "/v3/pipeline", &json!({"baton": null, "requests": requests}));
    wait_busy(&server);
    write_succeeds_after(&server, || drop(connection));
}

#[test]
fn a_client_that_hangs_up_during_a_write_of_its_own_releases_everything() {
    let server = patient_server();
    let connection = post(
        &server,
        "/v3/pipeline",
        &json!({"baton": null, "requests": [execute(ENDLESS_WRITE), execute("insert into t values(1)")]}),
    );
    wait_busy(&server);
    write_succeeds_after(&server, || drop(connection));
}

#[test]
fn a_client_that_hangs_up_in_a_batch_or_a_script_stops_it_between_its_statements_too() {
    let server = patient_server();
    let step = json!({"stmt": {"sql": ENDLESS_WRITE}});
    let batch = json!({"type": "batch", "batch": {"steps": [step, step, step]}});
    let script = [ENDLESS_WRITE; 3].join(";");
    let script = json!({"type": "sequence", "sql": script});
    for request in [batch, script] {
        server.client().run("delete from t");
        let connection =
            post(&server, "/v3/pipeline", &json!({"baton": null, "requests": [request]}));
        wait_busy(&server);
        write_succeeds_after(&server, || drop(connection));
    }
}

#[test]
fn a_client_that_hangs_up_in_a_cursor_stops_it_and_its_stream_expires_when_idle() {
    // The stream outlives the connection, for its client may come back with the baton; the statement does not.
    let server = Server::start_with(&["--stream-idle", "300ms", "--statement-timeout", "10m"]);
    server.client().run("create table t(x)");
    for endless in [ENDLESS, ENDLESS_WRITE] {
        server.client().run("delete from t");
        let steps = ["begin immediate", "insert into t values('lost')", endless]
            .map(|sql| json!({"stmt": {"sql": sql}}));
        let mut connection =
            post(&server, "/v3/cursor", &json!({"baton": null, "batch": {"steps": steps}}));
        let mut first = [0; 16];
        connection.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK\r");
        wait_busy(&server);
        write_succeeds_after(&server, || drop(connection));
    }
}

#[test]
fn a_client_that_leaves_a_cursor_half_read_goes_on_with_the_stream_and_its_transaction() {
    let server = patient_server();
    let client = server.client();
    let mut stream = Stream::on(&client);
    stream.run("begin immediate");
    stream.run("insert into t values('kept')");
    let rows = ENDLESS.replace("count(*)", "i, zeroblob(100)");
    let body = json!({"baton": stream.baton, "batch": {"steps": [{"stmt": {"sql": rows}}]}});
    let mut lines = BufReader::new(post(&server, "/v3/cursor", &body)).lines();
    let head =
        lines.find(|line| line.as_ref().unwrap().starts_with("{\"baton\"")).unwrap().unwrap();
    let head: Value = serde_json::from_str(&head).unwrap();
    drop(lines);
    stream.baton = head["baton"].as_str().map(str::to_owned);
    assert_eq!(stream.value("select x from t"), json!("kept"), "the transaction is still open");
    stream.run("insert into t values('too')");
    stream.run("commit");
    assert_eq!(client.rows("select x from t"), [[json!("kept")], [json!("too")]]);
}

#[test]
fn a_websocket_client_that_hangs_up_releases_everything() {
    let server = patient_server();
    let mut socket = Socket::with_streams(&server, 2);
    socket.run(1, "begin immediate");
    socket.run(1, "insert into t values('lost')");
    write_succeeds_after(&server, || drop(socket));

    server.client().run("delete from t");
    let mut socket = Socket::with_streams(&server, 2);
    socket.run(1, "begin immediate");
    socket.send_sql(1, ENDLESS);
    socket.send_sql(2, "insert into t values('waits for its turn')");
    wait_busy(&server);
    write_succeeds_after(&server, || drop(socket));
}

#[test]
fn a_closed_stream_rolls_back_and_releases_the_permit() {
    let server = patient_server();
    let client: Client = server.client();
    let mut stream = Stream::on(&client);
    stream.run("begin immediate");
    stream.run("insert into t values('lost')");
    write_succeeds_after(&server, || stream.close());
}

/// SQLite rolls the whole transaction back when a statement that writes is stopped. What came after it in the pipeline
/// was committed on its own: half a transaction.
#[test]
fn nothing_of_a_transaction_is_committed_when_a_statement_of_it_runs_out_of_time() {
    let server = Server::start_with(&["--statement-timeout", "200ms"]);
    server.client().run("create table t(a)");
    let endless = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n) \
                   select count(*) from n";
    let sqls = [
        "begin immediate",
        "insert into t values('a')",
        endless,
        "insert into t values('b')",
        "commit",
    ];
    let execute = |sql: &&str| json!({"type": "execute", "stmt": {"sql": sql}});
    let requests: Vec<Value> = sqls.iter().map(execute).collect();
    let (outcomes, baton) = server.client().pipeline(None, &json!(requests)).unwrap();
    let codes: Vec<_> =
        outcomes.iter().map(|o| o.as_ref().err().map(|e| e.code.as_str())).collect();
    let expired = Some("STREAM_EXPIRED");
    assert_eq!(codes, [None, None, Some("SQL_TIMEOUT"), expired, expired]);
    assert_eq!(baton, None);
    let steps: Vec<Value> = sqls.iter().map(|sql| json!({"stmt": {"sql": sql}})).collect();
    let batch = json!([{"type": "batch", "batch": {"steps": steps}}, {"type": "close"}]);
    let (outcomes, _) = server.client().pipeline(None, &batch).unwrap();
    let errors = &outcomes[0].as_ref().unwrap()["result"]["step_errors"];
    assert_eq!(errors[2]["code"], "SQL_TIMEOUT", "{errors}");
    assert_eq!(errors[3]["code"], "STREAM_EXPIRED", "{errors}");
    assert_eq!(server.client().value("select count(*) from t"), json!(0));
}
