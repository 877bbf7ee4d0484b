//! What SQL may do: everything that SQLite can, but what would break mirroring, which is refused with a sentence.

mod support;

use serde_json::{Value, json};
use support::{
    client::{Client, Failure},
    pair::{Pair, wait_applied},
    server::Server,
    stream::Stream,
};

fn failure(client: &Client, sql: &str) -> Failure {
    match client.execute(sql, &[]) {
        Err(failure) => failure,
        Ok(result) => panic!("{sql} did not fail but gave {result}"),
    }
}

/// Statements that are refused, with a word that the sentence must have.
const REFUSED: &[(&str, &str)] = &[
    ("attach 'other.db' as other", "own address"),
    ("attach ':memory:' as other", "own address"),
    ("detach main", "DETACH"),
    ("vacuum into 'copy.db'", "db export"),
    ("/* x */ VACUUM main INTO 'copy.db'", "db export"),
    ("select load_extension('x')", "extension"),
    ("select * from sqlite_dbpage", "raw pages"),
    ("pragma journal_mode = delete", "journal_mode"),
    ("pragma main.journal_mode = off", "journal_mode"),
    ("pragma synchronous = full", "synchronous"),
    ("pragma wal_checkpoint", "wal_checkpoint"),
    ("pragma wal_checkpoint(truncate)", "wal_checkpoint"),
    ("pragma wal_autocheckpoint = 1", "wal_autocheckpoint"),
    ("pragma locking_mode = exclusive", "locking_mode"),
    ("pragma mmap_size = 1000000", "mmap_size"),
    ("pragma temp_store_directory = '/tmp'", "temp_store_directory"),
    ("pragma hard_heap_limit = 1", "hard_heap_limit"),
    ("explain attach 'x' as y", "own address"),
];

#[test]
fn what_would_break_mirroring_is_refused_with_a_sentence_on_both_servers() {
    let pair = Pair::start();
    pair.principal.client().run("create table t(x)");
    wait_applied(&pair.principal, &pair.mirror);
    for server in [&pair.principal, &pair.mirror] {
        let client = server.client();
        for (sql, word) in REFUSED {
            let refused = failure(&client, sql);
            assert_eq!(refused.code, "SQL_REFUSED", "{sql}: {}", refused.message);
            assert!(refused.message.contains(word), "{sql}: {}", refused.message);
            assert!(refused.message.ends_with('.'), "a sentence: {}", refused.message);
            // By every other way into the server as well.
            let mut stream = Stream::on(&client);
            for request in [
                json!({"type": "sequence", "sql": format!("select 1; {sql}")}),
                json!({"type": "describe", "sql": sql}),
            ] {
                let refused = stream.ask(&request).expect_err(sql);
                assert_eq!(refused.code, "SQL_REFUSED", "{request}");
            }
        }
        for asks in ["journal_mode", "synchronous", "locking_mode", "mmap_size"] {
            client.run(&format!("pragma {asks}"));
        }
        assert_eq!(client.value("pragma journal_mode"), json!("wal"));
        client.run("pragma journal_mode = wal");
    }
    let files = std::fs::read_dir(pair.principal.data()).unwrap();
    assert!(files.flatten().all(|f| f.file_name() != "copy.db" && f.file_name() != "other.db"));
    pair.assert_equal();
}

#[test]
fn a_trigger_cannot_do_what_a_statement_may_not() {
    let server = Server::start();
    let client = server.client();
    client.script(
        "create table t(x);
         create trigger tr after insert on t begin select load_extension('x'); end",
    );
    assert_eq!(failure(&client, "insert into t values(1)").code, "SQL_REFUSED");
    assert_eq!(client.value("select count(*) from t"), json!(0));
}

/// One feature: a script that uses it, and queries with the rows that they must give on both servers.
struct Feature {
    name: &'static str,
    script: &'static str,
    queries: &'static [(&'static str, &'static str)],
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "FTS5",
        script: "create virtual table docs using fts5(title, body, tokenize = 'porter');
                 insert into docs values('one', 'the quick brown foxes'), ('two', 'lazy dogs');
                 insert into docs(docs) values('optimize');
                 delete from docs where title = 'two';
                 insert into docs values('three', 'a fox again')",
        queries: &[
            (
                "select title from docs where docs match 'fox' order by title",
                r#"[["one"],["three"]]"#,
            ),
            (
                "select highlight(docs, 1, '<', '>') from docs where docs match 'brown'",
                r#"[["the quick <brown> foxes"]]"#,
            ),
            ("select count(*) from docs where docs match 'dogs'", "[[0]]"),
        ],
    },
    Feature {
        name: "R-Tree",
        script: "create virtual table boxes using rtree(id, x0, x1, y0, y1);
                 insert into boxes values(1, 0, 10, 0, 10), (2, 20, 30, 20, 30)",
        queries: &[("select id from boxes where x0 >= 15 and x1 <= 35", "[[2]]")],
    },
    Feature {
        name: "JSON",
        script: r#"create table j(doc text check(json_valid(doc)));
                   insert into j values('{"a": [1, 2, {"b": "x"}]}');
                   update j set doc = json_set(doc, '$.c', 3);
                   create index j_c on j(doc ->> 'c')"#,
        queries: &[
            ("select doc ->> '$.a[2].b' from j where doc ->> 'c' = 3", r#"[["x"]]"#),
            ("select sum(value) from j, json_each(doc, '$.a') where type = 'integer'", "[[3]]"),
            ("select json_group_array(x) from (select 1 as x union select 2)", r#"[["[1,2]"]]"#),
            ("select jsonb_extract(jsonb('[5]'), '$[0]')", "[[5]]"),
        ],
    },
    Feature {
        name: "math functions",
        script: "create table m as select sqrt(16) as r, pow(2, 10) as p, ceil(1.2) as c",
        queries: &[(
            "select r, p, c, cast(round(pi() * 1000) as integer), mod(7, 4), log2(8) from m",
            "[[4.0,1024.0,2.0,3142,3.0,3.0]]",
        )],
    },
    Feature {
        name: "generated columns",
        script: "create table g(a, b as (a * 2), c as (a * 3) stored); create index g_b on g(b);
                 insert into g(a) values(1), (2)",
        queries: &[("select a, b, c from g where b = 4", "[[2,4,6]]")],
    },
    Feature {
        name: "upsert and returning",
        script: "create table u(k primary key, n default 1);
                 insert into u(k) values('a') on conflict(k) do update set n = n + 1;
                 insert into u(k) values('a'), ('b') on conflict(k) do update set n = n + 1;
                 insert or ignore into u(k) values('a'); replace into u values('c', 9);
                 update u set n = n * 10 where k = 'c' returning n",
        queries: &[("select k, n from u order by k", r#"[["a",2],["b",1],["c",90]]"#)],
    },
    Feature {
        name: "window functions and recursive queries",
        script: "create table w(g, v); insert into w values('x', 1), ('x', 2), ('y', 5)",
        queries: &[
            (
                "select v, sum(v) over (partition by g order by v) from w order by v",
                "[[1,1],[2,3],[5,5]]",
            ),
            ("select group_concat(v, '-') filter (where v > 1) from w", r#"[["2-5"]]"#),
            (
                "with recursive f(a, b) as (select 0, 1 union all select b, a + b from f limit 10) select max(a) from f",
                "[[34]]",
            ),
        ],
    },
    Feature {
        name: "triggers and views",
        script: "create table base(id integer primary key, v); create table audit(what);
                 create view face as select id, v from base;
                 create trigger face_in instead of insert on face
                   begin insert into base(v) values(new.v); end;
                 create trigger base_in after insert on base
                   begin insert into audit values('in ' || new.v); end;
                 create trigger base_no before delete on base
                   begin select raise(abort, 'rows stay'); end;
                 insert into face(v) values('one'), ('two')",
        queries: &[("select what from audit", r#"[["in one"],["in two"]]"#)],
    },
    Feature {
        name: "without rowid and strict",
        script: "create table wr(a, b, primary key(b, a)) without rowid;
                 insert into wr values(1, 2), (0, 2), (9, 1);
                 create table s(i integer, t text, r real, b blob, a any) strict;
                 insert into s values(1, 'x', 1, x'00', 'any')",
        queries: &[
            ("select a from wr where b = 2", "[[0],[1]]"),
            ("select typeof(r), typeof(a) from s", r#"[["real","text"]]"#),
        ],
    },
    Feature {
        name: "indexes, collations and statistics",
        script:
            "create table i(t text collate nocase, n); insert into i values('Abc', 1), ('abD', 2);
                 create unique index i_t on i(t); create index i_part on i(n) where n > 1;
                 create index i_expr on i(lower(t)); analyze; reindex; pragma optimize",
        queries: &[
            ("select n from i where t = 'ABC'", "[[1]]"),
            ("select n from i where lower(t) = 'abd'", "[[2]]"),
            ("select count(*) > 0 from sqlite_stat1", "[[1]]"),
        ],
    },
    Feature {
        name: "schema changes",
        script: "create table old(a, b, c); insert into old values(1, 2, 3);
                 alter table old rename to new; alter table new rename column a to aa;
                 alter table new add column d default 4; alter table new drop column b;
                 create table copy as select * from new; drop table new;
                 pragma user_version = 7; pragma application_id = 1234",
        queries: &[
            ("select aa, c, d from copy", "[[1,3,4]]"),
            ("pragma user_version", "[[7]]"),
            ("pragma application_id", "[[1234]]"),
        ],
    },
    Feature {
        name: "writable_schema, as dumps of virtual tables need it",
        script: "create table ws(a); pragma writable_schema = on;
                 update sqlite_schema set sql = 'CREATE TABLE ws(a, b)' where name = 'ws';
                 pragma writable_schema = reset",
        queries: &[("select name from pragma_table_info('ws')", r#"[["a"],["b"]]"#)],
    },
    Feature {
        name: "savepoints and conflict clauses",
        script: "create table sp(x unique); begin; insert into sp values(1); savepoint a;
                 insert into sp values(2); rollback to a; release a;
                 insert or replace into sp values(1); commit",
        queries: &[("select x from sp", "[[1]]")],
    },
];

#[track_caller]
fn assert_rows(server: &Server, feature: &Feature) {
    for (sql, expected) in feature.queries {
        let expected: Vec<Vec<Value>> = serde_json::from_str(expected).unwrap();
        assert_eq!(server.client().rows(sql), expected, "{}: {sql}", feature.name);
    }
}

#[test]
fn everything_else_that_sqlite_can_do_works_and_reads_the_same_on_the_mirror() {
    let pair = Pair::start();
    for feature in FEATURES {
        pair.principal.client().script(feature.script);
        assert_rows(&pair.principal, feature);
    }
    wait_applied(&pair.principal, &pair.mirror);
    for feature in FEATURES {
        assert_rows(&pair.mirror, feature);
    }
    pair.principal.client().run("vacuum");
    pair.assert_equal();
    for server in [&pair.principal, &pair.mirror] {
        assert_eq!(server.client().value("pragma integrity_check"), json!("ok"));
        FEATURES.iter().for_each(|feature| assert_rows(server, feature));
    }
}

#[test]
fn auto_vacuum_and_its_increments_work() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.script("pragma auto_vacuum = incremental; vacuum; create table t(x)");
    assert_eq!(client.value("pragma auto_vacuum"), json!(2));
    client.script(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
           insert into t select randomblob(3000) from n;
         delete from t",
    );
    let free = client.value("pragma freelist_count").as_u64().unwrap();
    assert!(free > 100, "{free}");
    client.run("pragma incremental_vacuum(50)");
    assert_eq!(client.value("pragma freelist_count"), json!(free - 50));
    client.run("pragma incremental_vacuum");
    assert_eq!(client.value("pragma freelist_count"), json!(0));
    pair.assert_equal();
}

/// SQLite offers some pragmas as tables. One that acts must not slip past the write permit in a SELECT: its commit
/// would be visible here and never reach the journal.
#[test]
fn a_pragma_in_a_select_cannot_write_past_the_journal() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.script(
        "create table t(a, b); create index t_a on t(a); create index t_b on t(b);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
           insert into t select i % 7, i from n",
    );
    let mut stream = Stream::on(&client);
    stream.run("select count(*) from t where a = 3 and b = 5");
    assert_eq!(stream.code("select * from pragma_optimize(0x10012)"), "SQL_REFUSED");
    stream.run("pragma optimize(0x10012)");
    assert_eq!(client.value("select count(*) > 0 from sqlite_stat1"), json!(1));
    stream.close();
    client.run("insert into t values(1, 1)");
    pair.assert_equal();
}

#[test]
fn reads_of_every_kind_work_on_the_mirror_and_writes_name_the_principal() {
    let pair = Pair::start();
    pair.principal
        .client()
        .script("create table t(x); create index t_x on t(x); insert into t values(1), (2)");
    wait_applied(&pair.principal, &pair.mirror);
    let mut stream = Stream::on(&pair.mirror.client());
    for (sql, rows) in [
        ("select sum(x) over (order by x) from t", json!([[1], [3]])),
        ("with a as (select x from t) select max(x) from a", json!([[2]])),
        ("values (1), (2)", json!([[1], [2]])),
        ("pragma quick_check", json!([["ok"]])),
        ("select count(*) from pragma_table_info('t')", json!([[1]])),
    ] {
        assert_eq!(json!(stream.rows(sql)), rows, "{sql}");
    }
    assert!(!stream.rows("explain query plan select * from t").is_empty());
    stream.run("begin");
    assert_eq!(stream.value("select count(*) from t"), json!(2));
    stream.run("commit");
    stream.run("create temp table scratch as select x from t");
    assert_eq!(stream.value("select count(*) from scratch"), json!(2));
    let writes = [
        "insert into t values(3)",
        "update t set x = 0",
        "delete from t",
        "with a as (select 1) insert into t select * from a",
        "create table u(x)",
        "drop table t",
        "alter table t add column y",
        "create index i on t(x)",
        "vacuum",
        "analyze",
        "reindex",
        "pragma user_version = 3",
        "begin immediate",
        "begin exclusive",
    ];
    for sql in writes {
        let refused = stream.execute(sql, &[]).expect_err(sql);
        assert_eq!(refused.code, "READ_ONLY_MIRROR", "{sql}: {}", refused.message);
        assert!(refused.message.contains(&pair.principal.url()), "{sql}: {}", refused.message);
    }
    pair.assert_equal();
}

// ---- statements that are not what they seem ------------------------------------------------------

/// Story: VACUUM within a transaction announced a commit and failed. Whoever read afterwards waited for that commit,
/// the client itself first of all, until the next write of that database.
#[test]
fn a_vacuum_that_cannot_run_within_a_transaction_holds_nobody_up() {
    let server = Server::start();
    let client = server.client();
    client.run("create table t(a)");
    let mut stream = Stream::on(&client);
    stream.run("begin");
    assert_eq!(stream.code("vacuum"), "SQLITE_ERROR");
    assert_eq!(client.value("select count(*) from t"), json!(0));
    stream.run("insert into t values (1)");
    assert_eq!(stream.code("vacuum"), "SQLITE_ERROR");
    assert_eq!(client.value("select count(*) from t"), json!(0));
    stream.run("commit");
    assert_eq!(client.value("select count(*) from t"), json!(1));
}

/// Story: a migration that drops a trigger if it exists and makes it anew, run twice. The first DROP did nothing and lay
/// in the cache as a read; the second wrote without the permit, and the server stopped writing for good.
#[test]
fn a_migration_that_is_run_again_and_again_keeps_the_server_writing() {
    let server = Server::start();
    let client = server.client();
    client.run("create table t(a)");
    for round in 1..=3 {
        client.run("drop trigger if exists g");
        client.run("create trigger g after insert on t begin select 1; end");
        client.run("insert into t values (1)");
        assert_eq!(client.value("select count(*) from t"), json!(round));
    }
}

#[test]
fn a_select_that_writes_is_refused_and_the_server_goes_on() {
    let server = Server::start();
    let client = server.client();
    client.script("create virtual table f using fts4(a); insert into f values ('x')");
    client.run("insert into f values ('y')");
    assert_eq!(Stream::on(&client).code("select optimize(f) from f limit 1"), "SQL_REFUSED");
    client.run("insert into f(f) values ('optimize')");
    assert_eq!(client.value("select count(*) from f"), json!(2));
}
