//! The bench client tells what happened: as many requests as were made, and those that failed.
#![allow(missing_docs)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

const CLIENT: &str = env!("CARGO_BIN_EXE_counterpart-bench");

/// A server that answers everything alike, until the test ends.
struct Empty {
    process: Child,
    url: String,
}

impl Empty {
    fn start(directory: &Path) -> Empty {
        let ready = directory.join("ready");
        let mut process =
            Command::new(CLIENT).args(["empty", "--ready-file"]).arg(&ready).spawn().unwrap();
        let text = loop {
            match fs::read_to_string(&ready) {
                Ok(text) if text.ends_with('\n') => break text,
                _ => assert!(process.try_wait().unwrap().is_none(), "the empty handler ended"),
            }
            std::thread::yield_now();
        };
        let told: Value = serde_json::from_str(&text).unwrap();
        Empty { process, url: told["client_url"].as_str().unwrap().to_owned() }
    }

    fn load(&self, arguments: &[&str]) -> Value {
        figures(Command::new(CLIENT).args(["load", "--url", &self.url]).args(arguments))
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn figures(command: &mut Command) -> Value {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

#[test]
fn an_open_loop_makes_the_requests_of_its_timetable() {
    let directory = tempfile::tempdir().unwrap();
    let empty = Empty::start(directory.path());
    let seen = empty.load(&[
        "--work",
        "update",
        "--clients",
        "4",
        "--rate",
        "200",
        "--seconds",
        "0.5",
        "--timeline",
    ]);
    assert_eq!(seen["count"], 100, "{seen}");
    assert_eq!(seen["failed"], 0, "{seen}");
    let slices: u64 = seen["slices"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(slices, 100, "{seen}");
}

#[test]
fn a_request_that_fails_is_counted_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let empty = Empty::start(directory.path());
    let seen =
        empty.load(&["--work", "scan", "--clients", "1", "--rate", "50", "--seconds", "0.1"]);
    assert_eq!(seen["failed"], 5, "{seen}");
    assert_eq!(seen["count"], 0, "{seen}");
    assert!(seen["failure"].as_str().unwrap().starts_with("status 404"), "{seen}");
}

#[test]
fn a_load_goes_on_until_its_input_ends_and_tells_what_failed() {
    const REQUESTS: u64 = 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut command = Command::new(CLIENT);
    command.args(["load", "--work", "update", "--clients", "1", "--until-told", "--url", &url]);
    command.args(["--seconds", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut load = command.spawn().unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    let (mut request, mut asked) = ([0; 4096], 0);
    while socket.read(&mut request).unwrap() > 0 {
        asked += 1;
        if asked == REQUESTS {
            drop(load.stdin.take());
        }
        let status = if asked == 1 { 200 } else { 500 };
        let answer =
            format!("HTTP/1.1 {status} x\r\ncontent-length: 13\r\n\r\n{{\"type\":\"ok\"}}");
        socket.write_all(answer.as_bytes()).unwrap();
    }
    let seen = load.wait_with_output().unwrap().stdout;
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert!(asked >= REQUESTS, "{asked} requests");
    assert_eq!((&seen["count"], &seen["failed"]), (&1.into(), &(asked - 1).into()), "{seen}");
}

#[test]
fn plain_sqlite_did_the_updates_that_it_tells() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plain.db");
    let mut command = Command::new(CLIENT);
    command.args(["sqlite", "--synchronous", "off", "--seconds", "0.2", "--path"]).arg(&path);
    let seen = figures(&mut command);
    let db = rusqlite::Connection::open(&path).unwrap();
    let done: i64 = db.query_row("select sum(bal) from acc", [], |row| row.get(0)).unwrap();
    assert_eq!(seen["count"], done, "{seen}");
}

#[test]
fn the_parts_do_their_work_without_a_server() {
    for part in ["capture", "apply"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(CLIENT);
        command.args([part, "--commits", "300", "--directory"]).arg(directory.path());
        assert!(figures(&mut command)["rate"].as_f64().unwrap() > 0.0);
    }
}
