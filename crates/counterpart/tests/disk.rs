//! Disks that fill up. Each test needs a file system of its own and is skipped, with the reason, where the machine does
//! not allow that.

mod support;

use serde_json::{Value, json};
use support::{
    fs::SmallFs,
    pair::{assert_equal, partner, start_mirroring, wait_state, wait_synchronized},
    server::Server,
    wait_for,
    workload::{Workload, assert_has_all, create_table},
};

/// A server whose data is on `fs`.
fn server_on(fs: &SmallFs, extra: &[&str]) -> Server {
    let mut server = Server::prepare(extra);
    server.data_dir = Some(fs.path().join("data"));
    server.launch();
    server
}

/// Inserts 1 MB rows until a write is refused; how many were confirmed, and the refusal.
fn write_until_refused(server: &Server) -> (u64, support::client::Failure) {
    let client = server.client();
    for n in 0..2_000 {
        if let Err(failure) = client.execute("insert into bulk values(randomblob(1000000))", &[]) {
            return (n, failure);
        }
    }
    panic!("2 GB fit on a small disk");
}

#[test]
fn a_full_disk_refuses_writes_before_the_commit_and_reads_go_on() {
    let Some(fs) = SmallFs::make(400) else { return };
    let mut server = server_on(&fs, &["--checkpoint-bytes", "16MiB", "--retention-bytes", "64MiB"]);
    server.client().run("create table bulk(x blob)");
    create_table(&server);
    let (confirmed, failure) = write_until_refused(&server);
    assert!(confirmed > 20, "only {confirmed} rows");
    assert!(failure.is_refusal(), "{failure:?}\n{}", server.log());
    // Or a checkpoint met the full disk first: then the message says that a restart is due.
    let told = match failure.code.as_str() {
        "SQLITE_FULL" | "DISK_FULL" => true,
        "JOURNAL_FAILED" => failure.message.contains("full") && failure.message.contains("restart"),
        _ => false,
    };
    assert!(told, "{failure:?}\n{}", server.log());
    let count = || server.client().value("select count(*) from bulk");
    assert_eq!(count(), json!(confirmed), "reads go on, and nothing confirmed is lost");
    let status = server.status();
    assert_eq!(status["role"], "standalone", "the server itself goes on: {status}");
    assert!(!server.log().contains("panicked"), "{}", server.log());

    // What frees space for SQLite frees none on the disk; another file that goes does.
    server.kill();
    server.launch();
    assert_eq!(server.client().value("select count(*) from bulk"), json!(confirmed));
    assert_eq!(server.client().value("pragma integrity_check"), json!("ok"));
}

#[test]
fn writes_go_on_when_space_is_freed() {
    let Some(fs) = SmallFs::make(500) else { return };
    let server = server_on(&fs, &[]);
    server.client().run("create table bulk(x blob)");
    let ballast = fs.fill(0);
    let (confirmed, failure) = write_until_refused(&server);
    assert!(["SQLITE_FULL", "DISK_FULL"].contains(&failure.code.as_str()), "{failure:?}");
    assert!(failure.message.to_lowercase().contains("full"), "{failure:?}");
    std::fs::remove_file(ballast).unwrap();
    let insert = || server.client().execute("insert into bulk values(randomblob(1000000))", &[]);
    wait_for("writes to be taken again", || insert().ok());
    let count = server.client().value("select count(*) from bulk");
    assert_eq!(count, json!(confirmed + 1));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn a_full_disk_of_the_mirror_does_not_stop_the_principal() {
    let Some(fs) = SmallFs::make(1000) else { return };
    let principal = Server::start_with(&["--partner-timeout", "1s"]);
    let mut mirror = server_on(&fs, &["--partner-timeout", "1s"]);
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    create_table(&principal);
    principal.client().run("create table bulk(x blob)");
    assert_equal(&principal, &mirror);
    let ballast = fs.fill(0);
    let load = Workload::start(0, 2, &[&principal]);
    for _ in 0..200 {
        principal.client().run("insert into bulk values(randomblob(1000000))");
    }
    wait_state(&principal, "DISCONNECTED");
    load.wait_progress(50);
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, [], "the principal goes on");
    assert_has_all(&principal, &confirmed);
    let told = mirror.status();
    let error = told["mirroring"]["last_error"].to_string();
    assert!(error.contains("pace") || error.contains("full"), "the mirror says why: {told}");
    assert!(mirror.client().value("select count(*) from bulk").is_u64(), "its reads go on");

    // With space again, and a restart as its message says, it catches up by itself.
    std::fs::remove_file(ballast).unwrap();
    mirror.kill();
    mirror.launch();
    wait_synchronized(&principal);
    wait_state(&mirror, "SYNCHRONIZED");
    assert_equal(&principal, &mirror);
    assert_has_all(&mirror, &confirmed);
}

/// A batch that met the full disk was replay's end until a restart. Tried again, it must not apply to the databases that
/// took their part of it what they show already.
#[test]
fn a_mirror_whose_disk_has_room_again_applies_on_by_itself() {
    let Some(fs) = SmallFs::make(400) else { return };
    let (principal, mirror) = (Server::start(), server_on(&fs, &[]));
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    principal.cli_ok(&["db", "create", "other"]);
    let other = principal.client().database("other");
    other.run("create table bulk(x blob)");
    // Two rows, each on a page of its own.
    principal.client().script(
        "create table t(id integer primary key, v integer, filler blob);
         insert into t values (0, 0, zeroblob(3500)), (1, 0, zeroblob(3500))",
    );
    assert_equal(&principal, &mirror);
    let stopped = |status: Value| status["mirroring"]["replay_stopped"].clone();
    let ballast = fs.fill(400);
    // Not so large that one is applied by itself.
    for _ in 0..6 {
        other.run("insert into bulk values(randomblob(400000))");
    }
    let why = wait_for("the mirror to say that it stands still", || {
        stopped(mirror.status()).as_str().map(str::to_owned)
    });
    assert!(why.contains("full") && why.contains("by itself"), "{why}");
    assert_eq!(mirror.status()["mirroring"]["last_error"]["code"], "APPLY_FAILED");
    wait_for("the principal to know", || {
        partner(&principal, &mirror)["replay_stopped"].is_string().then_some(())
    });
    let commit = |nth: u64| {
        principal.client().run(&format!("update t set v = {nth} where id = {}", nth % 2));
    };
    (1..20).for_each(commit);
    // Room for these, which come first in each batch that is tried, and not for the rest.
    let file = std::fs::File::options().write(true).open(&ballast).unwrap();
    file.set_len(file.metadata().unwrap().len() - (300 << 10)).unwrap();
    drop(file);
    wait_for("a batch to be applied by half", || {
        (mirror.client().value("select max(v) from t").as_u64()? > 0).then_some(())
    });
    (20..40).for_each(commit);
    std::fs::remove_file(ballast).unwrap();
    assert_equal(&principal, &mirror);
    wait_for("nobody to stand still", || stopped(mirror.status()).is_null().then_some(()));
    wait_for("the principal to know that", || {
        partner(&principal, &mirror)["replay_stopped"].is_null().then_some(())
    });
    assert!(!mirror.data().join("damage").exists(), "nothing differed");
    assert!(!mirror.log().contains("panicked"), "{}", mirror.log());
}

#[test]
fn a_server_can_be_started_and_read_on_a_full_disk() {
    let Some(fs) = SmallFs::make(300) else { return };
    let mut server = server_on(&fs, &[]);
    create_table(&server);
    server.client().run("insert into work values(1, 1, 'x')");
    fs.fill(0);
    for round in 1..=3 {
        server.kill();
        server.launch();
        assert_eq!(server.client().value("select count(*) from work"), json!(1), "round {round}");
    }
    assert_eq!(server.status()["role"], "standalone");
}
