//! `kill -9` at chosen points of everything that a pair does: while it writes and checkpoints, is seeded, catches up,
//! fails over, promotes and rejoins.
//!
//! A point is a system call (the n-th write, fsync, rename … from outside, by strace), or one that the code names, at
//! which the binary under test dies by itself when `COUNTERPART_CRASH_AT=name:count` says so; a released binary has
//! none of these. The random test draws from both; the others play for each named point what leads to it, and
//! insist that the server died of just that. The judge knows only what clients were told.

mod run;
mod scenes;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use counterpart_journal::CRASH_POINTS;
use run::{Point, Run};
use scenes::{SCENES, Scene};
use support::{chance::Chance, fault, is_soak};

const PHASES: &[&str] = &["write", "catch up", "seed", "fail over", "promote", "start"];
const CALLS: &[(&str, u64)] = &[
    ("pwrite64", 60),
    ("fdatasync", 20),
    ("fsync", 3),
    ("renameat2", 2),
    ("ftruncate", 2),
    ("unlink", 3),
    ("openat", 30),
    ("sendto", 60),
];

fn point(chance: &mut Chance) -> Point {
    if chance.below(2) == 0 {
        return Point::Named(format!("{}:{}", chance.pick(CRASH_POINTS), 1 + chance.below(5)));
    }
    let (call, most) = *chance.pick(CALLS);
    Point::Call(call, 1 + chance.below(most))
}

#[test]
fn a_server_that_dies_at_any_point_of_any_phase_loses_nothing_confirmed() {
    if !fault::is_possible() {
        return;
    }
    let mut chance = Chance::printed("kill points");
    let mut run = Run::start();
    let mut counts = BTreeMap::new();
    for round in 0..if is_soak() { 500 } else { 12 } {
        let phase = PHASES[round % PHASES.len()];
        // Who promotes is the mirror; in all else it may be either.
        let on_principal = phase != "promote" && (round / PHASES.len()).is_multiple_of(2);
        let point = point(&mut chance);
        eprintln!("round {round}: {phase}, on the principal: {on_principal}, {point:?}");
        let died = run.round(phase, on_principal, &point);
        run = run.heal(phase);
        run.judge();
        *counts.entry((phase, on_principal, died)).or_insert(0) += 1;
    }
    eprintln!("kills (phase, on the principal, did it die): {counts:?}");
    assert!(counts.keys().any(|(_, _, died)| *died), "nobody ever died: {counts:?}");
}

/// Plays the scenes, once for each point that a server is to die at; in a soak on either server, and at later passings
/// too, of which a scene may have fewer.
fn play(which: &[Scene]) {
    let mut run = Run::start();
    let mut kills = 0;
    for (scene, sides, names) in SCENES.iter().filter(|(scene, ..)| which.contains(scene)) {
        for (name, count) in
            names.iter().flat_map(|n| (1..=if is_soak() { 5 } else { 1 }).map(move |c| (n, c)))
        {
            for side in &sides[..if is_soak() { sides.len() } else { 1 }] {
                eprintln!("{scene:?}: {name}:{count} on {side:?}");
                let (after, died) = run.play(*scene, *side, name, count);
                run = after;
                let must = count == 1 && *side == sides[0];
                assert!(died || !must, "{scene:?} did not lead {side:?} to {name}");
                kills += u32::from(died);
            }
        }
    }
    eprintln!("{which:?}: {kills} kills at named points");
}

#[test]
fn a_server_that_dies_at_a_named_point_of_its_daily_work_loses_nothing_confirmed() {
    play(&[
        Scene::Write,
        Scene::Databases,
        Scene::Import,
        Scene::Start,
        Scene::Page,
        Scene::Segment,
    ]);
}

#[test]
fn a_server_that_dies_at_a_named_point_while_a_mirror_is_made_level_loses_nothing_confirmed() {
    play(&[Scene::Seed, Scene::CatchUp, Scene::Heal]);
}

#[test]
fn a_server_that_dies_at_a_named_point_while_roles_change_loses_nothing_confirmed() {
    play(&[Scene::FailOver, Scene::Promote, Scene::Depose]);
}

#[test]
fn a_scene_leads_to_each_named_point() {
    let played: BTreeSet<_> = SCENES.iter().flat_map(|(_, _, names)| *names).collect();
    assert_eq!(played, CRASH_POINTS.iter().collect());
}
