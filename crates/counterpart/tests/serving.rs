//! `counterpart serve` as a process: its settings, its lock, its end by signal or by crash, and what is there
//! afterwards.

mod support;

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    client::Client,
    pair::{Pair, assert_equal, start_mirroring, wait_state, wait_synchronized},
    raw,
    server::{BINARY, Server},
    socket::Socket,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

/// Runs a command that ends by itself.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_flag_outranks_the_environment_which_outranks_the_file_which_outranks_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("counterpart.toml");
    std::fs::write(
        &file,
        "data = \"/from/file\"\nstream-idle = \"7s\"\nlog = \"json\"\nrequire-mirror = true\n",
    )
    .unwrap();
    let mut command = Command::new(BINARY);
    command
        .args(["config", "--json", "--stream-idle", "9s", "--config"])
        .arg(&file)
        .env("COUNTERPART_STREAM_IDLE", "8s")
        .env("COUNTERPART_LOG", "text");
    let (code, out, err) = run(&mut command);
    assert_eq!(code, Some(0), "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    let path = file.to_str().unwrap();
    for (name, value, from) in [
        ("stream-idle", "9s", "--stream-idle"),
        ("log", "text", "COUNTERPART_LOG"),
        ("data", "/from/file", path),
        ("partner-timeout", "10s", "default"),
    ] {
        assert_eq!(shown[name], json!({"value": value, "from": from}), "{name}");
    }
    assert_eq!(shown["require-mirror"]["from"], path);

    // For people the same, as a table.
    let (_, table, _) = run(Command::new(BINARY).arg("config").env("COUNTERPART_LOG", "json"));
    assert!(table.lines().any(|l| l.contains("log") && l.contains("COUNTERPART_LOG")), "{table}");
}

#[test]
fn a_server_serves_with_what_the_file_and_the_environment_say() {
    let server = Server::prepare(&[]);
    let file = server.data().with_extension("toml");
    let ready = server.data().with_extension("ready");
    std::fs::write(
        &file,
        format!(
            "data = {:?}\nlisten = \"{}:{}\"\npartner-listen = \"{}:0\"\n",
            server.data(),
            server.address,
            server.port,
            server.address
        ),
    )
    .unwrap();
    let mut command = Command::new(BINARY);
    command
        .arg("serve")
        .env("COUNTERPART_CONFIG", &file)
        .env("COUNTERPART_READY_FILE", &ready)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the ready file", || ready.exists().then_some(()));
    let told: Value = serde_json::from_str(&std::fs::read_to_string(&ready).unwrap()).unwrap();
    assert_eq!(told["pid"], child.id());
    assert_eq!(told["client_url"], server.url());
    assert_eq!(server.client().value("select 1"), json!(1));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    let data = dir.path().join("data");
    for (text, named) in [
        ("no-such-setting = 1", "no-such-setting"),
        ("stream-idle = \"soon\"", "stream-idle"),
        ("partner-timeout = \"10ms\"", "partner-timeout"),
        ("listen = \"nowhere\"", "listen"),
        ("this is not toml", "wrong.toml"),
    ] {
        std::fs::write(&file, text).unwrap();
        let (code, _, err) = run(Command::new(BINARY)
            .args(["serve", "--data"])
            .arg(&data)
            .arg("--config")
            .arg(&file));
        assert_eq!(code, Some(2), "{text}: {err}");
        assert!(err.contains(named), "{text}: {err}");
        assert!(!data.exists(), "nothing was made");
    }
    let (code, _, err) = run(Command::new(BINARY).args(["serve", "--config", "/no/such/file"]));
    assert_eq!(code, Some(2));
    assert!(err.contains("/no/such/file"), "{err}");
    let (code, _, err) = run(Command::new(BINARY).arg("serve"));
    assert_eq!(code, Some(2));
    assert!(err.contains("--data"), "it says how to name the directory: {err}");
}

#[test]
fn addresses_other_than_loopback_are_refused_unless_insecure_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for flag in ["--listen", "--partner-listen"] {
        let (code, _, err) =
            run(Command::new(BINARY).args(["serve", flag, "0.0.0.0:0", "--data"]).arg(&data));
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("--insecure") && err.contains("0.0.0.0"), "{err}");
        assert!(!data.exists(), "nothing was made");
    }
    // With TLS and tokens clients are served without it; what it allows is said loudly.
    let insecure = &["--insecure", "--partner-listen", "0.0.0.0:0", "--partner-advertise", "db1:1"];
    for (number, (more, warnings)) in
        [(&["--require-token", "--partner-listen", "127.0.0.1:0"][..], 0), (insecure, 2)]
            .into_iter()
            .enumerate()
    {
        let path = |name: &str| dir.path().join(format!("{name}{number}"));
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "0.0.0.0:0", "--advertise", "https://db1"]).args(more);
        command.arg("--data").arg(path("data")).arg("--ready-file").arg(path("ready"));
        let log = std::fs::File::create(path("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        wait_for("the server", || path("ready").exists().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        let log = std::fs::read_to_string(path("log")).unwrap();
        assert_eq!(log.matches("--insecure: whoever reaches").count(), warnings, "{log}");
        assert!(path("data").join("tls/key.pem").exists());
    }
}

#[test]
fn a_second_server_on_the_same_data_directory_is_refused_with_the_pid_of_the_first() {
    let first = Server::start();
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--partner-listen", "127.0.0.1:0"]);
    let (code, _, err) = run(command.arg("--data").arg(first.data()));
    assert_eq!(code, Some(7), "{err}");
    assert!(err.contains(&first.pid().to_string()), "it names the first server's process: {err}");
    assert_eq!(first.client().value("select 1"), json!(1));
}

#[test]
fn an_address_in_use_is_named() {
    let first = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    let taken = format!("{}:{}", first.address, first.port);
    command.args(["serve", "--listen", &taken, "--partner-listen", "127.0.0.1:0", "--data"]);
    let (code, _, err) = run(command.arg(dir.path().join("data")));
    assert_eq!(code, Some(7), "{err}");
    assert!(err.contains(&taken) && err.contains("--listen"), "{err}");
}

/// A statement that takes a while, and then inserts one row.
fn slow_insert(rows: u64) -> String {
    format!(
        "insert into work select 1, count(*), 'slow' from
           (with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
              select i from n)"
    )
}

#[test]
fn a_running_request_finishes_when_the_server_is_asked_to_end() {
    let mut server = Server::start();
    create_table(&server);
    let client = server.client();
    let slow = std::thread::spawn(move || client.execute(&slow_insert(2_000_000), &[]));
    wait_for("the statement to run", || {
        let readers = server.status()["readers"].as_array().map_or(0, Vec::len);
        (readers > 0 || slow.is_finished()).then_some(())
    });
    let status = server.terminate();
    assert!(status.success(), "{status}\n{}", server.log());
    let outcome = slow.join().unwrap();
    assert!(outcome.is_ok(), "{outcome:?}\n{}", server.log());
    server.launch();
    assert_eq!(server.client().value("select n from work"), json!(2_000_000));
}

#[test]
fn a_request_over_websocket_is_answered_before_the_server_ends() {
    let mut server = Server::start();
    create_table(&server);
    let mut socket = Socket::with_streams(&server, 1);
    let id = socket.send_sql(1, &slow_insert(2_000_000));
    wait_for("the statement to run", || {
        let readers = server.status()["readers"].as_array().map_or(0, Vec::len);
        (readers > 0).then_some(())
    });
    let status = server.terminate();
    assert!(status.success(), "{status}\n{}", server.log());
    let outcome = socket.answer(id);
    assert!(outcome.is_ok(), "{outcome:?}\n{}", server.log());
    server.launch();
    assert_eq!(server.client().value("select n from work"), json!(2_000_000));
}

/// `counterpart serve 2>&1 | tee log`, and `tee` is killed: what the logger could not write it complained about on
/// standard error, and panicked, because that was gone as well.
#[test]
fn a_server_whose_log_nobody_reads_goes_on_and_ends_in_order() {
    for form in ["text", "json"] {
        let server = Server::prepare(&["--log", form]);
        let mut child = server.command().stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the server to answer", || server.try_status().ok());
        drop(child.stderr.take());
        // Something to complain about.
        raw::exchange(&server.partner_address(), b"GET / HTTP/1.1\r\n\r\n");
        create_table(&server);
        let killed = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
        assert!(killed.unwrap().success());
        let status = wait_for("the server to end", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{form}: {status}");
    }
}

#[test]
fn a_server_under_load_ends_in_order_and_has_everything_confirmed_afterwards() {
    let mut server = Server::start();
    create_table(&server);
    for round in 0..3 {
        let load = Workload::start(round * 8, 8, &[&server]);
        load.wait_progress(100);
        let status = server.terminate();
        let (confirmed, _) = load.stop();
        assert_eq!(status.code(), Some(0), "{}", server.log());
        server.launch();
        assert_has_all(&server, &confirmed);
    }
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("cut off"), "{log}");
}

#[test]
fn an_open_transaction_and_idle_clients_do_not_hold_up_the_end() {
    let mut server = Server::start_with(&["--stream-idle", "60s"]);
    create_table(&server);
    let begin = json!([{"type": "execute", "stmt": {"sql": "begin immediate"}},
        {"type": "execute", "stmt": {"sql": "insert into work values(1, 1, 'open')"}}]);
    let (outcomes, _baton) = server.client().pipeline(None, &begin).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let address = format!("{}:{}", server.address, server.port);
    let _idle = raw::connect(&address);
    let mut half = raw::connect(&address);
    half.write_all(b"POST /v2/pipeline HTTP/1.1\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let mut websocket = raw::connect(&address);
    let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: hrana2\r\n\r\n";
    websocket.write_all(upgrade.as_bytes()).unwrap();
    let mut answer = [0; 12];
    websocket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101", "{answer:?}");
    let before = support::clock::now();
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(before.elapsed() < Duration::from_secs(15), "it took {:?}", before.elapsed());
    server.launch();
    assert_eq!(server.client().value("select count(*) from work"), json!(0), "it was rolled back");
}

#[test]
fn a_principal_and_a_mirror_with_a_busy_link_end_in_order() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    let load = Workload::start(0, 8, &[&pair.principal]);
    load.wait_progress(100);
    assert_eq!(pair.mirror.terminate().code(), Some(0), "{}", pair.mirror.log());
    wait_state(&pair.principal, "DISCONNECTED");
    load.wait_progress(100);
    pair.mirror.launch();
    pair.wait_synchronized();
    load.wait_progress(100);
    assert_eq!(pair.principal.terminate().code(), Some(0), "{}", pair.principal.log());
    let (confirmed, _) = load.stop();
    assert_has_all(&pair.mirror, &confirmed);
    pair.principal.launch();
    pair.wait_synchronized();
    pair.assert_equal();
    assert_has_all(&pair.principal, &confirmed);
}

#[test]
fn repeated_kills_while_checkpoints_and_marks_happen_lose_nothing_confirmed() {
    let mut server = Server::start_with(&["--checkpoint-bytes", "1MiB"]);
    create_table(&server);
    server.client().run("create table bulk(id integer primary key, x blob)");
    let mut all = std::collections::BTreeSet::new();
    for round in 0..8 {
        let load = Workload::start(round * 4, 4, &[&server]);
        let redo_began = redo_after(&server);
        let mut inserted = 0;
        for _ in 0..4 + round {
            server.client().run(
                "with recursive n(i) as (select 1 union all select i + 1 from n where i < 20)
                   insert into bulk(x) select randomblob(40000) from n",
            );
            inserted += 20;
        }
        let total = server.client().value("select count(*) from bulk").as_u64().unwrap();
        assert!(total >= inserted);
        load.wait_progress(20 + round * 7);
        if round % 2 == 1 {
            wait_for("a checkpoint", || (redo_after(&server) > redo_began).then_some(()));
            load.wait_progress(round);
        }
        server.kill();
        all.extend(load.stop().0);
        server.launch();
        assert_has_all(&server, &all);
        assert_eq!(server.client().value("select count(*) from bulk"), json!(total));
        assert_eq!(server.client().value("pragma integrity_check"), json!("ok"));
        if round % 2 == 1 {
            server.client().run("delete from bulk");
        }
    }
}

fn redo_after(server: &Server) -> u64 {
    server.status()["journal"]["redo_after"].as_u64().unwrap()
}

/// Writes about `mib` MiB of journal that does not compress, over and over the same pages.
fn churn(client: &Client, mib: u64) {
    client.run("create table if not exists churn(id integer primary key, x blob)");
    for i in 0..mib {
        let sql = "insert into churn values(?, randomblob(1000000))
             on conflict(id) do update set x = excluded.x";
        client.execute(sql, &[json!(i % 4)]).unwrap();
    }
}

fn journal_mib(server: &Server) -> u64 {
    server.status()["journal"]["bytes"].as_u64().unwrap() >> 20
}

#[test]
fn the_journal_stays_bounded_and_a_mirror_that_was_away_too_long_is_seeded_anew() {
    let settings = ["--retention-bytes", "64MiB", "--checkpoint-bytes", "4MiB"];
    let mut pair = Pair::start_with(&settings, &[]);
    create_table(&pair.principal);
    for _ in 0..4 {
        churn(&pair.principal.client(), 90);
        pair.assert_equal();
    }
    // The limit, the segment that is written to, and what was written since the last look.
    for server in [&pair.principal, &pair.mirror] {
        wait_for("the journal to shrink", || (journal_mib(server) <= 192).then_some(()));
        assert!(server.status()["journal"]["first"].as_u64().unwrap() > 1, "it was cut");
    }
    let log = pair.principal.log();
    assert!(!log.contains("had not received"), "nothing was cut that the mirror lacked: {log}");

    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    for _ in 0..4 {
        churn(&pair.principal.client(), 90);
    }
    wait_for("the journal to shrink", || (journal_mib(&pair.principal) <= 192).then_some(()));
    pair.mirror.launch();
    let load = Workload::start(0, 2, &[&pair.principal]);
    load.wait_progress(20);
    pair.wait_synchronized();
    load.wait_progress(20);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    pair.assert_equal();
    assert_has_all(&pair.mirror, &confirmed);
    assert!(pair.mirror.log().contains("a seed begins"), "{}", pair.mirror.log());
}

#[test]
fn a_mirror_that_joins_a_principal_with_a_shortened_journal_gets_everything() {
    let settings = ["--retention-bytes", "64MiB", "--checkpoint-bytes", "4MiB"];
    let mut principal = Server::start_with(&settings);
    create_table(&principal);
    churn(&principal.client(), 300);
    wait_for("the journal to shrink", || (journal_mib(&principal) <= 192).then_some(()));
    principal.kill();
    principal.launch();
    let mirror = Server::start_with(&settings);
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    assert_equal(&principal, &mirror);
}

/// With the limit that most systems begin with, less than 200 databases used up all files that a server might open.
#[test]
fn a_server_may_open_as_many_files_as_the_system_allows_it() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let half = limit.maximum.map(|most| most / 2);
    setrlimit(Resource::Nofile, Rlimit { current: half, maximum: limit.maximum }).unwrap();
    let server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<_> = files.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{files}");
    assert_eq!(words[4].parse().ok(), limit.maximum, "{files}");
}
