//! Stories of single faults that random schedules meet too rarely. Each was a bug once.

mod world;

use counterpart_core::{
    message::{Role, Safety},
    session::Command,
};
use world::World;

/// A principal, the first name, and mirrors; one event everywhere.
fn mirrored(names: &[&str], safety: Safety) -> World {
    let mut world = World::new(true);
    for (index, name) in names.iter().enumerate() {
        world.add_server(name);
        world.start(index);
    }
    world.run();
    for mirror in 1..names.len() {
        world.add_partner(0, mirror, safety, false);
        world.run();
        world.join(mirror, 0, false, false);
        world.run();
    }
    world.write(0);
    world.run();
    world
}

fn cut_off(world: &mut World, a: usize, b: usize) {
    world.cut.extend([(a, b), (b, a)]);
    world.drop_links(a, b);
    world.run();
}

fn write_and_run(world: &mut World, index: usize, events: usize) {
    for _ in 0..events {
        assert!(world.write(index), "{} admits writes", world.nodes[index].name);
    }
    world.run();
}

fn promote(world: &mut World, index: usize) {
    world.nodes[index].promoting = true;
    world.command(index, Command::Promote { force: false });
    world.run();
    assert_eq!(world.nodes[index].disk.durable.role, Role::Principal, "it was promoted");
}

/// The mirror is let in again, and so hears how far its principal confirmed; the principal dies before the records
/// come. The mirror is promoted.
#[test]
fn a_promoted_mirror_confirms_its_first_events_although_its_principal_had_confirmed_more() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    write_and_run(&mut world, 0, 5);
    world.nodes[0].hold_streams = true;
    world.cut.clear();
    world.advance(2_000);
    assert!(world.nodes[1].disk.journal.end() < world.nodes[0].commit, "the records are missing");
    world.crash(0);
    world.run();
    promote(&mut world, 1);
    write_and_run(&mut world, 1, 1);
    assert!(world.nodes[1].unconfirmed.is_empty(), "it waits for positions that it never had");
}

/// The same, but another mirror is promoted, which lacks those events too. Its first events are not final when they
/// come, whatever the dead principal had confirmed at these positions.
#[test]
fn a_mirror_that_changes_its_principal_applies_only_what_the_new_one_confirmed() {
    let mut world = mirrored(&["a", "b", "c"], Safety::Full);
    cut_off(&mut world, 0, 1);
    cut_off(&mut world, 0, 2);
    write_and_run(&mut world, 0, 5);
    world.nodes[0].hold_streams = true;
    world.cut.remove(&(0, 2));
    world.cut.remove(&(2, 0));
    world.advance(2_000);
    world.crash(0);
    world.run();
    promote(&mut world, 1);
    world.advance(40_000);
    // Senders get the records before the local disk has them.
    world.nodes[1].hold_harden = true;
    let shown = world.nodes[2].disk.content.end();
    assert_eq!(shown, world.nodes[1].disk.content.end(), "it follows the new principal");
    world.write(1);
    world.run();
    assert!(world.nodes[2].disk.hardened > shown, "the event arrived");
    assert_eq!(world.nodes[2].disk.content.end(), shown, "it shows what is not final");
}
