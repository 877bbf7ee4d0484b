//! What leads a server to each of the points that the code names, and the round around it.

use std::time::Duration;

use serde_json::json;

use crate::{
    run::{Point, Run},
    support::{
        at_rest::{Image, flip_page, main_file},
        clock::now,
        pair::{wait_role, wait_state},
        server::Server,
        wait_for,
    },
};

/// Which server dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Principal,
    Mirror,
}

use Side::{Mirror, Principal};

/// What is done meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scene {
    /// Clients write, and the servers checkpoint.
    Write,
    /// A database is made and dropped.
    Databases,
    /// A file becomes a database.
    Import,
    /// A server with a journal to redo starts.
    Start,
    /// Pages are damaged, and everything is read back.
    Page,
    /// A segment of the journal is damaged, and everything is read back.
    Segment,
    /// An empty server becomes the mirror.
    Seed,
    /// A mirror missed much that few pages hold.
    CatchUp,
    /// A database of the mirror is another one than its journal says.
    Heal,
    /// Planned.
    FailOver,
    /// Forced, after the principal died.
    Promote,
    /// A principal that went on alone comes back and finds another one.
    Depose,
}

/// Who dies where; of several servers the first one surely comes there.
pub const SCENES: &[(Scene, &[Side], &[&str])] = &[
    (Scene::Write, &[Principal], &["checkpoint.marked"]),
    (Scene::Write, &[Mirror], &["replay.committed"]),
    (
        Scene::Write,
        &[Principal, Mirror],
        &["checkpoint.wal_copied", "checkpoint.before_control", "journal.segment_begun"],
    ),
    (Scene::Write, &[Mirror, Principal], &["checkpoint.map_saved", "checkpoint.after_control"]),
    (
        Scene::Databases,
        &[Principal],
        &["create.file_made", "create.journaled", "create.hardened", "create.entered"],
    ),
    (Scene::Databases, &[Principal], &["drop.journaled"]),
    (Scene::Databases, &[Mirror], &["replay.created"]),
    (Scene::Databases, &[Mirror, Principal], &["drop.forgotten"]),
    (Scene::Import, &[Principal], &["import.staged", "import.journaled", "import.renamed"]),
    (Scene::Start, &[Principal, Mirror], &["redo.record", "redo.maps_saved"]),
    (Scene::Start, &[Mirror, Principal], &["redo.files_durable", "redo.entered"]),
    (Scene::Page, &[Mirror, Principal], &["repair.fetched"]),
    (Scene::Page, &[Principal, Mirror], &["repair.written"]),
    // The principal's oldest records are from before the mirror was seeded, which has them not.
    (Scene::Segment, &[Mirror], &["journal.before_mend", "journal.after_mend"]),
    (Scene::Seed, &[Principal], &["seed.marked", "seed.frame_sent", "seed.all_sent"]),
    (
        Scene::Seed,
        &[Mirror],
        &[
            "control.before_seeding",
            "control.after_seeding",
            "seed.before_discard",
            "seed.discarded",
            "seed.catalog_taken",
            "seed.page_written",
            "seed.file_durable",
            "seed.database_done",
            "seed.whole",
            "journal.reset_announced",
            "journal.reset_removed",
        ],
    ),
    (Scene::CatchUp, &[Principal], &["copy.marked", "copy.frame_sent", "copy.tail_sent"]),
    (
        Scene::CatchUp,
        &[Mirror],
        &[
            "copy.spooled",
            "copy.spool_durable",
            "copy.whole",
            "control.before_seeding",
            "control.after_seeding",
            "adopt.begun",
            "adopt.page_written",
            "adopt.files_durable",
            "adopt.catalog_taken",
            "journal.reset_announced",
            "adopt.journal_begun",
            "adopt.tail_taken",
            "redo.record",
            "redo.entered",
            "adopt.before_cleaning",
        ],
    ),
    (
        Scene::Heal,
        &[Mirror],
        &[
            "heal.begun",
            "heal.before_writing",
            "heal.page_written",
            "heal.before_control",
            "heal.opened",
        ],
    ),
    (
        Scene::FailOver,
        &[Principal],
        &["failover.drained", "control.before_handover", "control.after_handover"],
    ),
    (
        Scene::FailOver,
        &[Mirror],
        &["control.before_epoch", "control.after_epoch", "takeover.begun", "takeover.acting"],
    ),
    (
        Scene::Promote,
        &[Mirror],
        &["control.before_epoch", "control.after_epoch", "takeover.begun", "takeover.replayed"],
    ),
    (
        Scene::Depose,
        // It is the mirror of the one that was promoted.
        &[Mirror],
        &[
            "control.before_deposed",
            "control.after_deposed",
            "orphans.begun",
            "orphans.records_saved",
            "orphans.before_rename",
            "orphans.renamed",
        ],
    ),
];

/// How long a scene may take to lead to its point.
const PATIENCE: Duration = Duration::from_secs(30);

impl Run {
    /// A scene in which a server dies at the `count`-th passing of a point, and everything is well again; whether it
    /// did die.
    pub fn play(mut self, scene: Scene, side: Side, name: &str, count: u64) -> (Run, bool) {
        self.set_up(scene, side);
        let told = format!("dies at {name}:{count}\n");
        let before = self.on(side).log().matches(&told).count();
        let on_principal = side == Principal;
        let fault = self.arm(on_principal, &Point::Named(format!("{name}:{count}")));
        assert!(fault.is_none(), "a named point needs nobody outside");
        self.start_others(scene, side);
        let patience = if count == 1 { PATIENCE } else { PATIENCE / 6 };
        let died = self.go_on(scene, side, patience);
        self.end_operator();
        self.disarm(on_principal);
        // It may have come there a moment after it was given up.
        let deaths = self.on(side).log().matches(&told).count() - before;
        assert!(
            deaths == 1 || (deaths == 0 && !died),
            "it died of the point, and of nothing else: {deaths}"
        );
        if scene == Scene::Segment {
            self.put_back(side);
        }
        let healed = self.heal(if scene == Scene::Seed { "seed" } else { "" });
        healed.judge();
        if scene == Scene::Depose {
            let list = healed.pair.mirror.cli_ok(&["orphans", "list", "--json"]);
            assert!(list.contains("\"main\""), "the orphans are kept: {list}");
        }
        (healed, deaths == 1)
    }

    fn on(&self, side: Side) -> &Server {
        if side == Principal { &self.pair.principal } else { &self.pair.mirror }
    }

    /// Everything that comes before the victim is started with its death in it.
    fn set_up(&mut self, scene: Scene, side: Side) {
        match scene {
            Scene::Start => {
                let load = self.load(false);
                load.wait_progress(30);
                self.victim(side == Principal).kill();
                self.stop(load);
            }
            Scene::Page => {
                self.fill_calm();
                let victim = self.victim(side == Principal);
                victim.terminate();
                let path = main_file(victim);
                let pages = std::fs::metadata(&path).unwrap().len() / 4096;
                (pages / 2..pages).step_by(3).for_each(|page| flip_page(&path, page));
            }
            Scene::Seed => {
                self.pair.principal.cli_ok(&["mirror", "stop", "--yes"]);
                wait_role(&self.pair.principal, "standalone");
                self.pair.mirror.kill();
                std::fs::remove_dir_all(self.pair.mirror.data()).unwrap();
            }
            Scene::CatchUp => {
                self.pair.mirror.kill();
                let few = self.pair.principal.client();
                few.script("create table if not exists few(id integer primary key, x blob); insert or ignore into few values (1, null)");
                // More than the journal is sent for without a thought, on two pages.
                let one = "update few set x = randomblob(1000) where id = 1;";
                (0..5).for_each(|_| few.script(&one.repeat(1000)));
            }
            Scene::Heal => self.swap_files(),
            Scene::Depose => {
                self.pair.mirror.kill();
                wait_state(&self.pair.principal, "DISCONNECTED");
                self.bulk();
                self.pair.principal.kill();
                self.pair.mirror.launch();
                wait_state(&self.pair.mirror, "DISCONNECTED");
                self.pair.mirror.cli_ok(&["promote", "--yes"]);
                std::mem::swap(&mut self.pair.principal, &mut self.pair.mirror);
            }
            Scene::Write
            | Scene::Databases
            | Scene::Import
            | Scene::Segment
            | Scene::FailOver
            | Scene::Promote => {}
        }
    }

    /// Data that nobody writes to afterwards, in the files of both: redo would write damaged pages anew.
    fn fill_calm(&self) {
        let client = self.pair.principal.client();
        client.script(
            "create table if not exists calm(x); insert into calm select randomblob(600000)",
        );
        self.wait_in_files();
    }

    /// Waits until the files of both hold everything, so that redo has next to nothing to do.
    fn wait_in_files(&self) {
        self.pair.assert_equal();
        let last = self.pair.principal.status()["journal"]["last"].as_u64().unwrap();
        wait_for("a checkpoint of both", || {
            self.bulk();
            let redo_after = |s: &Server| s.status()["journal"]["redo_after"].as_u64();
            let both = redo_after(&self.pair.principal)?.min(redo_after(&self.pair.mirror)?);
            (both > last).then_some(())
        });
        self.pair.assert_equal();
    }

    /// The mirror gets an older file of a database, with the map that fits it: each page is what its map says, and
    /// the whole is not what the journal says.
    fn swap_files(&mut self) {
        self.pair.mirror.terminate();
        let old = Image::of(&self.pair.mirror);
        self.pair.mirror.launch();
        self.pair.wait_synchronized();
        self.fill_calm();
        self.pair.mirror.terminate();
        old.put_back();
    }

    /// Waits until the victim serves, if it comes so far, and starts whoever else is down.
    fn start_others(&mut self, scene: Scene, side: Side) {
        let victim = self.victim(side == Principal);
        let url = format!("{}/api/v1/status", victim.url());
        wait_for("the victim to answer, or to die", || {
            let answers = crate::support::client::get_json(&url).is_ok();
            let ended = victim.ended().is_some();
            (answers || ended).then_some(())
        });
        let other = self.victim(side != Principal);
        if !other.is_running() {
            other.launch();
        }
        // Where both have to be level before anything can happen.
        if matches!(
            scene,
            Scene::FailOver | Scene::Promote | Scene::Segment | Scene::Databases | Scene::Import
        ) {
            self.pair.wait_synchronized();
        }
    }

    /// Does it, until the victim has died or time is up; whether it did.
    fn go_on(&mut self, scene: Scene, side: Side, patience: Duration) -> bool {
        let load = (!matches!(scene, Scene::Seed | Scene::Depose)).then(|| self.load(true));
        if scene == Scene::Promote {
            load.as_ref().expect("clients write").wait_progress(20);
            self.pair.principal.kill();
        }
        if scene == Scene::Seed {
            self.ask_for_seed();
        }
        let deadline = now() + patience;
        let mut turn = 0;
        let died = loop {
            let victim = self.victim(side == Principal);
            if victim.ended().is_some() || !victim.is_running() {
                break true;
            }
            if now() >= deadline {
                break false;
            }
            self.act(scene, side, turn);
            turn += 1;
        };
        if let Some(load) = load {
            self.stop(load);
        }
        died
    }

    /// A segment that was not mended yet is refused by name at the next start, and is whole again only by somebody's
    /// hand.
    fn put_back(&mut self, side: Side) {
        let path = oldest_segment(self.on(side));
        let victim = self.victim(side == Principal);
        let Err(status) = victim.launch_or_end() else { return };
        let log = victim.log();
        let named = path.file_name().unwrap().to_str().unwrap();
        assert!(log.contains("is damaged at byte") && log.contains(named), "{status}: {log}");
        flip_page(&path, 3);
    }

    /// One step of a scene. Whoever is asked may die meanwhile: that is what this is for.
    fn act(&self, scene: Scene, side: Side, turn: u64) {
        let principal = &self.pair.principal;
        match scene {
            Scene::Write => self.bulk(),
            Scene::Databases => {
                let _made = principal.cli(&["db", "create", "passing"]);
                let _dropped = principal.cli(&["db", "drop", "passing", "--yes"]);
            }
            Scene::Import => {
                let directory = tempfile::tempdir().unwrap();
                let file = directory.path().join("brought.db");
                let made = rusqlite::Connection::open(&file).unwrap();
                made.execute_batch("create table t(x); insert into t values (randomblob(600000))")
                    .unwrap();
                drop(made);
                let file = file.to_str().unwrap();
                let _brought = principal.cli(&["db", "import", file, "--name", "brought"]);
                let _dropped = principal.cli(&["db", "drop", "brought", "--yes"]);
            }
            Scene::Page => scrub(self.on(side)),
            Scene::Segment => {
                if turn == 0 {
                    self.bulk();
                    flip_page(&oldest_segment(self.on(side)), 3);
                }
                scrub(self.on(side));
            }
            Scene::FailOver => {
                let _outcome = principal.cli(&["failover"]);
            }
            Scene::Promote => {
                // Refused until the mirror knows that it is alone.
                let _outcome = self.pair.mirror.cli(&["promote", "--yes"]);
            }
            Scene::Start | Scene::Seed | Scene::CatchUp | Scene::Heal | Scene::Depose => {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// Asks for everything to be read back.
fn scrub(server: &Server) {
    // A server that has died answers nobody.
    let _asked = server.client().post("/api/v1/scrub", &json!({}));
    std::thread::park_timeout(Duration::from_millis(20));
}

fn oldest_segment(server: &Server) -> std::path::PathBuf {
    let listing = std::fs::read_dir(server.data().join("journal")).unwrap();
    let segments = listing.map(|entry| entry.unwrap().path());
    let named = |path: &std::path::PathBuf| path.to_str().unwrap().contains("journal-");
    segments.filter(named).min().expect("there is a journal")
}
