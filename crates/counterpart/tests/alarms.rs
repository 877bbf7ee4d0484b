//! Alarms of a real pair: raised, seen, acknowledged, kept across a crash, cleared; and told to others.

mod support;

use std::{
    path::Path,
    process::{Child, Command},
};

use serde_json::{Value, json};
use support::{
    client::{get_json, send_json},
    pair::{Pair, start_mirroring, wait_applied, wait_role, wait_state, wait_synchronized},
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
    let mut pair = Pair::start_with(&["--partner-timeout", "5s"], &[]);
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
    assert_eq!(alarms(&server)["active"], json!([]));
    assert!(server.data().join("alarms.json.unreadable").exists());
}

/// A receiver of webhooks, in a process of its own.
struct Receiver {
    child: Child,
}

impl Receiver {
    fn start(url: &str, secret: &str, file: &Path) -> Receiver {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/alarms/receiver.py");
        let authority = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let (host, port) = authority.split_once(':').unwrap();
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).args([host, port, secret]).arg(file);
        Receiver { child: command.spawn().unwrap() }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The lines of JSON in a file so far. The last one may not be whole yet.
fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn step_and_cause(notice: &Value) -> (String, String) {
    let part =
        |pointer: &str| notice.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
    (part("/step"), part("/alarm/cause"))
}

fn has(notices: &[Value], step: &str, cause: &str) -> bool {
    notices.iter().any(|notice| step_and_cause(notice) == (step.to_owned(), cause.to_owned()))
}

#[test]
fn a_command_and_a_webhook_tell_everything_in_order_even_if_the_receiver_was_down_and_the_server_died()
 {
    let dir = tempfile::tempdir().unwrap();
    let (secret, commanded, received) =
        (dir.path().join("secret"), dir.path().join("commanded"), dir.path().join("received"));
    std::fs::write(&secret, "s3cret\n").unwrap();
    let mut mirror = Server::start();
    // Nobody listens there yet.
    let url = format!("http://{}:{}/alarms", mirror.address, free_port(&mirror));
    let command = format!("cat >> '{0}'; echo >> '{0}'", commanded.display());
    let told_by = ["--alarm-command", &command, "--alarm-webhook", &url];
    let signed = ["--alarm-webhook-secret-file", secret.to_str().unwrap()];
    let mut principal = Server::start_with(&[&told_by[..], &signed[..]].concat());
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    mirror.kill();
    wait_for("the command to be told", || {
        let told = lines(&commanded);
        let causes = ["PartnerLost", "Exposed", "NotSynchronized"];
        causes.iter().all(|cause| has(&told, "raised", cause)).then_some(())
    });
    wait_for("the webhook to have failed", || {
        let channels = alarms(&principal)["channels"].clone();
        let (command, webhook) = (&channels[0], &channels[1]);
        let failed = webhook["waiting"].as_u64() >= Some(3) && webhook["error"].is_string();
        (failed && command["waiting"] == 0).then_some(())
    });
    // What could not be told yet is not forgotten, and what was told is not told again.
    principal.kill();
    principal.launch();
    let _receiver = Receiver::start(&url, "s3cret", &received);
    wait_for("the webhook to be told", || {
        let told: Vec<Value> = lines(&received).iter().map(|line| line["notice"].clone()).collect();
        (has(&told, "raised", "PartnerLost") && has(&told, "raised", "Exposed")).then_some(())
    });
    mirror.launch();
    let both_told = || {
        let by_webhook: Vec<Value> =
            lines(&received).iter().map(|line| line["notice"].clone()).collect();
        let by_command = lines(&commanded);
        let over =
            |told: &[Value]| has(told, "cleared", "PartnerLost") && has(told, "cleared", "Exposed");
        (over(&by_webhook) && over(&by_command)).then_some((by_webhook, by_command))
    };
    let (by_webhook, by_command) = wait_for("both to be told that it is over", both_told);
    for line in lines(&received) {
        assert_eq!((&line["path"], &line["type"]), (&json!("/alarms"), &json!("application/json")));
        assert_eq!(line["signed"], true, "{line}");
    }
    for told in [&by_webhook, &by_command] {
        let numbers: Vec<u64> =
            told.iter().map(|notice| notice["number"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order, and once: {numbers:?}");
        let lost =
            told.iter().filter(|n| step_and_cause(n) == ("raised".into(), "PartnerLost".into()));
        assert_eq!(lost.count(), 1);
    }
    assert_eq!(by_webhook[0]["server"], principal.status()["server"]);
    assert_eq!(by_webhook[0]["role"], "principal");
    let told = principal.cli_ok(&["alarms", "test"]);
    assert_eq!(told.trim(), "told by command and webhook");
    assert!(has(&lines(&commanded), "test", ""));
    refused_with(mirror.cli(&["alarms", "test", "--json"]), "NO_CHANNELS");
}

#[test]
fn a_mirror_tells_that_its_principal_is_lost_only_if_that_one_can_not() {
    let dir = tempfile::tempdir().unwrap();
    let told = dir.path().join("told");
    let command = format!("cat >> '{0}'; echo >> '{0}'", told.display());
    let mut principal = Server::start();
    let mirror = Server::start_with(&["--partner-timeout", "2s", "--alarm-command", &command]);
    start_mirroring(&principal, &mirror, &[]);
    wait_synchronized(&principal);
    wait_state(&mirror, "SYNCHRONIZED");
    principal.kill();
    wait_for("the mirror to tell", || has(&lines(&told), "raised", "PartnerLost").then_some(()));
    principal.launch();
    wait_for("the mirror to tell the end", || {
        has(&lines(&told), "cleared", "PartnerLost").then_some(())
    });
    // Whatever else it may have lost and found on a slow machine: each end has a beginning, and is told once.
    for (index, notice) in lines(&told).iter().enumerate() {
        let step = if index % 2 == 0 { "raised" } else { "cleared" };
        assert_eq!(step_and_cause(notice), (step.to_owned(), "PartnerLost".to_owned()));
    }
}

/// A port of the server's address that nobody uses.
fn free_port(server: &Server) -> u16 {
    std::net::TcpListener::bind((server.address, 0)).unwrap().local_addr().unwrap().port()
}
