//! Many requests under way on one stream, over WebSocket or in one pipeline: they behave as if each had waited for the answer to the one before it.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{
    client::{Failure, Outcome, rows_of},
    clock::now,
    pair::{Pair, wait_role, wait_state},
    server::Server,
    socket::Socket,
};

/// The answers to requests that were sent one after the other, which must come in this order.
fn answers(socket: &mut Socket, ids: &[u64]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for &id in ids {
        let (answered, outcome) = socket.next_answer();
        assert_eq!(answered, id, "the answers of a stream come in the order of its requests");
        outcomes.push(outcome);
    }
    outcomes
}

fn send_all<'a>(
    socket: &mut Socket,
    stream: u64,
    statements: impl IntoIterator<Item = &'a str>,
) -> Vec<u64> {
    statements.into_iter().map(|sql| socket.send_sql(stream, sql)).collect()
}

fn value(outcome: &Outcome) -> Value {
    let response = outcome.as_ref().unwrap_or_else(|e: &Failure| panic!("{e:?}"));
    rows_of(&response["result"])[0][0].clone()
}

#[test]
fn answers_come_in_order_and_an_error_in_the_middle_concerns_only_its_own_statement() {
    let pair = Pair::start();
    pair.principal.client().run("create table t(id integer primary key)");
    let mut socket = Socket::with_streams(&pair.principal, 1);
    let mut inserted = 0;
    for round in 0..5 {
        let mut expected = Vec::new();
        let mut ids = Vec::new();
        for n in 0..60 {
            let (sql, outcome) = match n % 10 {
                3 => ("insert into t values(1)".to_owned(), Err("SQLITE_CONSTRAINT_PRIMARYKEY")),
                5 => ("nonsense".to_owned(), Err("SQLITE_ERROR")),
                7 => ("select count(*) from t".to_owned(), Ok(Some(json!(inserted)))),
                _ => {
                    inserted += 1;
                    (format!("insert into t values({})", round * 100 + n + 1), Ok(None))
                }
            };
            ids.push(socket.send_sql(1, &sql));
            expected.push(outcome);
        }
        for (outcome, expected) in answers(&mut socket, &ids).iter().zip(expected) {
            match expected {
                Ok(None) => assert!(outcome.is_ok(), "{outcome:?}"),
                Ok(Some(count)) => assert_eq!(value(outcome), count),
                Err(code) => assert_eq!(outcome.as_ref().expect_err("it fails").code, code),
            }
        }
    }
    assert_eq!(pair.principal.client().value("select count(*) from t"), json!(inserted));
    pair.assert_equal();
}

#[test]
fn statements_of_one_pipeline_over_http_behave_so_too() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.run("create table t(id integer primary key)");
    let execute = |sql: String| json!({"type": "execute", "stmt": {"sql": sql}});
    let mut requests: Vec<Value> =
        (1..=100).map(|n| execute(format!("insert into t values({})", n % 50))).collect();
    for sql in [
        "select count(*) from t",
        "begin immediate",
        "delete from t",
        "select count(*) from t",
        "rollback",
    ] {
        requests.push(execute(sql.to_owned()));
    }
    requests.push(json!({"type": "get_autocommit"}));
    requests.extend([execute("select count(*) from t".to_owned()), json!({"type": "close"})]);
    let (outcomes, baton) = client.pipeline(None, &json!(requests)).unwrap();
    assert_eq!((outcomes.len(), baton), (requests.len(), None));
    assert!(outcomes[..50].iter().all(Result::is_ok));
    for outcome in &outcomes[50..100] {
        assert_eq!(outcome.as_ref().expect_err("it is there").code, "SQLITE_CONSTRAINT_PRIMARYKEY");
    }
    assert_eq!((value(&outcomes[100]), value(&outcomes[103])), (json!(50), json!(0)));
    assert_eq!(value(&outcomes[106]), json!(50));
    pair.assert_equal();
}

#[test]
fn transactions_cursors_and_the_close_keep_their_places_between_statements() {
    let server = Server::start();
    server.client().run("create table t(x)");
    let mut socket = Socket::with_streams(&server, 1);
    let mut ids = send_all(
        &mut socket,
        1,
        ["insert into t values(1)", "begin", "insert into t values(2)", "select count(*) from t"],
    );
    ids.push(socket.send(json!({"type": "get_autocommit", "stream_id": 1})));
    ids.extend(send_all(
        &mut socket,
        1,
        ["rollback", "begin immediate", "insert into t values(3)"],
    ));
    ids.extend(send_all(&mut socket, 1, ["commit", "commit", "select count(*) from t"]));
    let batch = json!({"steps": [{"stmt": {"sql": "select x from t order by x"}}]});
    ids.push(
        socket.send(json!({"type": "open_cursor", "stream_id": 1, "cursor_id": 1, "batch": batch})),
    );
    ids.push(socket.send(json!({"type": "fetch_cursor", "cursor_id": 1, "max_count": 100})));
    ids.push(socket.send(json!({"type": "close_cursor", "cursor_id": 1})));
    ids.extend(send_all(&mut socket, 1, ["insert into t values(4)", "select count(*) from t"]));
    ids.push(socket.send(json!({"type": "close_stream", "stream_id": 1})));
    let outcomes = answers(&mut socket, &ids);
    assert_eq!(value(&outcomes[3]), json!(2), "a transaction sees what it wrote");
    assert_eq!(outcomes[4].as_ref().unwrap()["is_autocommit"], json!(false));
    assert_eq!(outcomes[9].as_ref().expect_err("nothing is open").code, "SQLITE_ERROR");
    assert_eq!(value(&outcomes[10]), json!(2), "the rollback and the commit were each done once");
    let entries = outcomes[12].as_ref().unwrap()["entries"].as_array().unwrap().len();
    assert_eq!(entries, 4, "a step's begin, two rows and its end");
    assert_eq!(value(&outcomes[15]), json!(3));
    assert!(outcomes.iter().enumerate().all(|(n, outcome)| outcome.is_ok() || n == 9));
}

#[test]
fn a_read_does_not_wait_until_the_write_behind_it_may_begin() {
    let server = Server::start();
    server.client().run("create table t(x)");
    let mut socket = Socket::with_streams(&server, 2);
    socket.run(2, "begin immediate");
    let ids = send_all(
        &mut socket,
        1,
        ["select 1", "select count(*) from t", "insert into t values(1)", "select count(*) from t"],
    );
    assert_eq!(value(&answers(&mut socket, &ids[..2])[1]), json!(0));
    let commit = send_all(&mut socket, 2, ["insert into t values(2)", "commit"]);
    for id in commit.into_iter().chain(ids[2..3].iter().copied()) {
        socket.answer(id).unwrap();
    }
    assert_eq!(value(&socket.answer(ids[3])), json!(2));
}

#[test]
fn a_stream_with_much_to_do_lets_others_have_their_turns() {
    let server = Server::start();
    server.client().run("create table t(x)");
    let mut socket = Socket::with_streams(&server, 2);
    let slow = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000)
                select max(i) from n";
    let mut busy: Vec<u64> = (0..60).map(|_| socket.send_sql(1, slow)).collect();
    let other = socket.send_sql(2, "insert into t values(0)");
    let mut behind = 0;
    while !busy.is_empty() {
        let (answered, outcome) = socket.next_answer();
        outcome.unwrap();
        if answered == other {
            behind = busy.len();
        } else {
            assert_eq!(answered, busy.remove(0));
        }
    }
    assert!(behind > 30, "{behind} of the other stream's statements came after it");
}

#[test]
fn what_follows_a_transaction_that_was_lost_is_not_executed_however_long_that_took() {
    let server = Server::start_with(&["--statement-timeout", "200ms"]);
    server.client().run("create table t(a)");
    let endless = "insert into t with recursive n(i) as (select 1 union all select i + 1 from n)
                   select count(*) from n";
    let mut socket = Socket::with_streams(&server, 1);
    let statements = ["begin immediate", "insert into t values('a')", endless];
    let ids =
        send_all(&mut socket, 1, statements.into_iter().chain(["insert into t values('b')"; 9]));
    let outcomes = answers(&mut socket, &ids);
    let code = |n: usize| outcomes[n].as_ref().expect_err("its transaction is lost").code.as_str();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(code(2), "SQL_TIMEOUT");
    assert!((3..12).all(|n| code(n) == "STREAM_EXPIRED"));
    assert_eq!(server.client().value("select count(*) from t"), json!(0));
}

/// What is quick with one argument may not be with another. Reads that are quick run where all connections are served.
#[test]
fn a_read_that_takes_long_all_of_a_sudden_is_answered_and_holds_up_nobody() {
    let server = Server::start();
    let count = |socket: &mut Socket, stream: u64, most: u64| {
        let sql = "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?) select count(*) from n";
        let args = json!([{"type": "integer", "value": most.to_string()}]);
        let stmt = json!({"sql": sql, "args": args});
        socket.send(json!({"type": "execute", "stream_id": stream, "stmt": stmt}))
    };
    let (mut long, mut short) =
        (Socket::with_streams(&server, 1), Socket::with_streams(&server, 1));
    for _ in 0..50 {
        let id = count(&mut long, 1, 3);
        assert_eq!(value(&long.answer(id)), json!(3));
    }
    let ids = [count(&mut long, 1, 5_000_000), count(&mut long, 1, 4)];
    let begun = now();
    let mut meanwhile = 0;
    let (answered, outcome) = std::thread::scope(|scope| {
        let answer = scope.spawn(|| long.next_answer());
        while !answer.is_finished() {
            assert_eq!(value(&Ok(json!({"result": short.run(1, "select 5")}))), json!(5));
            meanwhile += 1;
        }
        answer.join().unwrap()
    });
    assert_eq!((answered, value(&outcome)), (ids[0], json!(5_000_000)));
    assert_eq!(value(&long.answer(ids[1])), json!(4));
    assert!(meanwhile > 20, "{meanwhile} others were answered in {:?}", begun.elapsed());
}

/// Sends windows of inserts on one stream until `done`; the rows that were confirmed, and how others failed.
fn pour(socket: &mut Socket, first: i64, done: impl Fn() -> bool) -> (BTreeSet<i64>, Vec<Failure>) {
    let (mut confirmed, mut failures, mut next) = (BTreeSet::new(), Vec::new(), first);
    loop {
        let last = done();
        let rows: Vec<i64> = (next..next + 60).collect();
        next += 60;
        let ids: Vec<u64> = rows
            .iter()
            .map(|row| socket.send_sql(1, &format!("insert into t values({row})")))
            .collect();
        for (row, outcome) in rows.into_iter().zip(answers(socket, &ids)) {
            match outcome {
                Ok(_) => assert!(confirmed.insert(row)),
                Err(failure) => failures.push(failure),
            }
        }
        if last {
            return (confirmed, failures);
        }
    }
}

fn rows_on(server: &Server) -> BTreeSet<i64> {
    let rows = server.client().rows("select x from t");
    rows.iter().map(|row| row[0].as_i64().unwrap()).collect()
}

#[test]
fn a_run_through_failovers_stays_in_order_and_loses_nothing_that_was_confirmed() {
    let mut pair = Pair::start();
    pair.principal.client().run("create table t(x integer primary key)");
    let mut confirmed = BTreeSet::new();
    for round in 0..6 {
        let mut socket = Socket::with_streams(&pair.principal, 1);
        let (rows, failures) = std::thread::scope(|scope| {
            let failover = scope.spawn(|| pair.principal.cli_ok(&["failover"]));
            let poured = pour(&mut socket, round * 1_000_000, || failover.is_finished());
            failover.join().expect("the failover succeeds");
            poured
        });
        confirmed.extend(rows);
        // What this server did not begin may have been refused, and nothing else may have happened to it.
        let other = failures.iter().find(|failure| failure.code != "READ_ONLY_MIRROR");
        assert!(other.is_none(), "{other:?}");
        wait_role(&pair.mirror, "principal");
        wait_role(&pair.principal, "mirror");
        assert_eq!(socket.code(1, "insert into t values(-1)"), "READ_ONLY_MIRROR");
        pair = pair.swapped();
        pair.wait_synchronized();
        assert_eq!(value(&Ok(json!({"result": socket.run(1, "select 1")}))), json!(1));
    }
    assert_eq!(rows_on(&pair.principal), confirmed, "each is there, and nothing that was refused");
    pair.assert_equal();
}

#[test]
fn what_a_run_had_confirmed_is_on_the_mirror_when_the_principal_is_killed() {
    let mut pair = Pair::start();
    pair.principal.client().run("create table t(x integer primary key)");
    let mut socket = Socket::with_streams(&pair.principal, 1);
    let ids: Vec<u64> =
        (0..64).map(|n| socket.send_sql(1, &format!("insert into t values({n})"))).collect();
    let confirmed = answers(&mut socket, &ids[..20]);
    pair.principal.kill();
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    let rows = rows_on(&pair.mirror);
    assert!(confirmed.iter().all(Result::is_ok));
    assert!((0..20).all(|row| rows.contains(&row)), "{rows:?}");
    assert_eq!(rows, (0..rows.len() as i64).collect(), "what came later is there in order, or not");
}
