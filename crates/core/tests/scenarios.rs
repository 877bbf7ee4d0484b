//! Scenario transcripts: each file in `scenarios/` tells a story in commands; the transcript beside it (`.snap`)
//! shows every action of every server. Bless a changed transcript with `INSTA_UPDATE=always cargo test`.

mod world;

use std::{fmt::Write as _, fs, path::Path};

use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, ServerId,
    message::{Envelope, Message, Safety, SeedContents, SeedProgress},
    session::{Command, Event, PairState, Rejoin},
};
use world::{Frame, Thread, World};

#[test]
fn every_scenario_reads_as_blessed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "the scenarios are where they were");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("scenarios");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let transcript = play(&fs::read_to_string(&path).unwrap());
        settings.bind(|| insta::assert_snapshot!(name.as_str(), transcript));
    }
}

/// Plays a scenario; the result repeats its lines with what happened below each.
fn play(script: &str) -> String {
    let mut world = World::new(false);
    for line in script.lines() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(world.log, "{line}").unwrap();
            continue;
        }
        writeln!(world.log, "> {line}").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        command(&mut world, &words);
    }
    world.log
}

fn command(world: &mut World, words: &[&str]) {
    let at = |world: &World, i: usize| world.index(words[i]);
    let has = |word: &str| words.contains(&word);
    let safety = if has("off") { Safety::Off } else { Safety::Full };
    match words[0] {
        "servers" => words[1..].iter().for_each(|name| world.add_server(name)),
        "start" => words[1..].iter().for_each(|name| {
            let index = world.index(name);
            world.start(index);
        }),
        "crash" => world.crash(at(world, 1)),
        "add" => world.add_partner(at(world, 1), at(world, 2), safety, has("require")),
        "join" => world.join(at(world, 1), at(world, 2), has("replace"), has("holding-data")),
        "pair" => {
            world.add_partner(at(world, 1), at(world, 2), safety, has("require"));
            world.run();
            world.join(at(world, 2), at(world, 1), has("replace"), false);
        }
        // Long preparations that another scenario shows already.
        "quietly" => {
            world.quiet = true;
            command(world, &words[1..]);
            world.run();
            world.quiet = false;
            return;
        }
        "write" => {
            let (index, count) = (at(world, 1), words.get(2).map_or(1, |n| n.parse().unwrap()));
            for _ in 0..count {
                let let_in = world.write(index);
                let line = if let_in { "client: written" } else { "client: not let" };
                world.note(index, line);
            }
        }
        "hold" => hold(world, words, true),
        "release" => hold(world, words, false),
        "cut" | "heal" => network(world, words),
        "drop" => world.drop_links(at(world, 1), at(world, 2)),
        "advance" => world.advance(words[1].parse().unwrap()),
        "prune" => prune(world, words),
        "journal-fails" => {
            world.event(at(world, 1), Event::JournalFailed("No space left on device".into()));
        }
        "stale" => return stale(world, at(world, 1), at(world, 2)),
        "replay" => replay(world, words),
        "status" => return world.show_status(at(world, 1)),
        "show" => return world.show_all(),
        _ if fate(world, words) => {}
        _ => operator(world, words),
    }
    if !has("without-running") {
        world.run();
    }
}

/// What befalls a server, its disk or its pages. Returns whether the line tells of such a thing.
fn fate(world: &mut World, words: &[&str]) -> bool {
    let at = |world: &World, i: usize| world.index(words[i]);
    match words[0] {
        "checkpoint" => world.checkpoint(at(world, 1)),
        "costs" => {
            let cost = |i: usize| words[i].parse().unwrap();
            let index = at(world, 1);
            world.nodes[index].costs = (cost(2), cost(3));
        }
        "image" => world.take_image(at(world, 1)),
        "restore" => assert!(world.restore_image(at(world, 1)), "there is an image"),
        "join-with-data" => world.join_with_data(at(world, 1), at(world, 2)),
        "orphans-fail" => {
            let index = at(world, 1);
            world.nodes[index].orphans_fail = true;
        }
        "differs" => world.differ(at(world, 1), DatabaseId(words[2].parse().unwrap())),
        "heal-fails" => {
            let index = at(world, 1);
            world.nodes[index].heal_fails += 1;
        }
        "damaged" | "has" => page(world, words),
        "replay-stops" => {
            world.event(at(world, 1), Event::ReplayFailed("Input/output error".into()));
        }
        "replay-goes-on" => world.event(at(world, 1), Event::ReplayGoesOn),
        "manual" => words[1..].iter().for_each(|name| {
            let index = world.index(name);
            world.nodes[index].rejoin = Rejoin::Manual;
        }),
        _ => return false,
    }
    true
}

/// `has a 7`: a has a page of that hash; `damaged a 7`: a lacks it.
fn page(world: &mut World, words: &[&str]) {
    let (index, hash) = (world.index(words[1]), words[2].parse().unwrap());
    if words[0] == "has" {
        world.nodes[index].pages.insert(hash, vec![7; 512]);
        return;
    }
    let (database, page) = (DatabaseId(1), PageNo(3));
    world.event(index, Event::PageDamaged { database, page, hash });
}

fn operator(world: &mut World, words: &[&str]) {
    let index = world.index(words[1]);
    let named = words.get(2).filter(|word| !["off", "full", "require", "force"].contains(word));
    let partner = named.map(|name| world.nodes[world.index(name)].server);
    let command = match words[0] {
        "rejoin" => Command::Rejoin,
        "cancel-join" => Command::CancelJoin,
        "failover" => Command::Failover(partner),
        "promote" => {
            world.nodes[index].promoting = true;
            Command::Promote { force: words.contains(&"force") }
        }
        "suspend" => Command::Suspend(partner),
        "resume" => Command::Resume(partner),
        "stop" => Command::StopMirroring(partner),
        "safety" => Command::SetSafety {
            safety: if words.contains(&"off") { Safety::Off } else { Safety::Full },
            require_mirror: words.contains(&"require"),
        },
        other => panic!("no command {other:?}"),
    };
    world.command(index, command);
}

fn hold(world: &mut World, words: &[&str], hold: bool) {
    let index = world.index(words[1]);
    for word in &words[2..] {
        let thread = match *word {
            "persist" => Thread::Persist,
            "engine" => Thread::Engine,
            "journal" => Thread::Journal,
            "net" => Thread::Net,
            "seed" => Thread::Seed,
            "harden" => {
                world.nodes[index].hold_harden = hold;
                continue;
            }
            other => panic!("no thread {other:?}"),
        };
        if hold {
            world.nodes[index].held.insert(thread);
        } else {
            world.nodes[index].held.remove(&thread);
        }
    }
}

/// `cut a b` both ways, `cut a to b` one way.
fn network(world: &mut World, words: &[&str]) {
    let one_way = words[2] == "to";
    let (a, b) = (world.index(words[1]), world.index(words[if one_way { 3 } else { 2 }]));
    let ways = if one_way { vec![(a, b)] } else { vec![(a, b), (b, a)] };
    for way in ways {
        if words[0] == "cut" {
            world.cut.insert(way);
        } else {
            world.cut.remove(&way);
        }
    }
}

fn prune(world: &mut World, words: &[&str]) {
    let (index, after) = (world.index(words[1]), Lsn(words[2].parse().unwrap()));
    let journal = &mut world.nodes[index].disk.journal;
    journal.recs = journal.after(after).to_vec();
    journal.base = after;
    world.event(index, Event::Pruned(after));
}

/// Delivers the last frames that a server received once more, in reverse order.
fn replay(world: &mut World, words: &[&str]) {
    let (index, count) = (world.index(words[1]), words[2].parse::<usize>().unwrap());
    let received = world.nodes[index].received.clone();
    for (link, frame) in received.into_iter().rev().take(count) {
        let what = match &frame {
            Frame::Message(envelope) => envelope.message.name(),
            Frame::Records(_) => "records",
            Frame::Seed(..) | Frame::Pages(_) | Frame::Close => continue,
        };
        world.note(index, &format!("receives {what} again"));
        world.receive(index, link, frame);
        world.run();
    }
}

/// What a server does with every message that carries an epoch that has passed, each on a link of its own.
fn stale(world: &mut World, to: usize, from: usize) {
    let index_of = |world: &World| {
        let ends = |ends: [usize; 2]| ends.iter().position(|&end| end == to);
        world
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends.contains(&from) && conn.open == [true; 2])
            .find_map(|(&id, conn)| {
                Some(counterpart_core::session::LinkId(id * 2 + ends(conn.ends)? as u64))
            })
    };
    let seed = Box::new(SeedProgress::begun(Lsn(1)));
    let epoch = Epoch { term: 0, start: 1, server: ServerId(9) };
    let session = world.nodes[to].disk.durable.session;
    let about = world.nodes[from].core.as_ref().unwrap().about();
    let messages = [
        Message::Ack { hardened: Lsn(9), applied: Lsn(9) },
        Message::Commit { lsn: Lsn(9) },
        Message::Heartbeat { hardened: Lsn(9), reached: Lsn(9) },
        Message::StateChanged { state: PairState::Synchronized },
        Message::JoinAgain,
        Message::SeedBegin { mark: Lsn(1), contents: SeedContents::default() },
        Message::SeedAck(seed),
        Message::SeedDone { consistent_at: Lsn(1) },
        Message::SeedComplete,
        Message::Handover { last: Lsn(9), epoch: epoch.taken_over(world.nodes[to].server, 0) },
        Message::TookOver { epoch, began_after: Lsn(9), client_url: String::new() },
        Message::EndMirroring { session },
        Message::Partners(Vec::new()),
        Message::Answer(Box::new(about)),
    ];
    for message in messages {
        world.advance(2_000);
        let before = world.nodes[to].disk.clone();
        let link = index_of(world).expect("the two are connected");
        writeln!(world.log, ". {} of epoch {epoch}", message.name()).unwrap();
        world.event(to, Event::Received(link, Envelope { epoch, message }));
        let after = &world.nodes[to].disk;
        assert_eq!((before.hardened, &before.content), (after.hardened, &after.content));
        let quiet = std::mem::replace(&mut world.quiet, true);
        world.advance(5_000);
        world.quiet = quiet;
    }
}
