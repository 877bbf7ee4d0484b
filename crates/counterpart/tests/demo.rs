//! `counterpart demo`: its figures are real, it goes on through a failover and a disaster, and it leaves nothing behind.
#![allow(missing_docs)]

mod support;

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;
use support::{
    DEADLINE,
    client::Client,
    clock::now,
    server::{BINARY, run_cli},
    wait_for,
};
use tempfile::TempDir;

/// A demonstration that prints JSON, in a temporary directory of its own.
struct Demo {
    child: Child,
    /// `None`: nobody reads any more.
    lines: Option<Lines<BufReader<ChildStdout>>>,
    started: Value,
    temporary: TempDir,
}

impl Demo {
    fn start(extra: &[&str]) -> Demo {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = command(temporary.path(), &["--json"]).args(extra).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it prints at least one line").unwrap();
        let started: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(started["event"], "started", "{started}");
        Demo { child, lines: Some(lines), started, temporary }
    }

    fn text(&self, pointer: &str) -> String {
        let text = self.started.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{pointer} in {}", self.started)).to_owned()
    }

    fn pid(&self, role: &str) -> String {
        self.started[role]["pid"].to_string()
    }

    /// Reads on until a line fulfils the condition.
    fn until(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let deadline = now() + DEADLINE;
        for line in self.lines.as_mut().expect("somebody reads") {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if condition(&value) {
                return value;
            }
            assert!(now() < deadline, "gave up waiting for {what}; last: {value}");
        }
        panic!("the demonstration ended before: {what}");
    }

    fn more_rows(&mut self, than: &Value) -> Value {
        let before = than["figures"]["confirmed"].as_u64().unwrap();
        self.until("more rows to be confirmed", |value| {
            value["event"] == "status"
                && value["figures"]["confirmed"].as_u64().unwrap() > before + 5
        })
    }

    fn signal(&self, name: &str) {
        kill(name, &self.child.id().to_string());
    }

    /// Waits for its end; the exit code, and that nothing is left.
    fn end(mut self) -> Option<i32> {
        let status = wait_for("the demonstration to end", || self.child.try_wait().unwrap());
        nothing_is_left(self.temporary.path());
        status.code()
    }
}

fn command(temporary: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("demo").args(extra).env("TMPDIR", temporary);
    // A setting of whoever runs the demonstration must not reach its servers.
    command.env("COUNTERPART_LISTEN", "nonsense").env_remove("COUNTERPART_SERVER");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn kill(signal: &str, pid: &str) {
    let status = Command::new("kill").args([&format!("-{signal}"), pid]).status().unwrap();
    assert!(status.success(), "kill -{signal} {pid}");
}

/// No file, and no process that names the directory: neither a server nor the guard.
fn nothing_is_left(temporary: &Path) {
    wait_for("files and processes of the demonstration to be gone", || {
        let files = std::fs::read_dir(temporary).unwrap().count();
        (files == 0 && processes_of(temporary).is_empty()).then_some(())
    });
}

fn processes_of(temporary: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&*temporary.to_string_lossy())).collect()
}

fn count(url: &str, confirmed: u64) -> u64 {
    let sql = format!("select count(*) from work where n <= {confirmed}");
    Client::new(url).database("demo").value(&sql).as_u64().unwrap()
}

#[test]
fn it_ends_by_itself_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = command(temporary.path(), &["--seconds", "3"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for words in
        ["a: Principal, synchronized", "failover --server http", "kill -9 ", ", 0 of them lost"]
    {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    // It waits for the guard itself: nothing is left the moment it has ended.
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    assert_eq!(processes_of(temporary.path()), [""; 0]);
}

#[test]
fn its_figures_are_what_the_servers_hold() {
    let mut demo = Demo::start(&["--seconds", "3"]);
    let (principal, mirror) = (demo.text("/principal/client_url"), demo.text("/mirror/client_url"));
    let shown = demo.until("ten rows", |value| value["figures"]["confirmed"].as_u64() > Some(10));
    let figure = |name: &str| shown["figures"][name].as_u64().unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(count(&principal, figure("confirmed")), figure("confirmed"));
    assert_eq!(count(&mirror, figure("visible_on_mirror")), figure("visible_on_mirror"));
    assert!(figure("written") >= figure("confirmed"), "{shown}");
    assert!(shown["figures"]["lag_ms"].as_f64() > Some(0.0), "{shown}");
    assert_eq!(shown["figures"]["state"], "SYNCHRONIZED");

    let last = demo.until("the end", |value| value["event"] == "ended");
    let figures = &last["figures"];
    assert_eq!(figures["lost"], 0);
    assert_eq!(figures["visible_on_mirror"], figures["confirmed"], "{last}");
    assert_eq!(demo.end(), Some(0));
}

#[test]
fn it_goes_on_after_a_failover_and_after_a_disaster() {
    let mut demo = Demo::start(&[]);
    let (a, b) = (demo.text("/principal/client_url"), demo.text("/mirror/client_url"));
    let is = |index: usize, words: &'static str| {
        move |value: &Value| value["servers"][index]["words"].as_str() == Some(words)
    };
    let shown = demo.until("rows", |value| value["figures"]["confirmed"].as_u64() > Some(0));
    run_cli(Some(&a), &["failover"]).expect_ok(&["failover"]);
    demo.until("b to be principal", is(1, "Principal, synchronized"));
    let shown = demo.more_rows(&shown);
    run_cli(Some(&b), &["failover"]).expect_ok(&["failover"]);
    demo.until("a to be principal", is(0, "Principal, synchronized"));
    let shown = demo.more_rows(&shown);

    kill("9", &demo.pid("principal"));
    let news = demo.until("the news", |value| value["event"] == "news");
    let words = news["words"].as_str().unwrap();
    assert!(
        words.contains("killed with kill -9") && words.contains(&format!("promote --server {b}"))
    );
    demo.until("b to notice", is(1, "Mirror, disconnected"));
    run_cli(Some(&b), &["promote", "--yes"]).expect_ok(&["promote"]);
    let shown = demo.more_rows(&shown);
    assert_eq!(shown["figures"]["lost"], 0, "{shown}");

    demo.until("a to be started again", |value| value["servers"][0]["running"] == true);
    demo.signal("TERM");
    assert_eq!(demo.end(), Some(0));
}

#[test]
fn killed_itself_it_leaves_neither_processes_nor_files() {
    let mut demo = Demo::start(&[]);
    demo.until("rows", |value| value["figures"]["confirmed"].as_u64() > Some(0));
    assert_eq!(processes_of(demo.temporary.path()).len(), 3, "two servers and the guard");
    demo.signal("KILL");
    assert_eq!(demo.end(), None, "it was killed");
}

#[test]
fn it_fails_when_both_servers_have_ended_and_when_nobody_reads() {
    let demo = Demo::start(&[]);
    // Stopped meanwhile, it finds both gone at once.
    demo.signal("STOP");
    kill("9", &demo.pid("principal"));
    kill("9", &demo.pid("mirror"));
    demo.signal("CONT");
    assert_eq!(demo.end(), Some(7));

    let mut demo = Demo::start(&[]);
    demo.lines = None;
    assert_eq!(demo.end(), Some(5));
}
