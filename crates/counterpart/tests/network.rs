//! The network between the partners is cut for a while, in one direction or both: it heals without anyone's doing.

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{
    client::rows_of,
    pair::{Pair, assert_equal, start_mirroring, wait_role, wait_state, wait_synchronized},
    proxy::{Proxy, Wires},
    server::Server,
    socket::Socket,
    wait_for,
    workload::{Workload, assert_has_all, create_table, rows_on},
};

/// A partner is lost soon, so that the tests are short; what happens is up to the operator.
const QUICK: [&str; 4] = ["--partner-timeout", "1s", "--rejoin", "manual"];

/// A pair whose mirror reaches the principal through a proxy.
fn proxied() -> (Server, Server, Proxy) {
    let mut principal = Server::prepare(&["--partner-timeout", "1s"]);
    let proxy = Proxy::before(&principal.partner_address());
    principal.partner_advertise = Some(proxy.address());
    principal.launch();
    let mirror = Server::start_with(&["--partner-timeout", "1s"]);
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    create_table(&principal);
    (principal, mirror, proxy)
}

fn heals_after(cut: Wires) {
    let (principal, mirror, proxy) = proxied();
    let load = Workload::start(0, 4, &[&principal]);
    load.wait_progress(50);
    for _ in 0..3 {
        proxy.set(cut);
        wait_state(&principal, "DISCONNECTED");
        wait_state(&mirror, "DISCONNECTED");
        load.wait_progress(50);
        proxy.set(Wires::default());
        wait_synchronized(&principal);
        wait_state(&mirror, "SYNCHRONIZED");
        load.wait_progress(50);
    }
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    assert_has_all(&principal, &confirmed);
    assert_equal(&principal, &mirror);
}

#[test]
fn a_network_cut_in_both_directions_heals() {
    heals_after(Wires { forth_cut: true, back_cut: true, ..Wires::default() });
}

#[test]
fn a_network_cut_from_mirror_to_principal_heals() {
    heals_after(Wires { forth_cut: true, ..Wires::default() });
}

#[test]
fn a_network_cut_from_principal_to_mirror_heals() {
    heals_after(Wires { back_cut: true, ..Wires::default() });
}

#[test]
fn a_network_that_refuses_connections_heals() {
    heals_after(Wires { refused: true, ..Wires::default() });
}

#[test]
fn a_partner_that_hangs_is_noticed_and_taken_back() {
    let (principal, mirror, _proxy) = proxied();
    mirror.signal("STOP");
    wait_state(&principal, "DISCONNECTED");
    principal.client().run("insert into work values(1, 1, 'while the mirror hangs')");
    mirror.signal("CONT");
    wait_synchronized(&principal);
    assert_equal(&principal, &mirror);
}

#[test]
fn a_partner_that_hangs_is_called_silent_before_it_is_called_lost() {
    let pair = Pair::start_with(&["--partner-timeout", "60s"], &[]);
    let now = || pair.principal.status()["mirroring"]["failover_now"].to_string();
    assert!(now().contains("Fail over now"), "{}", now());
    pair.mirror.signal("STOP");
    let silent =
        wait_for("the silence to be noticed", || Some(now()).filter(|now| now.contains("silent")));
    assert!(!silent.contains("0 lost"), "{silent}");
    let words = pair.principal.cli_ok(&["status"]);
    assert!(words.contains("\n  silent      for "), "{words}");
    pair.mirror.signal("CONT");
    wait_for("the mirror to be heard", || now().contains("Fail over now").then_some(()));
}

/// A pair that reaches each other through proxies, both ways.
fn both_proxied(serve: &[&str]) -> (Server, Server, [Proxy; 2]) {
    let mut servers = [Server::prepare(serve), Server::prepare(serve)];
    let proxies = servers.each_mut().map(|server| {
        let proxy = Proxy::before(&server.partner_address());
        server.partner_advertise = Some(proxy.address());
        server.launch();
        proxy
    });
    let [principal, mirror] = servers;
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    create_table(&principal);
    (principal, mirror, proxies)
}

fn insert(server: &Server, n: u64) {
    server.client().run(&format!("insert into work values(1000, {n}, 'by hand')"));
}

#[test]
fn a_principal_cut_off_while_its_mirror_was_promoted_stops_when_it_hears_of_it() {
    let (mut principal, mirror, proxies) = both_proxied(&QUICK);
    assert_equal(&principal, &mirror);

    for proxy in &proxies {
        proxy.set(Wires { refused: true, ..Wires::default() });
    }
    wait_state(&principal, "DISCONNECTED");
    wait_state(&mirror, "DISCONNECTED");
    let begin = json!([{"type": "execute", "stmt": {"sql": "begin immediate"}},
        {"type": "execute", "stmt": {"sql": "insert into work values(1, 1, 'open')"}}]);
    mirror.cli_ok(&["promote", "--yes"]);
    insert(&mirror, 7);
    insert(&principal, 8);
    let (outcomes, baton) = principal.client().pipeline(None, &begin).unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    for proxy in &proxies {
        proxy.set(Wires::default());
    }
    wait_role(&principal, "mirror");
    let commit = json!([{"type": "execute", "stmt": {"sql": "commit"}}]);
    let committed = principal.client().pipeline(baton.as_deref(), &commit);
    assert!(
        !matches!(&committed, Ok((outcomes, _)) if outcomes[0].is_ok()),
        "a deposed principal confirmed a commit: {committed:?}"
    );
    wait_state(&principal, "SUSPENDED");
    // A commit of that very moment may be an orphan, never confirmed: only a restart shows the rest.
    if let Err(refused) = principal.client().execute("select 1", &[]) {
        assert_eq!(refused.code, "NOT_FINAL");
        principal.terminate();
        principal.launch();
        wait_state(&principal, "SUSPENDED");
    }
    assert!(rows_on(&principal).contains(&(1000, 8)), "what it confirmed alone is still there");
    assert_eq!(rows_on(&mirror), BTreeSet::from([(1000, 7)]));
}

/// A stream that holds nothing lives through a change of roles. It once read on while nobody was to read.
#[test]
fn a_stream_from_before_shows_nothing_of_what_may_be_taken_back() {
    let serve = [&QUICK[..], &["--require-mirror"]].concat();
    let (principal, mirror, proxies) = both_proxied(&serve);
    let (mut before, mut writer) =
        (Socket::with_streams(&principal, 1), Socket::with_streams(&principal, 1));
    let count = "select count(*) from work";
    for _ in 0..20 {
        assert_eq!(rows_of(&before.run(1, count)), [[json!(0)]]);
    }
    let last = || principal.status()["journal"]["last"].as_u64().unwrap();
    let known = last();
    for proxy in &proxies {
        proxy.set(Wires { forth_cut: true, back_cut: true, ..Wires::default() });
    }
    let id = writer.send_sql(1, "insert into work values(1, 1, 'never confirmed')");
    wait_for("the insert to be journaled", || (last() > known).then_some(()));
    wait_state(&principal, "DISCONNECTED");
    wait_state(&mirror, "DISCONNECTED");
    mirror.cli_ok(&["promote", "--yes"]);
    for proxy in &proxies {
        proxy.set(Wires { refused: true, ..Wires::default() });
        proxy.set(Wires::default());
    }
    wait_role(&principal, "mirror");
    assert_eq!(writer.answer(id).expect_err("it is on no other server").code, "NOT_CONFIRMED");
    wait_for("reads to be refused", || {
        let refused = principal.client().execute(count, &[]).expect_err(count);
        (refused.code == "NOT_FINAL").then_some(())
    });
    for _ in 0..20 {
        assert_eq!(before.code(1, count), "NOT_FINAL");
    }
}
