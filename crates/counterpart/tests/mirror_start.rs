//! `counterpart mirror start` that fails: the message names the step, the cause and the remedy, and both servers are
//! as they were.

mod support;

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use serde_json::{Value, json};
use support::{
    pair::{Pair, assert_equal, databases, start_mirroring, wait_state, wait_synchronized},
    server::{Server, run_cli},
    wait_for,
};

/// What must not have changed: everything but positions, counters and times.
fn state_of(server: &Server) -> Value {
    let status = server.status();
    json!([
        status["role"],
        status["admits_writes"],
        status["mirroring"]["session"],
        status["mirroring"]["safety"],
        status["mirroring"]["partners"].as_array().map(Vec::len),
        databases(server),
    ])
}

/// Runs `mirror start`, which must fail at `step` with `code`, and leave the servers as they were.
fn fails_at(
    principal: &str,
    mirror: &str,
    extra: &[&str],
    witnesses: &[&Server],
    step: &str,
    code: &str,
) -> Value {
    for server in witnesses {
        // A principal takes writes a moment after it has started.
        wait_for("the start to be over", || {
            let status = server.status();
            (status["role"] == "mirror" || status["admits_writes"] == true).then_some(())
        });
    }
    let before: Vec<_> = witnesses.iter().map(|server| state_of(server)).collect();
    let mut args = vec!["mirror", "start", "--principal", principal, "--mirror", mirror, "--json"];
    args.extend(extra);
    let outcome = run_cli(None, &args);
    assert_ne!(outcome.code, Some(0), "it was accepted: {}", outcome.stdout);
    let failure: Value = serde_json::from_str(&outcome.stderr)
        .unwrap_or_else(|e| panic!("{e}: standard error is {:?}", outcome.stderr));
    let error = &failure["error"];
    assert_eq!((&error["step"], &error["code"]), (&json!(step), &json!(code)), "{failure}");
    for part in ["what", "remedy"] {
        assert!(error[part].as_str().is_some_and(|s| !s.is_empty()), "no {part}: {failure}");
    }
    for (server, before) in witnesses.iter().zip(before) {
        assert_eq!(state_of(server), before, "{} is as it was", server.url());
    }
    failure
}

/// An address on which nobody listens, and which nobody else gets meanwhile.
fn dead_address(server: &Server) -> String {
    format!("{}:1", server.address)
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let alone = Server::start();
    let dead = format!("http://{}", dead_address(&alone));
    let url = alone.url();
    for (principal, mirror, step) in
        [(&dead, &url, "reach principal"), (&url, &dead, "reach mirror")]
    {
        let failure = fails_at(principal, mirror, &[], &[&alone], step, "SERVER_UNREACHABLE");
        assert_eq!(failure["exit"], 3);
        assert!(failure["error"]["what"].as_str().unwrap().contains(&dead), "{failure}");
    }
    alone.client().run("create table still_writable(x)");
}

#[test]
fn a_partner_port_that_cannot_be_reached_is_named_in_either_direction() {
    let good = Server::start();
    let mut hidden = Server::prepare(&[]);
    let dead = dead_address(&hidden);
    hidden.partner_advertise = Some(dead.clone());
    hidden.launch();
    for (principal, mirror, step) in [
        (&hidden, &good, "mirror reaches principal's partner port"),
        (&good, &hidden, "principal reaches mirror's partner port"),
    ] {
        let failure = fails_at(
            &principal.url(),
            &mirror.url(),
            &[],
            &[&good, &hidden],
            step,
            "PARTNER_UNREACHABLE",
        );
        assert!(failure["error"]["what"].as_str().unwrap().contains(&dead), "{failure}");
    }
}

#[test]
fn a_partner_port_that_is_somebody_elses_is_named() {
    let good = Server::start();
    let mut wrong = Server::prepare(&[]);
    // The client port speaks HTTP, not what partners speak.
    wrong.partner_advertise = Some(format!("{}:{}", wrong.address, wrong.port));
    wrong.launch();
    let failure = fails_at(
        &good.url(),
        &wrong.url(),
        &[],
        &[&good, &wrong],
        "principal reaches mirror's partner port",
        "PARTNER_UNREACHABLE",
    );
    assert!(failure["error"]["remedy"].as_str().unwrap().contains("--partner-listen"));

    let mut stranger = Server::prepare(&[]);
    let other = Server::start();
    stranger.partner_advertise = Some(other.partner_address());
    stranger.launch();
    fails_at(
        &good.url(),
        &stranger.url(),
        &[],
        &[&good, &stranger, &other],
        "principal reaches mirror's partner port",
        "WRONG_SERVER",
    );
    let mut itself = Server::prepare(&[]);
    itself.partner_advertise = Some(good.partner_address());
    itself.launch();
    fails_at(
        &good.url(),
        &itself.url(),
        &[],
        &[&good, &itself],
        "principal reaches mirror's partner port",
        "PARTNER_IS_SELF",
    );
}

#[test]
fn one_server_is_not_both() {
    let alone = Server::start();
    let url = alone.url();
    fails_at(&url, &url, &[], &[&alone], "not the same server", "PARTNER_IS_SELF");
    // Not under another name either.
    let alias = format!("{url}/");
    fails_at(
        &url,
        &alias,
        &["--replace", "--yes"],
        &[&alone],
        "not the same server",
        "PARTNER_IS_SELF",
    );
}

#[test]
fn a_mirror_with_data_is_replaced_only_on_the_operators_word() {
    let (principal, mirror) = (Server::start(), Server::start());
    principal.client().script("create table t(x); insert into t values('principal')");
    mirror.client().script("create table t(x); insert into t values('mirror')");
    mirror.cli_ok(&["db", "create", "other"]);
    let step = "mirror is empty or replaceable, with disk space";
    let both = [&principal, &mirror];
    let failure = fails_at(&principal.url(), &mirror.url(), &["--yes"], &both, step, "NOT_EMPTY");
    assert!(failure["error"]["remedy"].as_str().unwrap().contains("--replace"));
    assert_eq!(mirror.client().value("select x from t"), json!("mirror"));
    // The word alone is not enough where nobody can be asked.
    let (p, m) = (principal.url(), mirror.url());
    let args = ["mirror", "start", "--principal", &p, "--mirror", &m, "--replace"];
    let unasked = run_cli(None, &args);
    assert_eq!(unasked.code, Some(2), "{}{}", unasked.stdout, unasked.stderr);
    assert_eq!(mirror.client().value("select x from t"), json!("mirror"));
    start_mirroring(&principal, &mirror, &["--replace"]);
    assert_equal(&principal, &mirror);
    assert_eq!(databases(&mirror), ["main"]);
    assert_eq!(mirror.client().value("select x from t"), json!("principal"));
}

#[test]
fn an_empty_database_besides_main_counts_as_data() {
    let (principal, mirror) = (Server::start(), Server::start());
    mirror.cli_ok(&["db", "create", "other"]);
    let step = "mirror is empty or replaceable, with disk space";
    fails_at(&principal.url(), &mirror.url(), &[], &[&principal, &mirror], step, "NOT_EMPTY");
}

#[test]
fn roles_that_are_taken_are_named() {
    let (pair, alone) = (Pair::start(), Server::start());
    let all = [&pair.principal, &pair.mirror, &alone];
    let (p, m, a) = (pair.principal.url(), pair.mirror.url(), alone.url());
    for (principal, mirror) in [(&a, &m), (&a, &p), (&m, &a), (&m, &p), (&p, &m)] {
        let failure = fails_at(principal, mirror, &["--yes"], &all, "roles free", "ROLE_TAKEN");
        assert_eq!(failure["exit"], 1);
    }
    // With --replace a mirror may change its principal, but a principal is never pulled from under its mirrors.
    fails_at(&a, &p, &["--replace", "--yes"], &all, "join on the mirror", "WRONG_ROLE");
    pair.principal.client().run("create table t(x)");
    pair.assert_equal();
}

/// A server that answers every connection with `answer`; ends with the process.
fn impostor(address: std::net::Ipv4Addr, answer: &'static [u8]) -> String {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).and_then(|_| stream.write_all(answer));
            // Whoever asks may have gone already; that is its business.
            drop(read);
        }
    });
    at.to_string()
}

#[test]
fn what_is_no_counterpart_server_is_named() {
    let alone = Server::start();
    let url = alone.url();
    let answers: [&'static [u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ];
    for answer in answers {
        let other = format!("http://{}", impostor(alone.address, answer));
        for (principal, mirror, step) in
            [(&other, &url, "reach principal"), (&url, &other, "reach mirror")]
        {
            let failure = fails_at(principal, mirror, &[], &[&alone], step, "NOT_A_SERVER");
            assert_eq!(failure["exit"], 6, "{failure}");
        }
    }
    for nonsense in ["ftp://x", "not a url", "http://"] {
        let args = ["mirror", "start", "--principal", nonsense, "--mirror", &url];
        let outcome = run_cli(None, &args);
        assert_eq!(outcome.code, Some(2), "{nonsense}: {}", outcome.stderr);
    }
}

#[test]
fn a_start_that_was_refused_can_be_repeated_once_the_cause_is_gone() {
    let principal = Server::start();
    let mut mirror = Server::prepare(&[]);
    mirror.partner_advertise = Some(dead_address(&mirror));
    mirror.launch();
    fails_at(
        &principal.url(),
        &mirror.url(),
        &[],
        &[&principal, &mirror],
        "principal reaches mirror's partner port",
        "PARTNER_UNREACHABLE",
    );
    mirror.kill();
    mirror.partner_advertise = None;
    mirror.launch();
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    wait_state(&mirror, "SYNCHRONIZED");
    assert_equal(&principal, &mirror);
}
