//! A file that is ahead of where redo begins: what redo builds upon must not be what the file holds.
#![allow(missing_docs)]

mod support;

use serde_json::json;
use support::{server::Server, stream::Stream, wait_for};

fn redo_after(server: &Server) -> u64 {
    server.status()["journal"]["redo_after"].as_u64().unwrap()
}

/// A reader keeps a checkpoint from being complete: the file has what it saw, and redo begins before that.
#[test]
fn a_server_that_is_killed_after_half_a_checkpoint_has_everything() {
    let mut server = Server::start_with(&["--checkpoint-bytes", "1MiB"]);
    let client = server.client();
    client.script(
        "create table t(id integer primary key, v text); create table filler(v blob);
         with recursive n(i) as (select 1 union all select i + 1 from n where i < 100)
         insert into t select i, 'row ' || i from n",
    );
    let before = server.status()["journal"]["last"].as_u64().unwrap();
    client.run("insert into filler values (randomblob(2000000))");
    wait_for("a checkpoint", || (redo_after(&server) > before).then_some(()));
    let begin = redo_after(&server);
    // What follows in the page moves, so that a second time is not like the first.
    client.run("delete from t where id = 50");
    let mut reader = Stream::on(&client);
    reader.run("begin");
    assert_eq!(reader.value("select count(*) from t"), json!(99));
    let saved = std::fs::metadata(server.data().join("1.db")).unwrap().modified().unwrap();
    client.run("insert into filler values (randomblob(2000000))");
    wait_for("half a checkpoint", || {
        let now = std::fs::metadata(server.data().join("1.db")).unwrap().modified().unwrap();
        (now > saved).then_some(())
    });
    assert_eq!(redo_after(&server), begin, "the reader was in its way");
    server.kill();
    server.launch();
    assert_eq!(server.client().value("select count(*) from t"), json!(99));
}
