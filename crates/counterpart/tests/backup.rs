//! Backups: made while a server serves, restored into a directory of a new server, refused when damaged.

mod support;

use std::io::{Read, Write};

use serde_json::Value;
use support::{
    pair::{Pair, assert_equal, databases, start_mirroring, wait_synchronized},
    raw,
    server::{Server, refused_with, run_cli},
    wait_for,
    workload::{Workload, assert_has_all, create_table, rows_on},
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A server that is started on what `backup` holds.
fn restored(backup: &str) -> Server {
    let mut server = Server::prepare(&[]);
    let data = server.data();
    run_cli(None, &["restore", backup, "--data", data.to_str().unwrap(), "--json"])
        .expect_ok(&["restore"]);
    server.launch();
    server
}

#[test]
fn a_backup_made_under_load_restores_to_a_server_of_its_own() {
    let server = Server::start();
    create_table(&server);
    server.cli_ok(&["db", "create", "other"]);
    server.client().database("other").run("create table t(x)");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let load = Workload::start(0, 4, &[&server]);
    load.wait_progress(200);
    let before = rows_on(&server);
    let made = json(&server.cli_ok(&["backup", file, "--json"]));
    load.wait_progress(20);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "writes went on");
    let new = restored(file);
    assert_ne!(new.status()["server"], server.status()["server"], "it is a server of its own");
    assert_eq!(databases(&new), databases(&server));
    assert_has_all(&new, &before);
    assert!(rows_on(&new).is_subset(&confirmed), "nothing that was not confirmed");
    assert_eq!(new.client().value("pragma integrity_check"), "ok");
    assert!(made["lsn"].as_u64().unwrap() > 0, "{made}");
    new.client().run("insert into work values (99, 1, '')");
}

#[test]
fn a_mirror_makes_backups_as_well() {
    let pair = Pair::start();
    create_table(&pair.principal);
    let load = Workload::start(0, 4, &[&pair.principal]);
    load.wait_progress(200);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    pair.mirror.cli_ok(&["backup", file]);
    let (confirmed, _failures) = load.stop();
    let new = restored(file);
    assert!(rows_on(&new).is_subset(&confirmed));
    assert_eq!(new.client().value("pragma integrity_check"), "ok");
}

/// A principal that is killed and comes back as mirror, with nothing that the new one lacks, shows events of which it never
/// heard that they are final. Its backup waited for the next event, for ever on a quiet server.
#[test]
fn a_deposed_principal_that_joined_again_makes_backups_at_once() {
    let mut pair = Pair::start();
    create_table(&pair.principal);
    pair.principal.cli_ok(&["failover"]);
    pair.mirror.cli_ok(&["failover"]);
    pair.principal.kill();
    wait_for("the promotion", || {
        (pair.mirror.cli(&["promote", "--yes"]).code == Some(0)).then_some(())
    });
    let mut pair = pair.swapped();
    pair.mirror.launch();
    pair.wait_synchronized();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    pair.mirror.cli_ok(&["backup", file.to_str().unwrap()]);
}

#[test]
fn a_damaged_backup_is_refused_by_name_before_anything_is_written() {
    let server = Server::start();
    create_table(&server);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    server.cli_ok(&["backup", file.to_str().unwrap()]);
    let good = std::fs::read(&file).unwrap();
    let data = dir.path().join("data");
    let restore = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
        run_cli(None, &["restore", file, "--data", data, "--json"])
    };
    for at in (0..good.len()).step_by(good.len() / 16) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let failure = refused_with(restore(&bad), "BACKUP_DAMAGED");
        assert!(failure["error"]["what"].as_str().unwrap().contains("all.backup"), "{failure}");
        assert!(!data.exists(), "nothing was written");
        refused_with(restore(&good[..at]), "BACKUP_DAMAGED");
    }
    restore(&good).expect_ok(&["restore"]);
    refused_with(restore(&good), "NOT_EMPTY");
}

#[test]
fn a_restore_that_was_killed_is_no_data_directory_and_the_next_one_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let origin = principal_with_backup(24, file);
    let mut server = Server::prepare(&[]);
    let data = server.data();
    let restore = ["restore", file, "--data", data.to_str().unwrap(), "--json"];
    let mut killed = std::process::Command::new(env!("CARGO_BIN_EXE_counterpart"))
        .args(restore)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the restore to write a database", || data.join("1.db").exists().then_some(()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!data.join("control").exists(), "it was killed in time");
    assert_eq!(server.launch_or_end().unwrap_err().code(), Some(7));
    assert!(server.log().contains("RESTORE_UNFINISHED"), "{}", server.log());
    assert!(!data.join("control").exists(), "no server was begun on it");
    // What is not a restore's own is not thrown away.
    std::fs::write(data.join("notes"), "mine").unwrap();
    refused_with(run_cli(None, &restore), "NOT_EMPTY");
    std::fs::remove_file(data.join("notes")).unwrap();
    run_cli(None, &restore).expect_ok(&restore);
    server.launch();
    assert_eq!(databases(&server), databases(&origin));
    assert_eq!(server.client().value("pragma integrity_check"), "ok");
    assert!(!data.join("restoring").exists());
}

#[test]
fn a_restore_into_somebody_elses_directory_leaves_it_as_it_was() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    server.cli_ok(&["backup", file.to_str().unwrap()]);
    let (file, data) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    refused_with(run_cli(None, &["restore", file, "--data", data, "--json"]), "NOT_EMPTY");
    let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["all.backup"]);
}

/// A principal with `mib` MiB, a backup of it, and 6,000 events on few pages since then.
fn principal_with_backup(mib: u32, file: &str) -> Server {
    let principal = Server::start();
    create_table(&principal);
    principal.client().run("create table much(id integer primary key, n integer, x blob)");
    for _ in 0..mib {
        principal.client().run(
            "with recursive i(i) as (select 1 union all select i + 1 from i where i < 256)
               insert into much(n, x) select 0, randomblob(4000) from i",
        );
    }
    principal.cli_ok(&["backup", file]);
    for _ in 0..6 {
        principal.client().script(&"update much set n = n + 1 where id = 7;".repeat(1000));
    }
    principal
}

/// Has `mirror` join under load, and sees to it that few pages were sent.
fn join_by_what_differs(principal: &Server, mirror: &Server, extra: &[&str]) {
    let load = Workload::start(0, 2, &[principal]);
    let (p, m) = (principal.url(), mirror.url());
    let mut args = vec!["mirror", "start", "--principal", &p, "--mirror", &m, "--yes"];
    args.extend(extra);
    run_cli(None, &args).expect_ok(&args);
    wait_synchronized(principal);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the principal never stopped");
    assert_has_all(principal, &confirmed);
    let status = principal.status();
    let copies = status["copies"].as_array().unwrap().iter().filter(|c| c["backup"] == false);
    let pages: Vec<u64> = copies.map(|copy| copy["pages"].as_u64().unwrap()).collect();
    assert!(!pages.is_empty(), "it was a copy: {status}");
    assert!(pages.iter().sum::<u64>() < 500, "only what differs was sent: {pages:?}");
    wait_for("the mirror to serve reads", || {
        (mirror.try_status().ok()?["serves_reads"] == true).then_some(())
    });
    assert_equal(principal, mirror);
}

#[test]
fn a_restored_backup_joins_its_origin_by_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let principal = principal_with_backup(8, file);
    let mirror = restored(file);
    // What the restored server wrote by itself is its own: it is kept as orphans.
    join_by_what_differs(&principal, &mirror, &[]);
}

#[test]
fn an_empty_mirror_that_is_given_a_backup_gets_only_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let principal = principal_with_backup(8, file);
    let mirror = Server::start();
    join_by_what_differs(&principal, &mirror, &["--from-backup", file]);
}

#[test]
fn an_empty_mirror_that_is_given_a_plain_sqlite_file_gets_only_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let (backup, plain) = (dir.path().join("all.backup"), dir.path().join("main.db"));
    let principal = principal_with_backup(8, backup.to_str().unwrap());
    principal.cli_ok(&["db", "export", plain.to_str().unwrap()]);
    principal.client().script(&"update much set n = n + 1 where id = 9;".repeat(100));
    let mirror = Server::start();
    // Called like no database it would be of no use, and all of it would be sent twice.
    let misnamed = dir.path().join("we ird.db");
    std::fs::copy(&plain, &misnamed).unwrap();
    let (p, m) = (principal.url(), mirror.url());
    let mut args = vec!["mirror", "start", "--principal", &p, "--mirror", &m, "--yes", "--json"];
    args.extend(["--from-backup", misnamed.to_str().unwrap()]);
    let failure = json(&run_cli(None, &args).stderr);
    assert_eq!(failure["error"]["code"], "INVALID_DATABASE_NAME", "{failure}");
    assert!(failure["error"]["remedy"].as_str().unwrap().contains("main"), "{failure}");
    join_by_what_differs(&principal, &mirror, &["--from-backup", plain.to_str().unwrap()]);
}

/// Copies of the segments of a server's journal, the oldest first.
fn segments(server: &Server, to: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(server.data().join("journal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let kept = paths.filter(|path| name(path).ends_with(".seg") && !name(path).contains("spare"));
    let copied = kept.map(|path| {
        let copy = to.join(name(&path));
        std::fs::copy(&path, &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    });
    let mut all: Vec<String> = copied.collect();
    all.sort();
    all
}

#[test]
fn journal_segments_that_follow_a_backup_bring_it_forward() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let principal = principal_with_backup(24, file);
    // Every page is another one since then; the journal has them all, in more than one segment.
    principal.client().run("update much set x = randomblob(4000)");
    principal.client().run("create table later(x)");
    let mut after = segments(&principal, dir.path());
    assert!(after.len() > 1, "{after:?}");
    let mirror = Server::start();
    after.insert(0, file.to_owned());
    after.insert(0, "--from-backup".to_owned());
    let args: Vec<&str> = after.iter().map(String::as_str).collect();
    join_by_what_differs(&principal, &mirror, &args);
}

#[test]
fn segments_that_do_not_follow_the_backup_are_refused_by_name_and_nothing_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let file = file.to_str().unwrap();
    let principal = principal_with_backup(8, file);
    principal.client().run("update much set x = randomblob(4000)");
    principal.client().run("update much set x = randomblob(4000)");
    let own = segments(&principal, dir.path());
    let (newest, elsewhere) = (own.last().unwrap(), tempfile::tempdir().unwrap());
    let other = principal_with_backup(1, elsewhere.path().join("x").to_str().unwrap());
    let foreign = segments(&other, elsewhere.path());
    let mut bytes = std::fs::read(newest).unwrap();
    bytes[5000] ^= 1;
    let broken = elsewhere.path().join("broken.seg");
    std::fs::write(&broken, bytes).unwrap();
    let mirror = Server::start();
    let (p, m) = (principal.url(), mirror.url());
    for (files, code, named) in [
        (vec![file, newest.as_str()], "SEGMENT_DOES_NOT_FOLLOW", newest.as_str()),
        (vec![file, foreign[0].as_str()], "SEGMENT_DOES_NOT_FOLLOW", foreign[0].as_str()),
        (vec![own[0].as_str()], "SEGMENT_DOES_NOT_FOLLOW", own[0].as_str()),
        (vec![file, broken.to_str().unwrap()], "SEGMENT_DAMAGED", "broken.seg"),
    ] {
        let mut args =
            vec!["mirror", "start", "--principal", &p, "--mirror", &m, "--yes", "--json"];
        args.push("--from-backup");
        args.extend(files);
        let failure = json(&run_cli(None, &args).stderr);
        assert_eq!(failure["error"]["code"], code, "{failure}");
        assert!(failure["error"]["what"].as_str().unwrap().contains(named), "{failure}");
        assert_eq!(mirror.status()["role"], "standalone");
        assert!(!mirror.data().join("spool").exists());
    }
}

/// What came belonged into the spool, which was the receiver's by then.
#[test]
fn a_backup_that_comes_when_the_server_has_joined_already_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let principal = principal_with_backup(1, file.to_str().unwrap());
    let mirror = Server::start();
    let bytes = std::fs::read(&file).unwrap();
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    let address = mirror.url().replace("http://", "");
    let mut upload = raw::connect(&address);
    let head = format!(
        "PUT /api/v1/mirroring/backups/all.backup HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(first).unwrap();
    wait_for("the upload to begin", || {
        std::fs::read_dir(mirror.data().join("staging")).ok()?.next().map(drop)
    });
    start_mirroring(&principal, &mirror, &[]);
    upload.write_all(rest).unwrap();
    let mut answer = vec![0; 4096];
    let read = upload.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.contains("WRONG_ROLE"), "{answer}");
    assert!(!mirror.data().join("spool").exists());
    assert_equal(&principal, &mirror);
}

#[test]
fn a_damaged_backup_is_refused_by_the_mirror_to_be_and_nothing_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("all.backup");
    let principal = principal_with_backup(1, file.to_str().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let mirror = Server::start();
    let (p, m) = (principal.url(), mirror.url());
    let mut args = vec!["mirror", "start", "--principal", &p, "--mirror", &m, "--yes", "--json"];
    args.extend(["--from-backup", file.to_str().unwrap()]);
    let failure = refused_with(run_cli(None, &args), "BACKUP_DAMAGED");
    assert!(failure["error"]["what"].as_str().unwrap().contains("all.backup"), "{failure}");
    assert_eq!(mirror.status()["role"], "standalone");
    assert_eq!(principal.status()["role"], "standalone");
    assert!(!mirror.data().join("spool").exists());
}

#[test]
fn a_backup_may_go_into_a_pipe_and_one_that_comes_out_of_a_pipe_is_refused_for_that() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (pipe, passed, data) = (at("pipe"), at("passed.backup"), at("data"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| std::fs::read(&pipe).unwrap());
        server.cli_ok(&["backup", &pipe]);
        std::fs::write(&passed, reader.join().unwrap()).unwrap();
    });
    let restore = |from: &str| run_cli(None, &["restore", from, "--data", &data, "--json"]);
    // They are read more than once: nothing was left for the second time, and it was called damaged.
    for outcome in [restore(&pipe), server.cli(&["db", "import", &pipe, "--json"])] {
        let failure = refused_with(outcome, "LOCAL_FILE");
        assert!(failure["error"]["remedy"].as_str().unwrap().contains("pipe"), "{failure}");
    }
    restore(&passed).expect_ok(&["restore"]);
}
