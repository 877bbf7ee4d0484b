//! Who is let in: tokens made, shown, revoked, on both servers and after a takeover; and nobody without one.

mod support;

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use support::{
    client::get_status,
    people::{Operator, REQUIRED, execute, post, refused, send},
    server::{Server, refused_with},
    wait_for,
};

#[test]
fn without_a_token_nothing_answers_but_health() {
    let server = Server::start_with(REQUIRED);
    let document = counterpart_admin::openapi_document();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "main").replace("{set}", "s").replace("{file}", "f");
        let path = path.replace("{token}", "t").replace("{user}", "u");
        for method in methods.as_object().unwrap().keys() {
            // Who has only a password has no token yet.
            if path.starts_with("/health") || path == "/api/v1/login" {
                assert_ne!(get_status(&format!("{}{path}", server.url())), 401, "{path}");
                continue;
            }
            for token in [None, Some("cpt_no"), Some("")] {
                let (status, answer) = send(&method.to_uppercase(), &server, &path, token, None);
                assert_eq!(status, 401, "{method} {path} with {token:?}: {answer}");
                assert_eq!(answer["error"]["code"], "NOT_SIGNED_IN", "{answer}");
            }
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
    let body = json!({ "requests": [{ "type": "execute", "stmt": { "sql": "select 1" } }] });
    for (path, body) in [
        ("/v2/pipeline", body.clone()),
        ("/v3/pipeline", body.clone()),
        ("/db/nosuch/v3/pipeline", body),
        ("/v3/cursor", json!({ "batch": { "steps": [] } })),
        ("/v1/execute", json!({ "stmt": { "sql": "select 1" } })),
        ("/v1/batch", json!({ "batch": { "steps": [] } })),
    ] {
        for token in [None, Some("cpt_no")] {
            let (status, answer) = post(&server, path, token, &body);
            assert_eq!((status, &answer["code"]), (401, &json!("NOT_SIGNED_IN")), "{path}");
        }
    }
    let refused =
        refused_with(Operator::new().cli(&server, &["status", "--json"]), "NOT_SIGNED_IN");
    assert!(refused["error"]["remedy"].as_str().unwrap().contains("token create"), "{refused}");
}

#[test]
fn a_servers_own_token_is_for_its_owners_eyes_and_outlives_a_start() {
    let mut server = Server::start_with(REQUIRED);
    let file = server.data().join("admin.token");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    assert!(!server.log().contains(token.trim()), "no token is in the log");
    let operator = Operator::of(&[&server]);
    assert!(server.terminate().success());
    server.launch();
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
    operator.cli_ok(&server, &["status"]);
    // A crash left half of one, or nothing but the file.
    for left in [&token[..20], "\n", ""] {
        assert!(server.terminate().success());
        fs::write(&file, left).unwrap();
        server.launch();
        assert_ne!(fs::read_to_string(&file).unwrap(), token);
        refused_with(operator.cli(&server, &["status", "--json"]), "NOT_SIGNED_IN");
    }
    Operator::of(&[&server]);
}

#[test]
fn each_token_allows_what_its_role_does_and_nothing_else() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    admin.cli_ok(&server, &["db", "create", "shop"]);
    let own = fs::read_to_string(server.data().join("admin.token")).unwrap();
    let own = own.trim();
    for database in ["main", "shop"] {
        execute(&server, database, own, "create table t(n)").unwrap();
    }
    let writer = admin.token(&server, &["till", "--role", "writer", "--database", "shop"]);
    let reader = admin.token(&server, &["report", "--role", "reader"]);
    let operator = admin.token(&server, &["night", "--role", "operator"]);

    execute(&server, "shop", &writer, "insert into t values (1)").unwrap();
    refused(execute(&server, "main", &writer, "select * from t"), "FORBIDDEN");
    // What there is, it does not learn.
    refused(execute(&server, "nosuch", &writer, "select 1"), "FORBIDDEN");
    refused(execute(&server, "nosuch", &reader, "select 1"), "DATABASE_NOT_FOUND");

    for token in [&reader, &operator] {
        assert_eq!(execute(&server, "shop", token, "select n from t").unwrap(), [[json!(1)]]);
        for sql in [
            "insert into t values (2)",
            "create table u(n)",
            "drop table t",
            "pragma user_version = 7",
            "begin immediate",
            "vacuum",
            "with x(n) as (select 3) insert into t select n from x returning n",
        ] {
            refused(execute(&server, "shop", token, sql), "FORBIDDEN");
        }
    }
    assert_eq!(execute(&server, "shop", own, "select count(*) from t").unwrap(), [[json!(1)]]);

    let get = |path: &str, token: &str| send("GET", &server, path, Some(token), None).0;
    for (path, statuses) in [
        ("/api/v1/whoami", [200, 200, 200]),
        ("/api/v1/status", [200, 200, 200]),
        ("/api/v1/databases", [403, 403, 200]),
        ("/api/v1/databases/shop", [200, 200, 200]),
        ("/api/v1/databases/main", [403, 200, 200]),
        ("/api/v1/tokens", [403, 403, 403]),
    ] {
        assert_eq!([&writer, &reader, &operator].map(|token| get(path, token)), statuses, "{path}");
    }
    let (_, identity) = send("GET", &server, "/api/v1/whoami", Some(&writer), None);
    assert_eq!(identity, json!({ "name": "till", "role": "writer", "databases": ["shop"] }));

    let list: Value =
        serde_json::from_str(&admin.cli_ok(&server, &["token", "list", "--json"])).unwrap();
    let names = list["tokens"].as_array().unwrap().iter().map(|token| token["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["night", "report", "till"]);
    assert!(!list.to_string().contains("cpt_"), "{list}");
    let databases = admin.cli_ok(&server, &["db", "list"]);
    assert!(!databases.contains("_system"), "{databases}");
    for path in ["/db/_system/v2/pipeline", "/api/v1/databases/_system/content"] {
        let method = if path.starts_with("/db") { "POST" } else { "GET" };
        let (status, answer) =
            send(method, &server, path, Some(own), Some(&json!({ "requests": [] })));
        assert!([400, 404].contains(&status), "{path}: {status} {answer}");
    }
}

#[test]
fn a_token_is_made_well_or_not_at_all() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    let token = |args: &[&str]| {
        let all: Vec<&str> = ["token"].iter().chain(args).chain(&["--json"]).copied().collect();
        admin.cli(&server, &all)
    };
    refused_with(token(&["create", "a", "--role", "admin", "--database", "main"]), "TOKEN_INVALID");
    refused_with(token(&["create", "Ä b", "--role", "reader"]), "TOKEN_INVALID");
    refused_with(token(&["revoke", "nobody"]), "TOKEN_NOT_FOUND");
    admin.token(&server, &["a", "--role", "reader"]);
    refused_with(token(&["create", "a", "--role", "reader"]), "TOKEN_EXISTS");
    let own = fs::read_to_string(server.data().join("admin.token")).unwrap();
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "role": "root" }),
        json!({ "name": "x", "role": "reader", "databases": ["A B"] }),
        json!({ "name": "x", "role": "reader", "databases": [] }),
        json!({ "name": "x", "role": "reader", "limits": [] }),
    ] {
        let (status, answer) = post(&server, "/api/v1/tokens", Some(own.trim()), &body);
        assert_eq!(status, 400, "{answer}");
    }
    admin.cli_ok(&server, &["logout"]);
    refused_with(token(&["list"]), "NOT_SIGNED_IN");
}

#[test]
fn a_token_ends_when_its_time_is_over() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    let short = admin.token(&server, &["short", "--role", "reader", "--lifetime", "1s"]);
    wait_for("the token to expire", || execute(&server, "main", &short, "select 1").err());
    refused(execute(&server, "main", &short, "select 1"), "NOT_SIGNED_IN");
}

#[test]
fn a_revoked_token_lets_nobody_go_on() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    let token = admin.token(&server, &["till", "--role", "writer"]);
    execute(&server, "main", &token, "create table t(n)").unwrap();
    // A stream with a transaction open.
    let begin = json!({ "requests": [
        { "type": "execute", "stmt": { "sql": "begin" } },
        { "type": "execute", "stmt": { "sql": "insert into t values (1)" } },
    ] });
    let (status, opened) = post(&server, "/v2/pipeline", Some(&token), &begin);
    assert_eq!(status, 200, "{opened}");
    admin.cli_ok(&server, &["token", "revoke", "till"]);
    let commit = json!({ "baton": opened["baton"], "requests": [
        { "type": "execute", "stmt": { "sql": "commit" } },
    ] });
    let (_, answer) = post(&server, "/v2/pipeline", Some(&token), &commit);
    assert!(answer.to_string().contains("NOT_SIGNED_IN"), "{answer}");
    refused(execute(&server, "main", &token, "select 1"), "NOT_SIGNED_IN");
    let own = fs::read_to_string(server.data().join("admin.token")).unwrap();
    let count = || execute(&server, "main", own.trim(), "select count(*) from t").unwrap();
    assert_eq!(count(), [[json!(0)]]);
}

#[test]
fn tokens_are_good_on_both_servers_and_after_a_takeover() {
    let (mut a, b) = (Server::start_with(REQUIRED), Server::start_with(REQUIRED));
    let admin = Operator::of(&[&a, &b]);
    let (before, gone) = (
        admin.token(&a, &["before", "--role", "writer"]),
        admin.token(&a, &["gone", "--role", "writer"]),
    );
    execute(&a, "main", &before, "create table t(n)").unwrap();
    let (principal, mirror) = (a.url(), b.url());
    let start = ["mirror", "start", "--principal", &principal, "--mirror", &mirror];
    admin.cli_ok(&a, &start);
    let after = admin.token(&a, &["after", "--role", "writer"]);
    admin.cli_ok(&a, &["token", "revoke", "gone"]);
    for token in [&before, &after] {
        wait_for("the mirror to know the token", || {
            execute(&b, "main", token, "select * from t").ok()
        });
    }
    refused(execute(&a, "main", &gone, "select 1"), "NOT_SIGNED_IN");
    wait_for("the mirror to forget the token", || execute(&b, "main", &gone, "select 1").err());
    let refusal = refused_with(
        admin.cli(&b, &["token", "create", "x", "--role", "reader", "--json"]),
        "READ_ONLY_MIRROR",
    );
    assert!(refusal["error"]["remedy"].as_str().unwrap().contains(&a.url()), "{refusal}");
    a.kill();
    wait_for("the mirror to miss its principal", || {
        admin.cli(&b, &["promote", "--yes"]).code.filter(|code| *code == 0)
    });
    execute(&b, "main", &before, "insert into t values (1)").unwrap();
    execute(&b, "main", &after, "insert into t values (2)").unwrap();
    refused(execute(&b, "main", &gone, "select 1"), "NOT_SIGNED_IN");
    // And everybody can be let in there anew.
    let new = admin.token(&b, &["new", "--role", "reader"]);
    assert_eq!(execute(&b, "main", &new, "select n from t").unwrap(), [[json!(1)], [json!(2)]]);
}
