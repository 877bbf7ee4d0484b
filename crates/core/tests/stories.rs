//! Stories of single faults that random schedules meet too rarely. Each was a bug once.

mod world;

use counterpart_core::{
    DatabaseId, Fingerprint, Lsn,
    message::{PROTOCOL_CLIENT_KEY, PROTOCOL_MAX, Role, Safety},
    session::{AlarmKind, Command, Event, LinkId, PairState, Rejoin},
};
use world::{Disk, Thread, World};

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

fn heal(world: &mut World, a: usize, b: usize) {
    world.cut.remove(&(a, b));
    world.cut.remove(&(b, a));
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

/// The mirror's `Hello` of an earlier life is still on its way when the handover is sent on a newer connection. It
/// must not be taken for the answer that the mirror did not take over.
#[test]
fn a_hello_from_before_the_handover_does_not_end_the_doubt() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    world.crash(1);
    world.run();
    let slow = world.next_conn;
    world.stuck.insert(slow);
    world.start(1);
    world.run();
    world.crash(1);
    world.start(1);
    world.run();
    hand_over_slowly(&mut world);
    world.stuck = [world.next_conn - 1].into();
    world.run();
    the_doubt_stays(&mut world);
}

/// The same with the answer to a question that the principal asked before the mirror came by itself.
#[test]
fn an_answer_from_before_the_handover_does_not_end_the_doubt() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    world.crash(0);
    world.run();
    let slow = world.next_conn;
    world.start(0);
    while world.next_conn == slow {
        assert!(world.work(0, Thread::Persist) || world.work(0, Thread::Net));
    }
    assert!(world.deliver(slow, 1), "the question arrives");
    world.stuck.insert(slow);
    world.advance(3_000);
    hand_over_slowly(&mut world);
    let newest = world.next_conn - 1;
    world.event(0, Event::LinkDown(LinkId(newest * 2 + 1), "connection reset".into()));
    world.stuck = [newest].into();
    world.run();
    the_doubt_stays(&mut world);
}

/// The handover arrives, and the mirror still has something to apply before it takes over.
fn hand_over_slowly(world: &mut World) {
    let target = world.nodes[1].server;
    let state = world.nodes[0].core.as_ref().unwrap().pair_state(target);
    assert_eq!(state, Some(PairState::Synchronized));
    world.nodes[1].held.insert(Thread::Engine);
    world.write(0);
    world.command(0, Command::Failover(Some(target)));
    world.run();
    assert!(world.nodes[0].disk.durable.pending_handover.is_some(), "it was sent");
}

fn the_doubt_stays(world: &mut World) {
    assert!(!world.write(0), "a principal in doubt admits nothing");
    world.nodes[1].held.clear();
    world.run();
    assert_eq!(world.nodes[1].disk.durable.role, Role::Principal, "it took over");
    world.stuck.clear();
    world.advance(40_000);
    assert_eq!(world.nodes[0].disk.durable.role, Role::Mirror);
    assert_eq!(world.check_nothing_lost(), 1);
}

/// A server with a past of its own was to be replaced, and mirroring ended before anything came. Its journal still has
/// its own records; what it writes next must not bear an epoch below theirs.
#[test]
fn a_mirror_that_leaves_before_its_seed_never_falls_behind_the_epochs_of_its_journal() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    promote(&mut world, 1);
    write_and_run(&mut world, 1, 1);
    world.command(1, Command::StopMirroring(None));
    world.run();
    let before = world.nodes[1].disk.durable.epoch;
    world.join(1, 0, true, true);
    world.run();
    world.command(1, Command::StopMirroring(None));
    world.run();
    let durable = &world.nodes[1].disk.durable;
    assert_eq!(durable.role, Role::Standalone);
    assert!(durable.epoch > before, "{} does not follow {before}", durable.epoch);
    write_and_run(&mut world, 1, 1);
}

/// A mirror's journal is being cut when the operator, or the principal, ends mirroring: the end of its journal is not
/// known before that is done.
#[test]
fn mirroring_does_not_end_while_the_mirrors_journal_is_being_cut() {
    for by_the_principal in [false, true] {
        let mut world = mirrored(&["a", "b"], Safety::Full);
        // An event reaches the mirror alone.
        world.nodes[0].hold_harden = true;
        world.write(0);
        world.run();
        world.crash(0);
        world.nodes[1].held.insert(Thread::Journal);
        world.nodes[0].hold_harden = false;
        world.start(0);
        world.advance(2_000);
        let ends = if by_the_principal { 0 } else { 1 };
        world.command(ends, Command::StopMirroring(None));
        world.run();
        assert_eq!(world.nodes[1].disk.durable.role, Role::Mirror, "it is busy");
        world.nodes[1].held.clear();
        world.advance(3_000);
        assert_eq!(world.nodes[1].disk.durable.role, Role::Standalone, "now it may");
        let durable = &world.nodes[1].disk.durable;
        let (_, began) = *durable.history.entries().last().unwrap();
        assert_eq!(
            began,
            world.nodes[1].disk.journal.end(),
            "the epoch begins where the journal ended"
        );
    }
}

/// A mirror was told to apply events that its principal had confirmed, and has not done so yet, when another mirror is
/// promoted that lacks them. They cannot be cut any more: they are about to be shown.
#[test]
fn what_a_mirror_is_about_to_apply_is_not_cut() {
    let mut world = mirrored(&["a", "b", "c"], Safety::Full);
    cut_off(&mut world, 0, 1);
    world.nodes[2].held.insert(Thread::Engine);
    write_and_run(&mut world, 0, 2);
    world.crash(0);
    world.run();
    promote(&mut world, 1);
    world.advance(40_000);
    world.nodes[2].held.clear();
    world.run();
    world.advance(40_000);
    let orphans: Vec<_> = world.nodes[2].disk.orphans.iter().map(|rec| rec.lsn).collect();
    assert!(
        orphans.contains(&Lsn(4)) && orphans.contains(&Lsn(5)),
        "it keeps what it has: {orphans:?}"
    );
    assert_eq!(world.nodes[2].disk.content, world.nodes[1].disk.content, "and follows");
}

/// A principal that was exposed, had lost its partner and was in doubt leaves its office. Nobody would ever clear these
/// alarms otherwise, and the next ones of their kind would be no news.
#[test]
fn no_alarm_outlives_what_it_is_about() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    promote(&mut world, 1);
    let exposed = (AlarmKind::Exposed, None);
    assert!(world.nodes[0].alarms.contains(&exposed) && world.nodes[1].alarms.contains(&exposed));
    world.cut.clear();
    world.advance(40_000);
    assert_eq!(world.nodes[0].disk.durable.role, Role::Mirror);
    assert!(world.nodes[0].alarms.is_empty(), "{:?}", world.nodes[0].alarms);
    assert!(world.nodes[1].alarms.is_empty(), "{:?}", world.nodes[1].alarms);
    cut_off(&mut world, 0, 1);
    assert!(world.nodes[1].alarms.contains(&exposed));
    world.crash(1);
    world.start(1);
    world.run();
    assert!(world.nodes[1].alarms.contains(&exposed), "a restart mends nothing");
    world.command(1, Command::StopMirroring(None));
    world.run();
    assert!(world.nodes[1].alarms.is_empty(), "{:?}", world.nodes[1].alarms);
}

/// A deposed principal's last events are on their way into its journal when the operator ends mirroring on it.
#[test]
fn the_epoch_of_a_server_that_leaves_begins_after_all_that_it_wrote_before() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    promote(&mut world, 1);
    world.nodes[0].hold_harden = true;
    assert!(world.write(0));
    world.nodes[0].held.insert(Thread::Engine);
    world.cut.clear();
    world.advance(3_000);
    assert_eq!(world.nodes[0].disk.durable.role, Role::Mirror, "it was deposed");
    world.command(0, Command::StopMirroring(None));
    world.run();
    world.nodes[0].held.clear();
    world.nodes[0].hold_harden = false;
    world.run();
    let Disk { durable, journal, .. } = &world.nodes[0].disk;
    assert_eq!(durable.role, Role::Standalone);
    let last = journal.recs.last().unwrap();
    assert_eq!(durable.history.epoch_at(last.lsn), Some(last.epoch), "the history tells the truth");
}

/// A parked server is told to rejoin. The principal that it parked for is gone; the one that it finds has less in common
/// with it. What it has above that is saved too, and the operator is not asked a second time.
#[test]
fn a_server_that_was_told_to_rejoin_need_not_be_told_again_by_another_principal() {
    let mut world = mirrored(&["a", "b", "c"], Safety::Full);
    cut_off(&mut world, 0, 1);
    cut_off(&mut world, 1, 2);
    write_and_run(&mut world, 0, 2);
    cut_off(&mut world, 0, 2);
    write_and_run(&mut world, 0, 3);
    world.crash(0);
    world.run();
    promote(&mut world, 2);
    world.nodes[0].rejoin = Rejoin::Manual;
    world.start(0);
    heal(&mut world, 0, 2);
    world.advance(40_000);
    let parked = |world: &World| {
        world.nodes[0].disk.durable.deposed.as_ref().and_then(|deposed| deposed.parked)
    };
    let first = parked(&world).expect("it parks");
    cut_off(&mut world, 0, 2);
    world.crash(2);
    world.run();
    // Of two that were promoted apart, the higher start wins.
    world.crash(1);
    world.nodes[1].stride = 60_000;
    world.start(1);
    world.advance(11_000);
    promote(&mut world, 1);
    world.command(0, Command::Rejoin);
    heal(&mut world, 0, 1);
    world.advance(80_000);
    assert_eq!(parked(&world), None, "it parks again");
    let (a, b) = (&world.nodes[0].disk, &world.nodes[1].disk);
    assert!(b.content.end() < first.end, "b never had what a has");
    assert_eq!(a.content.end(), b.content.end(), "a does not follow b");
}

/// A deposed principal was promoted, or left the session, while it saved its orphans, and what it wrote from then on got into
/// the copies of its databases.
#[test]
fn what_a_server_writes_on_its_own_waits_until_its_orphans_are_saved() {
    for command in [Command::Promote { force: true }, Command::StopMirroring(None)] {
        let mut world = mirrored(&["a", "b"], Safety::Full);
        cut_off(&mut world, 0, 1);
        write_and_run(&mut world, 0, 2);
        promote(&mut world, 1);
        world.nodes[0].held.insert(Thread::Seed);
        heal(&mut world, 0, 1);
        world.advance(2_000);
        let saving = |world: &World| world.nodes[0].jobs.contains_key(&Thread::Seed);
        assert!(saving(&world), "it saves its orphans");
        let end = world.nodes[0].disk.journal.end();
        cut_off(&mut world, 0, 1);
        world.nodes[0].promoting = true;
        world.command(0, command.clone());
        world.advance(2_000);
        assert!(!world.write(0), "it writes while its orphans are saved: {command:?}");
        world.nodes[0].held.clear();
        world.advance(2_000);
        assert!(world.nodes[0].disk.orphans.iter().any(|rec| rec.lsn == end), "they are saved");
        assert!(world.write(0), "it serves from then on: {command:?}");
    }
}

/// A principal whose journal had failed parked with events that were never hardened. After a restart they are gone, and
/// saving all of them as orphans was tried for ever.
#[test]
fn a_parked_server_counts_only_what_its_journal_still_has_after_a_restart() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    write_and_run(&mut world, 0, 2);
    world.crash(0);
    world.run();
    world.advance(11_000);
    promote(&mut world, 1);
    world.nodes[0].rejoin = Rejoin::Manual;
    world.start(0);
    heal(&mut world, 0, 1);
    world.advance(40_000);
    world.crash(0);
    world.run();
    let deposed = world.nodes[0].disk.durable.deposed.as_mut().expect("it was deposed");
    let parked = deposed.parked.as_mut().expect("it parks");
    let end = parked.end;
    parked.end = Lsn(end.0 + 7);
    world.start(0);
    world.command(0, Command::Rejoin);
    world.advance(40_000);
    let (a, b) = (&world.nodes[0].disk, &world.nodes[1].disk);
    assert_eq!(a.durable.deposed, None, "it does not rejoin");
    assert_eq!(a.content.end(), b.content.end(), "a does not follow b");
}

/// A deposed principal has an event that no other server has; the copy that takes its place ends at the same position. Once
/// the copy is whole the commit LSN is about the copy, not about what still stands.
#[test]
fn what_a_copy_is_taking_the_place_of_is_not_called_final() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    write_and_run(&mut world, 0, 1);
    let orphan = world.nodes[0].disk.journal.end();
    promote(&mut world, 1);
    write_and_run(&mut world, 1, 3);
    heal(&mut world, 0, 1);
    let mut met = false;
    for _ in 0..40_000 {
        world.nodes[0].held.insert(Thread::Journal);
        world.advance(1);
        let core = world.nodes[0].core.as_ref().expect("a runs");
        if core.durable().seeding.as_ref().is_some_and(|seeding| !seeding.journal_reset) {
            met = true;
            assert!(core.commit_lsn() >= orphan, "the copy reaches as far");
            assert!(!core.shows_only_final(orphan), "the orphan is called final");
            break;
        }
    }
    assert!(met, "a copy came");
    world.nodes[0].held.clear();
    world.advance(10_000);
    let core = world.nodes[0].core.as_ref().expect("a runs");
    assert!(core.shows_only_final(world.nodes[0].disk.content.end()));
}

/// A switch to a copy without any event after its mark is interrupted by a crash. At the next start the copy was in place
/// before the engine had said that it follows, and what it then said of the old databases was taken for the copy's: it
/// was called whole although nobody had opened it.
#[test]
fn an_interrupted_switch_goes_on_only_after_the_engine_follows() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    cut_off(&mut world, 0, 1);
    write_and_run(&mut world, 0, 1);
    promote(&mut world, 1);
    write_and_run(&mut world, 1, 3);
    world.nodes[0].held.insert(Thread::Journal);
    heal(&mut world, 0, 1);
    world.advance(10_000);
    world.crash(0);
    let before = world.nodes[0].disk.journal.end();
    let switching = |world: &World| {
        let durable = &world.nodes[0].disk.durable;
        durable.seeding.as_ref().is_some_and(|progress| progress.spooled)
    };
    assert!(switching(&world), "the crash comes in the middle");
    world.nodes[0].held = [Thread::Engine].into();
    world.start(0);
    world.advance(5_000);
    assert_eq!(world.nodes[0].disk.journal.end(), before, "the copy takes its place too early");
    world.nodes[0].held.clear();
    world.advance(20_000);
    assert!(!switching(&world));
    let (a, b) = (&world.nodes[0].disk, &world.nodes[1].disk);
    assert_eq!((a.content.end(), a.journal.end()), (b.content.end(), b.journal.end()));
}

/// A database that differed again right after each heal was healed again at once, for ever.
#[test]
fn a_database_that_does_not_stay_healed_is_healed_ever_more_seldom() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    let database = DatabaseId(1);
    let seconds_until_healed = |world: &mut World| {
        world.differ(1, database);
        world.run();
        let healed = |world: &World| world.nodes[1].differing.is_empty();
        (0..40).find(|_| {
            let done = healed(world);
            world.advance(1_000);
            done
        })
    };
    let waited: Vec<_> =
        (0..7).map(|_| seconds_until_healed(&mut world).expect("it is healed")).collect();
    assert_eq!(waited[..2], [0, 1], "at once the first time");
    assert!(waited.is_sorted() && waited[6] > 20, "later and later: {waited:?}");
    world.advance(31_000);
    assert_eq!(seconds_until_healed(&mut world), Some(0), "once it has stayed well for a while");
}

/// A principal that knew that its disk was an older image let a mirror in that had received and not applied what it lacked
/// itself, after the next start, and had it cut that: nobody had it any more, although it had been confirmed.
#[test]
fn a_principal_that_knows_that_it_was_rolled_back_has_nobody_cut_what_it_lacks() {
    let mut world = mirrored(&["a", "b"], Safety::Full);
    world.take_image(0);
    world.crash(0);
    world.nodes[0].stride = 500;
    world.start(0);
    world.advance(3_000);
    world.nodes[1].held.insert(Thread::Engine);
    write_and_run(&mut world, 0, 2);
    let end = world.nodes[1].disk.journal.end();
    assert!(world.nodes[0].unconfirmed.is_empty(), "both events are confirmed");
    world.crash(0);
    assert!(world.restore_image(0));
    world.nodes[0].stride = 100;
    world.start(0);
    world.advance(3_000);
    let rolled_back = |world: &World| world.nodes[0].disk.durable.rolled_back.is_some();
    assert!(rolled_back(&world), "the mirror knows a later epoch of it");
    world.crash(0);
    world.crash(1);
    world.nodes[1].held.clear();
    world.nodes[0].stride = 60_000;
    world.start(0);
    world.start(1);
    world.advance(60_000);
    assert!(rolled_back(&world));
    assert_eq!(world.nodes[1].disk.journal.end(), end, "the mirror was cut");
    promote(&mut world, 1);
    world.advance(60_000);
    assert_eq!(world.nodes[0].disk.content.end(), world.nodes[1].disk.content.end());
    assert!(world.nodes[1].disk.content.end() >= end, "what was confirmed is there");
}

/// `a` as the principal of `b`; both show clients a key, and `a` knows protocol versions up to `speaks`.
fn with_keys(speaks: u16) -> World {
    let mut world = World::new(true);
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        world.add_server(name);
        world.nodes[index].client_key = Some(Fingerprint([name.as_bytes()[0]; 32]));
        world.start(index);
    }
    world.nodes[0].speaks = speaks;
    world.run();
    world.add_partner(0, 1, Safety::Full, false);
    world.run();
    world.join(1, 0, false, false);
    world.run();
    assert!(world.write(0));
    world.run();
    world
}

/// What a principal passes on after a failover goes to the mirror that it knew.
#[test]
fn a_mirror_tells_its_principal_which_key_it_shows_clients() {
    let world = with_keys(PROTOCOL_MAX);
    let (key, mirror) = (world.nodes[1].client_key.unwrap(), world.nodes[1].server);
    assert_eq!(world.nodes[0].keys.get(&mirror), Some(&key));
    assert!(world.nodes[1].keys.is_empty());
}

#[test]
fn an_older_principal_is_told_no_key_and_follows_the_rest() {
    let mut world = with_keys(PROTOCOL_CLIENT_KEY - 1);
    assert!(world.nodes[0].keys.is_empty());
    write_and_run(&mut world, 0, 3);
    assert_eq!(world.nodes[1].disk.journal.end(), world.nodes[0].disk.journal.end());
}
