//! Every step of starting mirroring, failing and succeeding, against two fake servers.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    cli::{fake::FakeServer, voucher::CaCert},
    exit::Exit,
};

const P: &str = "00000000000000aa";
const M: &str = "00000000000000bb";
const STATUS: &str = "GET /api/v1/status";
const PROBE: &str = "POST /api/v1/mirroring/probe";
const CHECK: &str = "POST /api/v1/mirroring/check-join";
const JOIN: &str = "POST /api/v1/mirroring/join";
const CANCEL: &str = "DELETE /api/v1/mirroring/join";
const PARTNERS: &str = "POST /api/v1/mirroring/partners";
const FORGET: &str = "DELETE /api/v1/mirroring?partner=00000000000000bb";

const QUICK: Patience = Patience {
    poll: Duration::from_millis(1),
    connect: Duration::from_millis(50),
    unreachable: Duration::from_millis(50),
    lost: Duration::from_millis(50),
    report: Duration::ZERO,
};

struct Pair {
    principal: FakeServer,
    mirror: FakeServer,
}

fn status(server: &str, role: &str, mirroring: Value) -> (u16, Value) {
    let status = json!({
        "version": "0.1.0", "server": server, "role": role, "mirroring": mirroring,
        "partner_address": format!("{server}:1"), "client_url": format!("http://{server}"),
    });
    (200, status)
}

fn with_mirror(state: &str) -> (u16, Value) {
    let partner = json!({ "server": M, "state": state });
    status(P, "principal", json!({ "session": "00000000000000cc", "partners": [partner] }))
}

/// Two servers between which mirroring can be started.
fn pair() -> Pair {
    let (principal, mirror) = (FakeServer::start(), FakeServer::start());
    let states =
        ["DISCONNECTED", "SYNCHRONIZING", "SYNCHRONIZING", "SYNCHRONIZED"].map(with_mirror);
    let alone = status(P, "standalone", Value::Null);
    principal.answers(STATUS, std::iter::once(alone).chain(states));
    mirror.answers(STATUS, [status(M, "standalone", Value::Null)]);
    let done = || [(200, json!({ "done": true }))];
    principal.answers(PROBE, [(200, json!({ "server": M }))]);
    mirror.answers(PROBE, [(200, json!({ "server": P }))]);
    let sizes =
        json!({ "databases": [{ "name": "main", "size_bytes": 4096 }, { "size_bytes": 96 }] });
    principal.answers("GET /api/v1/databases", [(200, sizes)]);
    mirror.answers("GET /api/v1/databases", [(200, json!({ "databases": [] }))]);
    for request in [CHECK, JOIN, CANCEL] {
        mirror.answers(request, done());
    }
    for request in [PARTNERS, FORGET] {
        principal.answers(request, done());
    }
    Pair { principal, mirror }
}

impl Pair {
    fn args(&self) -> StartArgs {
        StartArgs {
            principal: self.principal.url(),
            mirror: self.mirror.url(),
            safety: None,
            replace: false,
            from_backup: Vec::new(),
            yes: false,
            no_wait: false,
            trusted: CaCert::default(),
            json: true,
        }
    }

    fn start(&self) -> Result<(), Failure> {
        self.start_with(&self.args())
    }

    fn start_with(&self, args: &StartArgs) -> Result<(), Failure> {
        start(args, QUICK, &mut Screen::of_test(true, std::io::sink()))
    }

    /// The step that failed, and the code.
    fn fails(&self) -> (&'static str, String, Exit) {
        let failure = self.start().unwrap_err();
        assert!(!failure.what.is_empty() && !failure.remedy.is_empty(), "{failure:?}");
        (failure.step.expect("a step"), failure.code, failure.exit)
    }

    /// What changed on either server, probes and checks aside.
    fn changes(&self) -> Vec<String> {
        let all = self.mirror.changes().into_iter().chain(self.principal.changes());
        all.filter(|request| request != PROBE && request != CHECK).collect()
    }
}

fn failure(step: &'static str, code: &str, exit: Exit) -> (&'static str, String, Exit) {
    (step, code.to_owned(), exit)
}

#[test]
fn mirroring_starts_when_everything_fits() {
    let pair = pair();
    pair.start().unwrap();
    assert_eq!(pair.changes(), [JOIN, PARTNERS]);
    let at = format!("{P}:1");
    let check = json!({ "replace": false, "bytes": 4192, "principal_partner_address": at });
    assert_eq!(pair.mirror.body_of(CHECK), check);
    let (join, enable) = (pair.mirror.body_of(JOIN), pair.principal.body_of(PARTNERS));
    assert_eq!(join["principal"], P);
    assert_eq!(join["principal_partner_address"], format!("{P}:1"));
    assert_eq!(enable["server"], M);
    assert_eq!(enable["safety"], Value::Null);
    assert_eq!(join["session"], enable["session"]);
    assert_eq!(join["session"].as_str().unwrap().len(), 16);
}

#[test]
fn a_further_mirror_joins_the_session_that_the_principal_has() {
    let pair = pair();
    let session = "00000000000000cc";
    let other = json!({ "server": "00000000000000dd", "state": "SYNCHRONIZED" });
    let before = status(P, "principal", json!({ "session": session, "partners": [other] }));
    pair.principal.answers(STATUS, [before, with_mirror("SYNCHRONIZED")]);
    pair.start_with(&StartArgs { safety: Some(Safety::Off), ..pair.args() }).unwrap();
    assert_eq!(pair.mirror.body_of(JOIN)["session"], session);
    assert_eq!(pair.principal.body_of(PARTNERS)["session"], session);
    assert_eq!(pair.principal.body_of(PARTNERS)["safety"], "off");
}

#[test]
fn a_server_that_cannot_be_reached_is_named_by_the_step() {
    let pair = pair();
    let gone = FakeServer::start();
    let url = gone.url();
    drop(gone);
    for (args, step) in [
        (StartArgs { principal: url.clone(), ..pair.args() }, "reach principal"),
        (StartArgs { mirror: url.clone(), ..pair.args() }, "reach mirror"),
    ] {
        let failure = pair.start_with(&args).unwrap_err();
        assert_eq!((failure.step, failure.exit), (Some(step), Exit::Unreachable));
        assert!(failure.what.contains(&url), "{failure:?}");
    }
    assert_eq!(pair.changes(), Vec::<String>::new());
}

#[test]
fn something_else_at_the_address_is_told_apart_from_a_server() {
    let pair = pair();
    for answer in [json!("hello"), json!({}), json!({ "server": "x", "partner_address": "y" })] {
        pair.mirror.answers(STATUS, [(200, answer)]);
        let (step, code, exit) = pair.fails();
        assert_eq!((step, code.as_str(), exit), ("reach mirror", "NOT_A_SERVER", Exit::NotAServer));
    }
    pair.mirror.answers(STATUS, [(502, json!({}))]);
    assert_eq!(pair.fails().1, "NOT_A_SERVER");
}

#[test]
fn versions_two_minors_apart_are_refused_and_one_is_not() {
    for (version, fits) in [("0.2.0", true), ("0.3.0", false), ("1.1.0", false), ("new", false)] {
        let pair = pair();
        let (code, mut answer) = status(M, "standalone", Value::Null);
        answer["version"] = version.into();
        pair.mirror.answers(STATUS, [(code, answer)]);
        if fits {
            pair.start().unwrap();
        } else {
            let expected = failure("versions compatible", "VERSION_MISMATCH", Exit::Refused);
            assert_eq!(pair.fails(), expected);
            assert_eq!(pair.changes(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_server_is_no_mirror_of_itself() {
    let pair = pair();
    pair.mirror.answers(STATUS, [status(P, "standalone", Value::Null)]);
    let expected = failure("not the same server", "PARTNER_IS_SELF", Exit::Refused);
    assert_eq!(pair.fails(), expected);
    assert_eq!(pair.changes(), Vec::<String>::new());
}

#[test]
fn roles_that_are_taken_are_refused() {
    let cases = [("mirror", "standalone"), ("standalone", "mirror"), ("standalone", "principal")];
    for (principal, mirror) in cases {
        let pair = pair();
        pair.principal.answers(STATUS, [status(P, principal, Value::Null)]);
        pair.mirror.answers(STATUS, [status(M, mirror, Value::Null)]);
        assert_eq!(pair.fails(), failure("roles free", "ROLE_TAKEN", Exit::Refused));
        assert_eq!(pair.changes(), Vec::<String>::new());
    }
    let pair = pair();
    pair.principal.answers(STATUS, [with_mirror("SYNCHRONIZED")]);
    pair.mirror.answers(STATUS, [status(M, "mirror", Value::Null)]);
    assert!(pair.start().unwrap_err().what.contains("already"));
}

#[test]
fn a_deposed_principal_rejoins_with_replace_and_its_own_consent() {
    let pair = pair();
    pair.mirror.answers(STATUS, [status(M, "principal", Value::Null)]);
    let args = StartArgs { replace: true, ..pair.args() };
    let failure = pair.start_with(&args).unwrap_err();
    assert_eq!((failure.code.as_str(), failure.exit), ("CONFIRMATION_NEEDED", Exit::Usage));
    assert_eq!(pair.changes(), Vec::<String>::new());
    pair.principal.answers(STATUS, [with_mirror("SYNCHRONIZED")]);
    pair.start_with(&StartArgs { yes: true, ..args }).unwrap();
    assert_eq!(pair.mirror.body_of(CHECK)["replace"], true);
    assert_eq!(pair.mirror.body_of(JOIN)["replace"], true);
}

#[test]
fn what_a_parked_server_alone_has_is_part_of_the_question() {
    let pair = pair();
    let parked = json!({ "parked": { "common": 5, "end": 8 } });
    pair.mirror.answers(STATUS, [status(M, "mirror", parked)]);
    let failure = pair.start_with(&StartArgs { replace: true, ..pair.args() }).unwrap_err();
    assert_eq!(failure.code, "CONFIRMATION_NEEDED");
    assert!(failure.what.contains("3 events that nobody else has"), "{failure}");
    assert_eq!(pair.changes(), Vec::<String>::new());
}

#[test]
fn partner_ports_that_cannot_be_reached_are_named_each_way() {
    for (from_mirror, step) in [
        (true, "mirror reaches principal's partner port"),
        (false, "principal reaches mirror's partner port"),
    ] {
        let pair = pair();
        let from = if from_mirror { &pair.mirror } else { &pair.principal };
        from.refuses(PROBE, "PARTNER_UNREACHABLE");
        assert_eq!(pair.fails(), failure(step, "PARTNER_UNREACHABLE", Exit::Refused));
        from.answers(PROBE, [(200, json!({ "server": "00000000000000ee" }))]);
        assert_eq!(pair.fails(), failure(step, "WRONG_SERVER", Exit::Refused));
        assert_eq!(pair.changes(), Vec::<String>::new());
    }
}

#[test]
fn a_mirror_without_room_is_refused_before_anything_changes() {
    let pair = pair();
    for code in ["NOT_EMPTY", "DISK_FULL"] {
        pair.mirror.refuses(CHECK, code);
        let step = "mirror is empty or replaceable, with disk space";
        assert_eq!(pair.fails(), failure(step, code, Exit::Refused));
    }
    assert_eq!(pair.changes(), Vec::<String>::new());
}

#[test]
fn a_join_that_is_refused_changes_nothing_on_the_principal() {
    let pair = pair();
    pair.mirror.refuses(JOIN, "ROLE_TAKEN");
    assert_eq!(pair.fails(), failure("join on the mirror", "ROLE_TAKEN", Exit::Refused));
    assert_eq!(pair.changes(), [JOIN]);
}

#[test]
fn a_join_whose_answer_makes_no_sense_is_taken_back() {
    let pair = pair();
    pair.mirror.answers(JOIN, [(500, json!({}))]);
    assert_eq!(pair.fails(), failure("join on the mirror", "NOT_A_SERVER", Exit::NotAServer));
    assert_eq!(pair.changes(), [JOIN, CANCEL]);
}

#[test]
fn a_principal_that_refuses_has_the_join_taken_back() {
    let pair = pair();
    pair.principal.refuses(PARTNERS, "SESSION_MISMATCH");
    let failure = pair.start().unwrap_err();
    assert_eq!(failure.step, Some("enable on the principal"));
    assert_eq!((failure.code.as_str(), failure.exit), ("SESSION_MISMATCH", Exit::Refused));
    assert!(failure.what.ends_with("both servers are as they were"), "{}", failure.what);
    assert_eq!(pair.changes(), [JOIN, CANCEL, PARTNERS]);
}

#[test]
fn a_principal_whose_answer_is_lost_is_told_to_forget_the_mirror() {
    let pair = pair();
    pair.principal.answers(PARTNERS, [(500, json!({}))]);
    assert_eq!(pair.fails().0, "enable on the principal");
    assert_eq!(pair.changes(), [JOIN, CANCEL, PARTNERS, FORGET]);
}

#[test]
fn an_undoing_that_fails_is_told_with_what_to_do() {
    let pair = pair();
    pair.principal.refuses(PARTNERS, "BUSY");
    pair.mirror.answers(CANCEL, [(500, json!({}))]);
    let failure = pair.start().unwrap_err();
    assert_eq!(failure.code, "BUSY");
    assert!(failure.what.contains("undoing it failed"), "{}", failure.what);
    assert!(failure.remedy.contains("counterpart mirror stop"), "{}", failure.remedy);
}

#[test]
fn a_join_that_is_too_late_to_take_back_is_ended_on_the_mirror() {
    let pair = pair();
    pair.principal.refuses(PARTNERS, "BUSY");
    pair.mirror.refuses(CANCEL, "TOO_LATE");
    pair.mirror.answers("DELETE /api/v1/mirroring", [(200, json!({ "done": true }))]);
    // The session is the principal's, so that the mirror's later status can name it.
    let before = status(P, "principal", json!({ "session": "00000000000000cc", "partners": [] }));
    pair.principal.answers(STATUS, [before]);
    let joined = status(M, "mirror", json!({ "session": "00000000000000cc" }));
    pair.mirror.answers(STATUS, [status(M, "standalone", Value::Null), joined]);
    let failure = pair.start().unwrap_err();
    assert!(failure.what.ends_with("both servers are as they were"), "{}", failure.what);
    assert_eq!(pair.changes(), [JOIN, CANCEL, "DELETE /api/v1/mirroring", PARTNERS]);
}

#[test]
fn a_mirror_that_never_connects_is_given_up_with_the_cause() {
    let pair = pair();
    let error = json!({ "what": "The network is down.", "remedy": "Mend it." });
    let partner = json!({ "server": M, "state": "DISCONNECTED", "last_error": error });
    let silent = status(P, "principal", json!({ "partners": [partner] }));
    pair.principal.answers(STATUS, [status(P, "standalone", Value::Null), silent]);
    let failure = pair.start().unwrap_err();
    assert_eq!(failure.step, Some("mirror connects"));
    assert_eq!(failure.what, "The network is down; both servers are as they were");
    assert_eq!(pair.changes(), [JOIN, CANCEL, PARTNERS, FORGET]);
}

#[test]
fn mirroring_that_somebody_stops_or_suspends_meanwhile_ends_the_wait() {
    let pair = pair();
    let alone = || status(P, "standalone", Value::Null);
    let stopped = [alone(), with_mirror("SYNCHRONIZING"), alone()];
    pair.principal.answers(STATUS, stopped);
    let expected = failure("mirror synchronized", "MIRRORING_STOPPED", Exit::Refused);
    assert_eq!(pair.fails(), expected);
    pair.principal.answers(STATUS, [alone(), with_mirror("SUSPENDED")]);
    let expected = failure("mirror synchronized", "MIRRORING_SUSPENDED", Exit::Refused);
    assert_eq!(pair.fails(), expected);
}

#[test]
fn a_mirror_that_is_lost_during_the_seed_ends_the_wait_and_one_that_returns_does_not() {
    let pair = pair();
    let alone = || status(P, "standalone", Value::Null);
    pair.principal
        .answers(STATUS, [alone(), with_mirror("SYNCHRONIZING"), with_mirror("DISCONNECTED")]);
    let failure = pair.start().unwrap_err();
    assert_eq!((failure.step, failure.exit), (Some("mirror synchronized"), Exit::Refused));
    assert_eq!(failure.code, "MIRROR_LOST");
    assert!(failure.remedy.contains("goes on where it stopped"), "{failure:?}");
    assert_eq!(pair.changes(), [JOIN, PARTNERS], "nothing is undone: it may come back");
    let states = ["SYNCHRONIZING", "DISCONNECTED", "SYNCHRONIZING", "SYNCHRONIZED"];
    pair.principal.answers(STATUS, std::iter::once(alone()).chain(states.map(with_mirror)));
    pair.start().unwrap();
}

#[test]
fn without_waiting_it_ends_once_the_mirror_has_connected() {
    let pair = pair();
    let seeding = [status(P, "standalone", Value::Null), with_mirror("SYNCHRONIZING")];
    pair.principal.answers(STATUS, seeding);
    pair.start_with(&StartArgs { no_wait: true, ..pair.args() }).unwrap();
}

#[test]
fn undoing_a_rejoin_never_lets_a_deposed_principal_go() {
    let pair = pair();
    let parked = status(M, "mirror", json!({ "session": "00000000000000cc" }));
    pair.mirror.answers(STATUS, [parked]);
    pair.principal.answers(STATUS, [with_mirror("DISCONNECTED")]);
    pair.mirror.refuses(CANCEL, "TOO_LATE");
    let args = StartArgs { replace: true, yes: true, ..pair.args() };
    let failure = pair.start_with(&args).unwrap_err();
    assert_eq!(failure.code, "MIRROR_NOT_CONNECTED");
    assert!(failure.what.contains("undoing it failed"), "{}", failure.what);
    assert_eq!(pair.changes(), [JOIN, CANCEL, PARTNERS]);
}
