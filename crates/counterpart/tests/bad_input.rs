//! Bad input on every side: each is refused in one sentence of what and one of what to do, and nothing is changed,
//! lost or held up by it.

mod support;

use std::{
    collections::BTreeSet,
    io::Write,
    net::TcpStream,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use support::{
    pair::{Pair, wait_state},
    raw,
    server::{Server, copy_tree, run_cli},
    wait_for,
    workload::{Workload, assert_has_all, create_table, rows_on},
};

fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as u8
    };
    (0..length).map(next).collect()
}

/// What no partner would send, each beginning where a connection does.
fn malformed_frames() -> Vec<Vec<u8>> {
    let opening = b"CTPLNK\x01\x00".to_vec();
    let with = |rest: &[u8]| [&opening[..], rest].concat();
    let header = |length: u32, kind: u8| [&length.to_le_bytes()[..], &[kind, 0, 0, 0]].concat();
    let mut all = vec![
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"CTPLNX\x01\x00".to_vec(),
        b"CTPLNK\xff\xff".to_vec(),
        b"CTP".to_vec(),
        vec![],
        vec![0; 4096],
        opening.clone(),
        with(&[header(u32::MAX, 1), vec![0; 8]].concat()),
        with(&[header(8 << 20, 2), vec![0; 8]].concat()),
        with(&[header(10, 77), vec![0; 18]].concat()),
        with(&[header(10, 1), vec![0; 18]].concat()),
        with(&[header(0, 1), vec![0; 8]].concat()),
        with(&[header(1000, 3), vec![0; 20]].concat()),
    ];
    for seed in 0..20 {
        all.push(noise(usize::try_from(seed * 50).unwrap(), seed));
        all.push(with(&noise(usize::try_from(seed * 50).unwrap(), seed)));
    }
    all
}

fn descriptors(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

#[test]
fn malformed_frames_on_the_partner_port_disturb_neither_server_nor_pair() {
    let pair = Pair::start_with(&["--partner-timeout", "2s"], &[]);
    create_table(&pair.principal);
    let load = Workload::start(0, 2, &[&pair.principal]);
    for bytes in malformed_frames() {
        for server in [&pair.principal, &pair.mirror] {
            let answer = raw::exchange(&server.partner_address(), &bytes);
            assert!(answer.len() < 4096, "{} bytes are no refusal", answer.len());
        }
    }
    load.wait_progress(50);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    pair.wait_synchronized();
    pair.assert_equal();
    assert_has_all(&pair.mirror, &confirmed);
    for log in [pair.principal.log(), pair.mirror.log()] {
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains("DISCONNECTED"), "the pair never parted: {log}");
    }
}

#[test]
fn half_open_connections_are_closed_after_a_while_and_hold_up_nobody() {
    let pair = Pair::start_with(&["--partner-timeout", "1s"], &[]);
    create_table(&pair.principal);
    let before = descriptors(&pair.principal);
    let starts: [&[u8]; 3] =
        [b"", b"CTPLNK\x01\x00", b"CTPLNK\x01\x00\x10\x27\x00\x00\x01\x00\x00\x00"];
    let hanging: Vec<TcpStream> = (0..200)
        .map(|i| {
            let mut stream = raw::connect(&pair.principal.partner_address());
            stream.write_all(starts[i % 3]).unwrap();
            stream
        })
        .collect();
    let load = Workload::start(0, 4, &[&pair.principal]);
    load.wait_progress(100);
    wait_for("the hanging connections to be closed", || {
        (descriptors(&pair.principal) < before + 30).then_some(())
    });
    drop(hanging);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    pair.wait_synchronized();
    pair.assert_equal();
    assert_has_all(&pair.mirror, &confirmed);
    assert!(!pair.principal.log().contains("DISCONNECTED"));
}

#[test]
fn malformed_requests_on_the_client_port_are_refused_one_by_one() {
    let server = Server::start();
    let address = format!("{}:{}", server.address, server.port);
    let bodies: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("no JSON", b"{\"requests\": ["),
        ("not an object", b"[]"),
        ("no requests", b"{}"),
        ("an unknown request", b"{\"requests\":[{\"type\":\"drop everything\"}]}"),
        ("a wrong type", b"{\"requests\":[{\"type\":\"execute\",\"stmt\":{\"sql\":5}}]}"),
        ("bytes that are no text", b"\xff\xfe\x00{\"requests\":[]}"),
        ("a wrong baton", b"{\"baton\":\"forged\",\"requests\":[]}"),
        (
            "a wrong integer",
            b"{\"requests\":[{\"type\":\"execute\",\"stmt\":{\"sql\":\"select ?\",\
            \"args\":[{\"type\":\"integer\",\"value\":\"99999999999999999999\"}]}}]}",
        ),
    ];
    for (name, body) in bodies {
        for path in ["/v2/pipeline", "/v3/pipeline", "/v3/cursor"] {
            let (status, text) = raw::http(&address, "POST", path, body);
            assert!((400..500).contains(&status), "{name} at {path}: {status} {text}");
            let answer: Value = serde_json::from_str(&text)
                .unwrap_or_else(|e| panic!("{name} at {path}: {e}: {text:?}"));
            assert!(answer["message"].as_str().is_some_and(|m| !m.is_empty()), "{name}: {answer}");
        }
    }
    let deep = "[".repeat(100_000);
    let (status, _) = raw::http(&address, "POST", "/v2/pipeline", deep.as_bytes());
    assert_eq!(status, 400);
    for request in [
        &b"\r\n\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST /v2/pipeline HTTP/1.1\r\ncontent-length: banana\r\n\r\n",
        b"POST /v2/pipeline HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        b"POST /v2/pipeline HTTP/9.9\r\n\r\n",
        b"CTPLNK\x01\x00",
        &noise(5_000, 7),
    ] {
        let answer = raw::exchange(&address, request);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    for (method, path) in
        [("GET", "/nothing/here"), ("DELETE", "/v2/pipeline"), ("PUT", "/api/v1/status")]
    {
        let (status, text) = raw::http(&address, method, path, b"");
        assert!(matches!(status, 404 | 405), "{method} {path}: {status} {text}");
    }
    for (method, path) in [
        ("POST", "/api/v1/databases"),
        ("POST", "/api/v1/mirroring/join"),
        ("POST", "/api/v1/mirroring/partners"),
        ("POST", "/api/v1/mirroring/probe"),
        ("POST", "/api/v1/mirroring/failover"),
    ] {
        for body in [&b"{"[..], b"[1]", b"{\"surprise\": 1}", &noise(100, 3)] {
            let (status, text) = raw::http(&address, method, path, body);
            assert_eq!(status, 400, "{method} {path}: {text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert!(answer["error"]["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{answer}");
        }
    }
    assert_eq!(server.client().value("select 1"), json!(1));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn bodies_that_are_too_large_are_refused_without_being_kept() {
    let server = Server::start_with(&["--max-request-bytes", "64KiB"]);
    let address = format!("{}:{}", server.address, server.port);
    let large = format!(
        "{{\"requests\":[{{\"type\":\"execute\",\"stmt\":{{\"sql\":\"select '{}'\"}}}}]}}",
        "x".repeat(100_000)
    );
    let (status, text) = raw::http(&address, "POST", "/v2/pipeline", large.as_bytes());
    assert_eq!(status, 413, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["code"], "REQUEST_TOO_LARGE", "{answer}");
    // Announced only: refused before anything of it is read.
    let mut stream = raw::connect(&address);
    stream.write_all(raw::http_head("POST", "/v2/pipeline", 1 << 40).as_bytes()).unwrap();
    stream.write_all(b"{").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    let (status, text) = raw::http(
        &address,
        "POST",
        "/api/v1/databases",
        format!("{{\"name\":\"{}\"}}", "a".repeat(5 << 20)).as_bytes(),
    );
    assert!(matches!(status, 400 | 413), "{status} {text}");
    assert_eq!(server.client().value("select 1"), json!(1));
}

#[test]
fn a_blob_of_2_gib_and_a_result_that_is_too_large_have_errors_of_their_own() {
    let server = Server::start_with(&["--max-result-bytes", "1MiB"]);
    let client = server.client();
    client.run("create table t(x)");
    for sql in [
        "insert into t values(zeroblob(2147483648))",
        "insert into t values(zeroblob(2147483647))",
        "select zeroblob(2147483647)",
        "insert into t values(zeroblob(9000000000000000000))",
    ] {
        let failure = client.execute(sql, &[]).unwrap_err();
        assert_eq!(failure.code, "SQLITE_TOOBIG", "{sql}: {failure:?}");
        assert!(failure.message.contains("too big"), "{sql}: {failure:?}");
    }
    assert_eq!(client.value("select count(*) from t"), json!(0));
    let failure = client.execute("select zeroblob(2000000)", &[]).unwrap_err();
    assert_eq!(failure.code, "RESPONSE_TOO_LARGE", "{failure:?}");
    client.run("insert into t values(zeroblob(2000000))");
    assert_eq!(client.value("select length(x) from t"), json!(2_000_000));
}

/// A server that has checkpointed and been stopped in order; its `main` has 2,000 rows.
fn stopped_server() -> Server {
    let mut server = Server::start_with(&["--checkpoint-bytes", "1MiB"]);
    server.client().script(
        "create table t(id integer primary key, x blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
           insert into t select i, randomblob(2000) from n",
    );
    wait_for("a checkpoint", || {
        (server.status()["journal"]["redo_after"].as_u64().unwrap() > 0).then_some(())
    });
    server.client().run("insert into t(x) values('after the checkpoint')");
    assert!(server.terminate().success());
    server
}

/// All files below the data directory that a server would read, with their content.
fn contents(server: &Server) -> Vec<(PathBuf, Vec<u8>)> {
    fn walk(dir: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
        for item in std::fs::read_dir(dir).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.file_name().is_some_and(|name| name != "counterpart.lock") {
                into.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    walk(&server.data(), &mut files);
    // Spare segments hold nothing, and nothing counts in what SQLite keeps beside a database: the journal has it.
    files.retain(|(path, _)| {
        let name = path.to_string_lossy();
        !["spare", "-wal", "-shm"].iter().any(|passing| name.contains(passing))
    });
    files.sort();
    files
}

/// The server must refuse to start, and name the file; nothing may have changed.
fn refuses_to_start(server: &mut Server, file: &Path, what: &str) {
    let damaged = contents(server);
    let logged = server.log().len();
    server.spawn();
    let status = wait_for("the server to end, or to serve", || {
        server.ended().map(Some).or_else(|| server.try_status().is_ok().then_some(None))
    });
    let said = server.log()[logged..].to_owned();
    let status = status.unwrap_or_else(|| panic!("{what}: it serves: {said}"));
    assert_eq!(status.code(), Some(7), "{what}: {said}");
    assert!(said.contains("code: DATA_DAMAGED"), "{what}: {said}");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name), "{what}: it names {name}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(said.len() > 40 && !last.contains("see the log"), "{what}: it says what to do: {said}");
    let after = contents(server);
    let names =
        |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>();
    assert_eq!(names(&damaged), names(&after), "{what}: no file came or went");
    for ((path, before), (_, after)) in damaged.iter().zip(&after) {
        assert!(before == after, "{what}: {} was changed", path.display());
    }
}

fn file_in(dir: &Path, matches: impl Fn(&str) -> bool) -> PathBuf {
    let mut all: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()).collect();
    all.sort();
    all.into_iter()
        .find(|path| matches(path.file_name().unwrap().to_str().unwrap()))
        .unwrap_or_else(|| panic!("no such file in {}", dir.display()))
}

/// Moves a file as an operator would.
fn rename(from: &Path, to: &Path) {
    let moved = std::process::Command::new("mv").arg(from).arg(to).status().unwrap();
    assert!(moved.success(), "mv {} {}", from.display(), to.display());
}

type Damage = fn(&mut Vec<u8>);

#[test]
fn damaged_files_are_refused_by_name_and_nothing_is_changed() {
    let mut server = stopped_server();
    let control = server.data().join("control");
    let segment = file_in(&server.data().join("journal"), |name| !name.contains("spare"));
    let cases: [(&str, &Path, Damage); 6] = [
        ("a flipped bit in the control file", &control, |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
        }),
        ("a truncated control file", &control, |bytes| bytes.truncate(bytes.len() / 2)),
        ("an empty control file", &control, Vec::clear),
        ("a flipped bit in the journal", &segment, |bytes| bytes[100_000] ^= 1),
        ("a damaged head of a segment", &segment, |bytes| bytes[3] ^= 1),
        ("a truncated journal segment", &segment, |bytes| bytes.truncate(1_000_000)),
    ];
    for (what, file, damage) in cases {
        let good = std::fs::read(file).unwrap();
        let mut bad = good.clone();
        damage(&mut bad);
        std::fs::write(file, &bad).unwrap();
        refuses_to_start(&mut server, file, what);
        std::fs::write(file, &good).unwrap();
    }
    server.launch();
    assert_eq!(server.client().value("select count(*) from t"), json!(2_001));
}

/// Its server stands alone: nobody has what is lost, so it is told, and nothing is put in its place.
#[test]
fn a_damaged_database_is_refused_by_name_beside_the_others_and_is_back_with_its_file() {
    let mut server = stopped_server();
    server.launch();
    server.cli_ok(&["db", "create", "other"]);
    server.client().database("other").run("create table t(x)");
    assert!(server.terminate().success());
    let database = server.data().join("1.db");
    let good = std::fs::read(&database).unwrap();
    let cases: [(&str, Damage); 2] = [
        ("a database file that is none", |bytes| bytes[..100].fill(0x55)),
        ("an empty database file", Vec::clear),
    ];
    for (what, damage) in cases {
        let mut bad = good.clone();
        damage(&mut bad);
        std::fs::write(&database, &bad).unwrap();
        is_refused_by_name(&mut server, what);
        std::fs::write(&database, &good).unwrap();
    }
    let moved = database.with_extension("away");
    rename(&database, &moved);
    is_refused_by_name(&mut server, "a database file that is gone");
    rename(&moved, &database);
    server.launch();
    assert_eq!(server.client().value("select count(*) from t"), json!(2_001));
}

/// Starts the server whose `main` is damaged, and stops it.
fn is_refused_by_name(server: &mut Server, what: &str) {
    server.launch();
    let failure = server.client().execute("select count(*) from t", &[]).unwrap_err();
    assert_eq!(failure.code, "DATA_DAMAGED", "{what}: {failure:?}");
    assert!(failure.message.contains("main"), "{what}: {failure:?}");
    assert_eq!(server.client().database("other").value("select count(*) from t"), json!(0));
    let words = server.cli_ok(&["status"]);
    assert!(words.contains("main") && words.contains("what to do"), "{what}: {words}");
    assert!(server.terminate().success());
}

#[test]
fn a_copied_data_directory_that_is_started_beside_its_original_takes_nothing_over() {
    let mut pair = Pair::start_with(&["--partner-timeout", "1s"], &[]);
    create_table(&pair.principal);
    let mut copy = Server::prepare(&["--partner-timeout", "1s"]);
    assert!(pair.principal.terminate().success());
    copy_tree(&pair.principal.data(), &copy.data());
    pair.principal.launch();
    pair.wait_synchronized();
    let load = Workload::start(0, 4, &[&pair.principal]);
    load.wait_progress(50);
    copy.launch();
    load.wait_progress(200);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the original's clients noticed nothing");
    assert_has_all(&pair.principal, &confirmed);
    copy.kill();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_has_all(&pair.mirror, &confirmed);
}

#[test]
fn a_copied_mirror_that_is_started_beside_its_original_does_no_harm() {
    let mut pair = Pair::start_with(&["--partner-timeout", "1s"], &[]);
    create_table(&pair.principal);
    let mut copy = Server::prepare(&["--partner-timeout", "1s"]);
    assert!(pair.mirror.terminate().success());
    copy_tree(&pair.mirror.data(), &copy.data());
    pair.mirror.launch();
    pair.wait_synchronized();
    let load = Workload::start(0, 4, &[&pair.principal]);
    load.wait_progress(50);
    copy.launch();
    load.wait_progress(200);
    copy.kill();
    load.wait_progress(50);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the principal's clients noticed nothing");
    pair.wait_synchronized();
    pair.assert_equal();
    assert_has_all(&pair.mirror, &confirmed);
}

#[test]
fn two_servers_that_both_believe_to_be_principal_settle_on_the_promoted_one() {
    let mut pair = Pair::start_with(&["--partner-timeout", "1s"], &[]);
    create_table(&pair.principal);
    pair.assert_equal();
    // The mirror was promoted while the principal hung; when it goes on, it must not confirm anything.
    pair.principal.signal("STOP");
    wait_state(&pair.mirror, "DISCONNECTED");
    pair.mirror.cli_ok(&["promote", "--yes"]);
    pair.mirror.client().run("insert into work values(1, 1, 'new')");
    pair.principal.signal("CONT");
    support::pair::wait_role(&pair.principal, "mirror");
    let refused =
        pair.principal.client().execute("insert into work values(2, 2, 'old')", &[]).unwrap_err();
    assert_eq!(refused.code, "READ_ONLY_MIRROR", "{refused:?}");
    pair = pair.swapped();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_eq!(rows_on(&pair.mirror), BTreeSet::from([(1, 1)]));
}

#[test]
fn a_command_for_a_server_that_is_none_says_so() {
    for (url, code) in [("http://127.0.0.1:1", 3), ("http://", 2), ("ftp://127.0.0.1", 2)] {
        let outcome = run_cli(None, &["status", "--server", url]);
        assert_eq!(outcome.code, Some(code), "{url}: {}", outcome.stderr);
        assert!(outcome.stderr.lines().count() <= 4, "{}", outcome.stderr);
    }
}
