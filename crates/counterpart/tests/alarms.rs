//! Alarms of a real pair: raised, seen, acknowledged, kept across a crash, cleared.

mod support;

use serde_json::{Value, json};
use support::{
    client::{get_json, send_json},
    pair::{Pair, wait_applied, wait_role},
    server::{Server, refused_with},
    wait_for,
};

fn alarms(server: &Server) -> Value {
    get_json(&format!("{}/api/v1/alarms", server.url())).unwrap()
}

fn of<'a>(list: &'a Value, part: &str, cause: &str) -> Option<&'a Value> {
    list[part].as_array().unwrap().iter().find(|alarm| alarm["cause"] == cause)
}

/// Waits until an alarm of this cause is active.
fn wait_active(server: &Server, cause: &str) -> Value {
    let what = format!("{} to raise {cause}", server.url());
    wait_for(&what, || of(&alarms(server), "active", cause).cloned())
}

/// Waits until an alarm of this cause is over, and none of it is active.
fn wait_cleared(server: &Server, cause: &str) -> Value {
    let what = format!("{} to clear {cause}", server.url());
    wait_for(&what, || {
        let list = alarms(server);
        let over = of(&list, "active", cause).is_none();
        of(&list, "history", cause).filter(|_| over).cloned()
    })
}

/// Waits until no alarm is active.
fn wait_quiet(server: &Server) {
    let what = format!("{} to have no alarms", server.url());
    wait_for(&what, || alarms(server)["active"].as_array().unwrap().is_empty().then_some(()));
}

#[test]
fn a_lost_mirror_is_an_alarm_until_it_is_back_whatever_happens_to_the_principal_meanwhile() {
    let mut pair = Pair::start();
    // It was exposed while the mirror got its first copy.
    wait_quiet(&pair.principal);
    pair.mirror.kill();
    let lost = wait_active(&pair.principal, "PartnerLost");
    assert_eq!(
        (&lost["state"], &lost["severity"], &lost["times"]),
        (&json!("raised"), &json!("critical"), &json!(1))
    );
    let exposed = wait_active(&pair.principal, "Exposed");
    wait_active(&pair.principal, "NotSynchronized");
    let id = exposed["id"].as_u64().unwrap().to_string();
    let told = pair.principal.cli_ok(&["alarms", "acknowledge", &id]);
    assert!(told.contains("(Exposed) is acknowledged"), "{told}");
    // As after a power cut: nothing is written at the end.
    pair.principal.kill();
    pair.principal.launch();
    let after = wait_active(&pair.principal, "Exposed");
    assert_eq!((&after["id"], &after["state"]), (&exposed["id"], &json!("acknowledged")));
    assert_eq!(wait_active(&pair.principal, "PartnerLost")["id"], lost["id"]);
    let listed = pair.principal.cli_ok(&["alarms", "list"]);
    assert!(listed.contains("PartnerLost") && listed.contains("acknowledged by"), "{listed}");
    pair.mirror.launch();
    pair.wait_synchronized();
    for cause in ["PartnerLost", "Exposed", "NotSynchronized"] {
        assert_eq!(wait_cleared(&pair.principal, cause)["state"], "cleared");
    }
    assert_eq!(wait_cleared(&pair.principal, "Exposed")["id"], exposed["id"]);
    let again = pair.principal.cli(&["alarms", "acknowledge", &id, "--json"]);
    refused_with(again, "ALARM_NOT_FOUND");
    let history = pair.principal.cli_ok(&["alarms", "list", "--history"]);
    assert!(history.contains("cleared"), "{history}");
}

#[test]
fn a_mirror_that_is_alone_says_so_and_a_failover_is_told_on_both() {
    let mut pair = Pair::start_with(&["--partner-timeout", "1s"], &[]);
    pair.principal.cli_ok(&["failover"]);
    pair = pair.swapped();
    wait_role(&pair.principal, "principal");
    pair.wait_synchronized();
    for server in [&pair.principal, &pair.mirror] {
        let changed = wait_active(server, "RoleChanged");
        let path = format!("{}/api/v1/alarms/{}/acknowledge", server.url(), changed["id"]);
        let (status, known) = send_json("POST", &path, &json!({}));
        assert_eq!((status, &known["state"]), (200, &json!("cleared")));
        assert!(of(&alarms(server), "active", "RoleChanged").is_none());
    }
    wait_applied(&pair.principal, &pair.mirror);
    assert!(
        of(&alarms(&pair.principal), "history", "PartnerLost").is_none(),
        "a failover loses nobody"
    );
    pair.principal.kill();
    let lost = wait_active(&pair.mirror, "PartnerLost");
    assert_eq!(lost["partner"].as_str().unwrap().len(), 16);
    pair.principal.launch();
    wait_cleared(&pair.mirror, "PartnerLost");
}

#[test]
fn a_full_disk_is_told_before_it_is_full_and_damage_to_the_book_keeps_no_server_from_starting() {
    let mut server = Server::start_with(&["--alarm-disk-free", "1000000TiB"]);
    let low = wait_active(&server, "DiskLow");
    assert!(low["worst"].as_u64() < low["limit"].as_u64(), "{low}");
    assert!(server.log().contains("alarm=DiskLow"), "{}", server.log());
    server.terminate();
    std::fs::write(server.data().join("alarms.json"), "{\"version\":1,").unwrap();
    server.extra.clear();
    server.launch();
    assert_eq!(alarms(&server), json!({ "active": [], "history": [] }));
    assert!(server.data().join("alarms.json.unreadable").exists());
}
