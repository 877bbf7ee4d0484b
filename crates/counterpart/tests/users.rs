//! Users with passwords: let in, kept out, on both servers and after a takeover; and whoever guesses has to wait.
#![allow(missing_docs)]

mod support;

use std::{fs, sync::mpsc};

use serde_json::{Value, json};
use support::{
    people::{Operator, REQUIRED, execute, post, refused, send, wait_synchronized},
    server::{Server, refused_with},
    wait_for,
};

const PASSWORD: &str = "correct horse battery";

/// A file that holds a password.
fn password_file(operator: &Operator, password: &str) -> String {
    let file = operator.place().join("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn create(admin: &Operator, server: &Server, name: &str, role: &str) {
    let file = password_file(admin, PASSWORD);
    admin.cli_ok(server, &["user", "create", name, "--role", role, "--password-file", &file]);
}

/// Logs in over the API: the token, or the status and the code of the refusal.
fn login(server: &Server, name: &str, password: &str) -> Result<String, (u16, String)> {
    let body = json!({ "name": name, "password": password });
    let (status, answer) = post(server, "/api/v1/login", None, &body);
    match status {
        200 => Ok(answer["token"].as_str().unwrap().to_owned()),
        _ => Err((status, answer["error"]["code"].as_str().unwrap().to_owned())),
    }
}

fn whoami(server: &Server, token: &str) -> (u16, Value) {
    send("GET", server, "/api/v1/whoami", Some(token), None)
}

fn wrong() -> Result<String, (u16, String)> {
    Err((401, "LOGIN_REFUSED".to_owned()))
}

#[test]
fn a_user_logs_in_with_a_password_and_may_do_what_the_role_allows() {
    let mut server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    create(&admin, &server, "anna", "operator");
    create(&admin, &server, "otto", "reader");
    let listed = admin.cli_ok(&server, &["user", "list"]);
    assert!(listed.contains("anna  operator  all") && listed.contains("otto  reader"), "{listed}");

    let anna = Operator::new();
    let file = password_file(&anna, PASSWORD);
    let told = anna.cli_ok(&server, &["login", "--user", "anna", "--password-file", &file]);
    assert!(told.contains("as anna (operator)"), "{told}");
    anna.cli_ok(&server, &["db", "list"]);
    refused_with(anna.cli(&server, &["user", "list", "--json"]), "FORBIDDEN");

    let token = login(&server, "otto", PASSWORD).unwrap();
    let identity = json!({ "name": "otto", "role": "reader", "databases": null });
    assert_eq!(whoami(&server, &token), (200, identity));
    execute(&server, "main", &token, "select 1").unwrap();
    refused(execute(&server, "main", &token, "create table t(n)"), "FORBIDDEN");

    // Neither tells whether there is such a user.
    let answer = |name: &str, password: &str| {
        post(&server, "/api/v1/login", None, &json!({ "name": name, "password": password }))
    };
    assert_eq!(answer("anna", "wrong password"), answer("nobody", PASSWORD));
    assert_eq!(login(&server, "anna", ""), wrong());
    assert_eq!(login(&server, "anna\u{1b}[2J", PASSWORD), wrong());
    // As happens to people.
    assert_eq!(login(&server, PASSWORD, PASSWORD), wrong());

    let log = admin.cli_ok(&server, &["audit", "--json"]);
    for told in ["user anna", "user otto", "\"Login\"", "CreateUser", "LOGIN_REFUSED", "(operator)"]
    {
        assert!(log.contains(told), "{told}: {log}");
    }
    // A backup holds hashes; no password is anywhere.
    let backup = admin.place().join("b");
    admin.cli_ok(&server, &["backup", backup.to_str().unwrap()]);
    assert!(server.terminate().success());
    for text in [log.into_bytes(), server.log().into_bytes(), fs::read(backup).unwrap()] {
        let found = text.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!found, "the password is in it");
    }
    server.launch();
    assert_eq!(whoami(&server, &token).0, 200, "a login outlives a start");
}

#[test]
fn a_user_is_made_well_or_not_at_all() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    create(&admin, &server, "anna", "admin");
    let own = fs::read_to_string(server.data().join("admin.token")).unwrap();
    for (body, code) in [
        (json!({ "name": "anna", "role": "reader", "password": PASSWORD }), "USER_EXISTS"),
        (json!({ "name": "x", "role": "reader", "password": "short" }), "USER_INVALID"),
        (json!({ "name": "x", "role": "root", "password": PASSWORD }), "USER_INVALID"),
        (json!({ "name": "Ä b", "role": "reader", "password": PASSWORD }), "USER_INVALID"),
        (json!({ "name": "x", "role": "reader" }), "INVALID_BODY"),
    ] {
        let (status, answer) = post(&server, "/api/v1/users", Some(own.trim()), &body);
        assert!((400..500).contains(&status), "{answer}");
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    refused_with(admin.cli(&server, &["user", "drop", "nobody", "--json"]), "USER_NOT_FOUND");
    let empty = password_file(&admin, "");
    let args = ["user", "password", "anna", "--password-file", &empty, "--json"];
    refused_with(admin.cli(&server, &args), "PASSWORD_MISSING");
    // The last admin may go: the server's own token is left.
    admin.cli_ok(&server, &["user", "drop", "anna"]);
    assert_eq!(login(&server, "anna", PASSWORD), wrong());
    for lifetime in [0, 8 * 24 * 3600] {
        let body = json!({ "name": "anna", "password": PASSWORD, "lifetime_seconds": lifetime });
        let (status, answer) = post(&server, "/api/v1/login", None, &body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("LOGIN_INVALID")));
    }
}

#[test]
fn a_login_ends_with_its_time() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    create(&admin, &server, "anna", "reader");
    let body = json!({ "name": "anna", "password": PASSWORD, "lifetime_seconds": 1 });
    let (status, answer) = post(&server, "/api/v1/login", None, &body);
    assert_eq!(status, 200, "{answer}");
    let token = answer["token"].as_str().unwrap();
    wait_for("the login to end", || (whoami(&server, token).0 == 401).then_some(()));
}

#[test]
fn users_and_logins_are_good_on_both_servers_end_at_once_and_survive_a_takeover() {
    let (mut a, mut b) = (Server::start_with(REQUIRED), Server::start_with(REQUIRED));
    let admin = Operator::of(&[&a, &b]);
    for name in ["anna", "otto", "ida"] {
        create(&admin, &a, name, "writer");
    }
    let (principal, mirror) = (a.url(), b.url());
    let start = ["mirror", "start", "--principal", &principal, "--mirror", &mirror];
    admin.cli_ok(&a, &start);
    let tokens = ["anna", "otto", "ida"].map(|name| login(&a, name, PASSWORD).unwrap());
    let [anna, otto, ida] = &tokens;
    for token in &tokens {
        wait_for("the mirror to know the login", || (whoami(&b, token).0 == 200).then_some(()));
    }
    // Who logs in at the mirror is let in there, whoever serves.
    let here = login(&b, "otto", PASSWORD).unwrap();
    let there = login(&b, "anna", PASSWORD).unwrap();
    assert_eq!((whoami(&b, &here).0, whoami(&b, &there).0), (200, 200));
    assert_eq!(whoami(&a, &here).0, 401, "it is good on the mirror alone");

    // Dropped, or given another password: at once here, and there with that transaction.
    admin.cli_ok(&a, &["user", "drop", "otto"]);
    let other = password_file(&admin, "another password");
    admin.cli_ok(&a, &["user", "password", "ida", "--password-file", &other]);
    for token in [otto, ida] {
        assert_eq!(whoami(&a, token).0, 401);
    }
    for token in [otto, ida, &here] {
        wait_for("the mirror to end the login", || (whoami(&b, token).0 == 401).then_some(()));
    }
    assert_eq!(login(&b, "ida", PASSWORD), wrong());
    // Made again with the same name and password, it is somebody else.
    create(&admin, &a, "otto", "writer");
    assert_eq!(whoami(&a, otto).0, 401);
    assert_eq!(whoami(&a, anna).0, 200);
    refused_with(admin.cli(&b, &["user", "drop", "anna", "--json"]), "READ_ONLY_MIRROR");
    wait_synchronized(&admin, &a);

    admin.cli_ok(&a, &["failover"]);
    wait_for("the new principal to take writes", || {
        execute(&b, "main", anna, "create table if not exists t(n)").ok()
    });
    assert_eq!(
        whoami(&b, &there).0,
        200,
        "a login of the mirror is good on when it has taken over"
    );
    let later = login(&b, "ida", "another password").unwrap();
    wait_synchronized(&admin, &b);
    b.kill();
    wait_for("the mirror to miss its principal", || {
        admin.cli(&a, &["promote", "--yes"]).code.filter(|code| *code == 0)
    });
    for token in [anna, &later] {
        execute(&a, "main", token, "insert into t values (1)").unwrap();
    }
    assert_eq!((whoami(&a, otto).0, whoami(&a, ida).0), (401, 401));
    a.kill();
    a.launch();
    assert_eq!(whoami(&a, &later).0, 200);
    login(&a, "otto", PASSWORD).unwrap();
    assert_eq!(login(&a, "ida", PASSWORD), wrong());
}

/// Twenty wrong guesses at once from one address, and the right password as soon as one of them is turned away: how many were
/// turned away, and how the right one fared. A guess is counted when it comes, however long it takes to judge.
fn burst(server: &Server) -> (usize, Result<String, (u16, String)>) {
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        for n in 0..20 {
            let sender = sender.clone();
            scope
                .spawn(move || sender.send(login(server, &format!("user{n}"), "a guess")).unwrap());
        }
        drop(sender);
        let (mut turned_away, mut right) = (0, None);
        for outcome in outcomes {
            if outcome == self::turned_away() {
                turned_away += 1;
                right.get_or_insert_with(|| login(server, "anna", PASSWORD));
            } else {
                assert_eq!(outcome, wrong());
            }
        }
        (turned_away, right.expect("some are turned away"))
    })
}

fn turned_away() -> Result<String, (u16, String)> {
    Err((429, "TOO_MANY_ATTEMPTS".to_owned()))
}

#[test]
fn whoever_guesses_has_to_wait_and_whoever_has_a_token_does_not() {
    let server = Server::start_with(REQUIRED);
    let admin = Operator::of(&[&server]);
    create(&admin, &server, "anna", "reader");
    let token = login(&server, "anna", PASSWORD).unwrap();
    assert!(burst(&server).0 > 5, "ten of twenty, less what is regained meanwhile");
    // From the same address the right password has to wait as well, unless a try was regained in that very moment.
    wait_for("a right password to have to wait", || {
        (burst(&server).1 == turned_away()).then_some(())
    });
    assert_eq!(whoami(&server, &token).0, 200);
    admin.cli_ok(&server, &["status"]);
    wait_for("the way to be free again", || login(&server, "anna", PASSWORD).ok());
}

#[test]
fn a_server_that_asks_nobody_has_no_use_for_users() {
    let server = Server::start();
    assert_eq!(login(&server, "anna", PASSWORD), Err((409, "NOBODY_IS_ASKED".to_owned())));
}
