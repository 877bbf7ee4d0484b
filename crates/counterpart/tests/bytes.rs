//! Flipped bits in the files of a stopped server: at its next start they are mended, or refused by the file's name, and
//! never served. Every row is compared with what was there before.
//!
//! Each file is sampled; a soak samples more. Database files are left out as long as nothing beside them tells what
//! their pages should be.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use support::{
    at_rest::flip,
    chance::Chance,
    is_soak,
    pair::Pair,
    server::{Server, copy_tree},
};

/// What the outside knows: the rows of each table as they were confirmed.
type Rows = BTreeMap<(String, String), Vec<Vec<Value>>>;

const DATABASES: &[&str] = &["main", "second"];
const QUERIES: &[&str] = &[
    "select id, x, hex(b) from t order by id",
    "select x, id from t indexed by t_x order by x, id",
];

/// Rows in the database files, and others that only the journal has.
fn fill(server: &Server) {
    server.cli_ok(&["db", "create", "second"]);
    for database in DATABASES {
        let client = server.client().database(database);
        client.script(
            "create table t(id integer primary key, x text, b blob); create index t_x on t(x);",
        );
        for round in 0..8 {
            let from = round * 100;
            client.run(&format!(
                "with recursive n(i) as (select {from} union all select i + 1 from n where i < {from} + 99)
                   insert into t select i, 'row ' || (i * 7919 % 1000), randomblob(700) from n"
            ));
        }
        client.run("update t set x = x || ' changed' where id % 5 = 0");
    }
}

/// All rows as a server gives them now; the first refusal otherwise.
fn rows(server: &Server) -> Result<Rows, support::client::Failure> {
    let mut all = Rows::new();
    for database in DATABASES {
        for query in QUERIES {
            let result = server.client().database(database).execute(query, &[])?;
            let rows = support::client::rows_of(&result);
            all.insert(((*database).to_owned(), (*query).to_owned()), rows);
        }
    }
    Ok(all)
}

/// The files worth damaging, relative to the directory; each with the number of bytes that are in use.
fn files(data: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // SQLite's own are thrown away at each start, and a lock has no content.
            let thrown_away = ["-wal", "-shm", ".lock"].iter().any(|end| name.ends_with(end));
            let unproven = name.ends_with(".db") && !path.with_extension("map").exists();
            let content = fs::read(&path).unwrap();
            let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if !thrown_away && !unproven && used > 0 {
                found.push((path.strip_prefix(data).unwrap().to_owned(), used as u64));
            }
        }
    }
    found.sort();
    found
}

/// Where to flip: the edges of the file, where headers are, and anywhere.
fn place(chance: &mut Chance, used: u64, nth: u64) -> (u64, u32) {
    let at = match nth {
        0 => chance.below(used.min(64)),
        1 => used - 1 - chance.below(used.min(64)),
        _ => chance.below(used),
    };
    (at, u32::try_from(chance.below(8)).unwrap())
}

/// The log names the file, so that the operator knows which one to look at.
#[track_caller]
fn assert_named(server: &Server, before: usize, file: &Path) -> &'static str {
    let log = server.log();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    assert!(log[before..].contains(&name), "{name} is not named:\n{}", &log[before..]);
    assert!(!log[before..].contains("panicked"), "{}", &log[before..]);
    "refused to start"
}

/// A statement was refused for the damage, and for nothing else.
#[track_caller]
fn assert_damage(failure: &support::client::Failure) -> &'static str {
    let codes = ["DATA_DAMAGED", "SQLITE_IOERR_DATA", "SQLITE_CORRUPT"];
    assert!(codes.contains(&failure.code.as_str()), "{failure:?}");
    "refused to answer"
}

fn samples() -> u64 {
    if is_soak() { 150 } else { 5 }
}

#[test]
fn a_flipped_bit_in_any_file_of_a_stopped_server_is_mended_or_refused_and_never_served() {
    let mut chance = Chance::printed("bytes");
    let mut server = Server::start_with(&["--checkpoint-bytes", "1MiB"]);
    fill(&server);
    let expected = rows(&server).unwrap();
    assert!(server.terminate().success());
    let sound = tempfile::tempdir().unwrap();
    let sound = sound.path().join("data");
    copy_tree(&server.data(), &sound);
    let mut told = BTreeMap::new();
    for (file, used) in files(&sound) {
        for nth in 0..samples() {
            fs::remove_dir_all(server.data()).unwrap();
            copy_tree(&sound, &server.data());
            let (at, bit) = place(&mut chance, used, nth);
            flip(&server.data().join(&file), at, bit);
            let before = server.log().len();
            let outcome = match server.launch_or_end() {
                Err(_status) => assert_named(&server, before, &file),
                Ok(()) => match rows(&server) {
                    Err(failure) => assert_damage(&failure),
                    Ok(rows) => {
                        assert!(
                            rows == expected,
                            "{} byte {at} bit {bit}: wrong rows",
                            file.display()
                        );
                        "served as it was"
                    }
                },
            };
            server.end_whatever();
            *told.entry((file.clone(), outcome)).or_insert(0) += 1;
        }
    }
    told.iter().for_each(|told| eprintln!("{told:?}"));
    assert!(told.len() > 2, "several files were damaged: {told:?}");
}

#[test]
fn a_flipped_bit_of_either_partner_is_mended_by_the_other_or_refused() {
    let mut chance = Chance::printed("bytes of a pair");
    let mut pair = Pair::start_with(&["--checkpoint-bytes", "1MiB"], &[]);
    fill(&pair.principal);
    pair.assert_equal();
    let expected = rows(&pair.principal).unwrap();
    let mut told = BTreeMap::new();
    for round in 0..samples() * 4 {
        let on_principal = round % 2 == 0;
        let victim = if on_principal { &mut pair.principal } else { &mut pair.mirror };
        assert!(victim.terminate().success());
        let files = files(&victim.data());
        let (file, used) = chance.pick(&files).clone();
        let (at, bit) = place(&mut chance, used, round % 5);
        flip(&victim.data().join(&file), at, bit);
        let before = victim.log().len();
        let outcome = match victim.launch_or_end().map(|()| rows(victim)) {
            Ok(Ok(_)) => "served",
            // A mirror does without its journal, and nobody reads from it before a copy has come.
            Ok(Err(failure)) if failure.code == "SEEDING" => "copied anew",
            refused => {
                let outcome = match refused {
                    Ok(refusal) => assert_damage(&refusal.unwrap_err()),
                    Err(_status) => assert_named(victim, before, &file),
                };
                // Whoever refused has not touched it; as it was, it serves again.
                victim.end_whatever();
                flip(&victim.data().join(&file), at, bit);
                victim.launch();
                outcome
            }
        };
        let kind = file.extension().map_or_else(|| file.clone(), PathBuf::from);
        *told.entry((kind, outcome)).or_insert(0) += 1;
        pair.wait_synchronized();
        let context = format!("{} byte {at} bit {bit}", file.display());
        for server in [&pair.principal, &pair.mirror] {
            assert!(rows(server).unwrap() == expected, "{context}: wrong rows on {}", server.url());
        }
        pair.assert_equal();
    }
    told.iter().for_each(|told| eprintln!("{told:?}"));
}
