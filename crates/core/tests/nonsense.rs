//! Messages that no server sends: whatever a partner says, the core refuses or ignores it, and its state stays sound.
//! A partner with a valid certificate may still be broken, or another program.

mod world;

use counterpart_core::{
    DatabaseId, Epoch, EpochHistory, Fingerprint, Lsn, PageNo, ServerId, SessionId,
    message::{
        About, DataState, Envelope, Hello, Intent, Message, PROTOCOL_MAX, PROTOCOL_MIN, Plan, Role,
        Safety, SeedContents, SeedProgress, Welcome,
    },
    session::{Event, LinkId, PairState},
};
use proptest::prelude::*;
use world::World;

/// A principal and a synchronized mirror.
fn pair() -> World {
    let mut world = World::new(true);
    for name in ["a", "b"] {
        world.add_server(name);
        world.start(world.index(name));
    }
    world.run();
    world.add_partner(0, 1, Safety::Full, false);
    world.run();
    world.join(1, 0, false, false);
    world.run();
    world.write(0);
    world.run();
    world
}

fn lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![0..10u64, Just(u64::MAX), Just(u64::MAX / 2), any::<u64>()].prop_map(Lsn)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    let number = || prop_oneof![0..4u32, Just(u32::MAX), any::<u32>()];
    (number(), number(), 9..13u64).prop_map(|(term, start, server)| Epoch {
        term,
        start,
        server: ServerId(server),
    })
}

/// Histories as they arrive: encoded by somebody who need not keep their order.
fn history() -> impl Strategy<Value = EpochHistory> {
    proptest::collection::vec((epoch(), lsn()), 0..4).prop_map(|entries| {
        let bytes = postcard::to_stdvec(&entries).unwrap();
        postcard::from_bytes(&bytes).unwrap()
    })
}

fn progress() -> impl Strategy<Value = SeedProgress> {
    (lsn(), lsn(), proptest::option::of(lsn()), any::<bool>(), any::<bool>()).prop_map(
        |(mark, copied_at, consistent_at, journal_reset, spooled)| SeedProgress {
            journal_reset,
            copied_at,
            consistent_at,
            spooled,
            ..SeedProgress::begun(mark)
        },
    )
}

fn about() -> impl Strategy<Value = About> {
    let data = prop_oneof![
        Just(DataState::Empty),
        Just(DataState::Consistent),
        progress().prop_map(|progress| DataState::Seeding(Box::new(progress))),
    ];
    let role = prop_oneof![Just(Role::Mirror), Just(Role::Principal), Just(Role::Standalone)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let positions = (lsn(), lsn(), lsn());
    (role, epoch(), history(), positions, data, flags, prop_oneof![Just(10u64), Just(11), Just(0)])
        .prop_map(|(role, epoch, history, (end, applied, base), data, flags, server)| About {
            server: ServerId(server),
            session: SessionId(0x5e55),
            role,
            epoch,
            history,
            end,
            hardened: end,
            applied,
            base,
            data,
            deposed: flags.0,
            orphans_saved: flags.1,
            has_spool: flags.2,
            partner_address: String::new(),
            client_url: String::new(),
            build: String::new(),
        })
}

fn message() -> impl Strategy<Value = Message> {
    let intent = prop_oneof![Just(Intent::Join), Just(Intent::Inquire), Just(Intent::Probe)];
    let hello = (about(), intent).prop_map(|(about, intent)| {
        let (protocol_min, protocol_max) = (PROTOCOL_MIN, PROTOCOL_MAX);
        Message::Hello(Box::new(Hello { protocol_min, protocol_max, intent, about }))
    });
    let plan = prop_oneof![
        lsn().prop_map(|after| Plan::Journal { after }),
        proptest::option::of(lsn()).prop_map(|since| Plan::Pages { since }),
        any::<bool>().prop_map(|resumed| Plan::Seed { resumed }),
        Just(Plan::Wait),
    ];
    let welcome = (history(), plan, lsn(), lsn(), lsn()).prop_map(
        |(history, plan, truncate_to, hardened, commit)| {
            Message::Welcome(Box::new(Welcome {
                protocol: PROTOCOL_MAX,
                server: ServerId(10),
                session: SessionId(0x5e55),
                history,
                safety: Safety::Full,
                partners: Vec::new(),
                truncate_to,
                plan,
                hardened,
                commit,
                still_synchronized: true,
            }))
        },
    );
    prop_oneof![
        hello,
        welcome,
        about().prop_map(|about| Message::Answer(Box::new(about))),
        (lsn(), lsn()).prop_map(|(hardened, applied)| Message::Ack { hardened, applied }),
        lsn().prop_map(|lsn| Message::Commit { lsn }),
        (lsn(), lsn()).prop_map(|(hardened, reached)| Message::Heartbeat { hardened, reached }),
        Just(Message::JoinAgain),
        Just(Message::StateChanged { state: PairState::Synchronized }),
        lsn().prop_map(|mark| Message::SeedBegin { mark, contents: SeedContents::default() }),
        progress().prop_map(|progress| Message::SeedAck(Box::new(progress))),
        lsn().prop_map(|consistent_at| Message::SeedDone { consistent_at }),
        Just(Message::SeedComplete),
        (lsn(), epoch()).prop_map(|(last, epoch)| Message::Handover { last, epoch }),
        lsn().prop_map(|mark| Message::PagesBegin { mark }),
        Just(Message::PagesReady),
        lsn().prop_map(|end| Message::PagesDone { end }),
        any::<u64>().prop_map(|hash| Message::PageWanted {
            database: DatabaseId(1),
            page: PageNo(1),
            hash
        }),
        Just(Message::HealWanted { database: DatabaseId(1) }),
        lsn().prop_map(|at| Message::HealDone { database: DatabaseId(1), at }),
        Just(Message::Differs(vec![DatabaseId(1)])),
        Just(Message::ReplayStopped(String::new())),
        any::<[u8; 32]>().prop_map(|key| Message::ClientKey(Fingerprint(key))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// On a link where the partner speaks (and on one where nobody has spoken yet), to either role.
    #[test]
    fn whatever_a_partner_says_is_survived(
        messages in proptest::collection::vec((message(), epoch(), any::<bool>()), 1..12),
        to in 0..2usize,
    ) {
        let mut world = pair();
        for (number, (message, epoch, fresh)) in messages.into_iter().enumerate() {
            let own = world.nodes[to].disk.durable.epoch;
            let epoch = if number % 3 == 0 { epoch } else { own };
            let joined = world.conns.iter().find(|(_, conn)| conn.open == [true; 2]).map(|(&id, conn)| {
                LinkId(id * 2 + u64::from(conn.ends[1] == to))
            });
            let link = match joined {
                Some(link) if !fresh => link,
                _ => {
                    let link = LinkId(1_000_000 + number as u64);
                    world.event(to, Event::Accepted(link));
                    link
                }
            };
            // Only the core is judged: what it asks of the world because of lies need not be possible there.
            let clock = world.clock();
            let mut core = world.nodes[to].core.take().unwrap();
            let mut actions = Vec::new();
            core.step(clock, Event::Received(link, Envelope { epoch, message }), &mut actions);
            prop_assert_eq!(core.broken_invariant(), None);
            let _rendered = core.status();
            world.nodes[to].core = Some(core);
        }
    }
}

#[test]
fn a_failovers_duration_is_told_whatever_position_the_mirror_says() {
    let mut world = pair();
    let (principal, clock) = (0, world.clock());
    let mut core = world.nodes[principal].core.take().unwrap();
    let joined =
        world.conns.iter().find(|(_, conn)| conn.open == [true; 2]).expect("they are joined");
    let link = LinkId(joined.0 * 2 + u64::from(joined.1.ends[1] == principal));
    let message = Message::Heartbeat { hardened: Lsn(u64::MAX / 4), reached: Lsn::ZERO };
    let envelope = Envelope { epoch: core.durable().epoch, message };
    core.step(clock, Event::Received(link, envelope), &mut Vec::new());
    let told = core.status().failover_now;
    assert!(told.starts_with("Fail over now: 0 lost, about"), "{told}");
}

#[test]
fn positions_and_terms_at_the_ends_of_their_ranges_close_the_link() {
    for lsn in [Lsn(u64::MAX), Lsn(u64::MAX / 2)] {
        let epoch = Epoch { term: 1, start: 1, server: ServerId(10) };
        let mark = Envelope {
            epoch,
            message: Message::SeedBegin { mark: lsn, contents: SeedContents::default() },
        };
        assert!(mark.nonsense().is_some());
        let contents = SeedContents { next_database: DatabaseId(u32::MAX), ..Default::default() };
        let number = Envelope { epoch, message: Message::SeedBegin { mark: Lsn(1), contents } };
        assert!(number.nonsense().is_some());
        let last = Envelope { epoch, message: Message::PagesDone { end: lsn } };
        assert!(last.nonsense().is_some());
    }
    let epoch = Epoch { term: u32::MAX, start: 1, server: ServerId(10) };
    assert!(Envelope { epoch, message: Message::JoinAgain }.nonsense().is_some());
    let epoch = Epoch { term: 1, ..epoch };
    assert!(Envelope { epoch, message: Message::JoinAgain }.nonsense().is_none());
}
