//! `GET /metrics` as Prometheus reads it: parsed and linted by Prometheus' own library, and right in what it says.

mod support;

use std::{
    collections::BTreeSet,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use support::{
    client::get_bytes,
    pair::{Pair, wait_applied, wait_state},
    server::Server,
    wait_for,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter with the parser, which is installed first if it is missing or outdated.
fn python() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let folder = root().join("tests/metrics");
        let output = Command::new(folder.join("install.sh")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the parser can't be installed:\n{told}");
        folder.join(".venv/bin/python")
    };
    INSTALLED.get_or_init(install).clone()
}

fn text_of(server: &Server) -> Vec<u8> {
    get_bytes(&format!("{}/metrics", server.url()))
}

/// What a program says of what it is given.
fn told(command: &mut Command, given: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(given).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output.stdout
}

/// What a server says, parsed; nothing in it may be complained about.
struct Scrape(Value);

impl Scrape {
    fn of(server: &Server) -> Scrape {
        let lint = root().join("tests/metrics/lint.py");
        let parsed = told(Command::new(python()).arg("-B").arg(lint), &text_of(server));
        let parsed: Value = serde_json::from_slice(&parsed).unwrap();
        assert_eq!(parsed["complaints"], serde_json::json!([]));
        Scrape(parsed)
    }

    /// The value of the only sample with this name and these labels among its own.
    #[track_caller]
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.0["samples"].as_array().unwrap().iter();
        let matching = samples.filter(|sample| {
            sample["name"] == name
                && labels.iter().all(|(label, value)| sample["labels"][label] == *value)
        });
        match matching.collect::<Vec<_>>()[..] {
            [one] => one["value"].as_f64().unwrap(),
            ref others => panic!("{name}{labels:?}: {others:?}"),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let samples = self.0["samples"].as_array().unwrap().iter();
        samples.map(|sample| sample["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn both_servers_of_a_pair_tell_their_figures_in_a_form_that_prometheus_reads() {
    let pair = Pair::start();
    let client = pair.principal.client();
    client.run("CREATE TABLE t (x)");
    for n in 0..20 {
        client.run(&format!("INSERT INTO t VALUES ({n})"));
    }
    wait_applied(&pair.principal, &pair.mirror);
    let (here, there) = (Scrape::of(&pair.principal), Scrape::of(&pair.mirror));
    assert_eq!(here.get("counterpart_role", &[("role", "principal")]), 1.0);
    assert_eq!(there.get("counterpart_role", &[("role", "mirror")]), 1.0);
    for scrape in [&here, &there] {
        assert_eq!(scrape.get("counterpart_partner_state", &[("state", "SYNCHRONIZED")]), 1.0);
        assert_eq!(scrape.get("counterpart_partner_state", &[("state", "DISCONNECTED")]), 0.0);
        assert_eq!(scrape.get("counterpart_partner_connected", &[]), 1.0);
        assert_eq!(scrape.get("counterpart_databases", &[]), 1.0);
        assert!(scrape.get("counterpart_disk_free_bytes", &[]) > 0.0);
    }
    assert!(here.get("counterpart_transactions_total", &[]) >= 21.0);
    assert!(here.get("counterpart_partner_sent_bytes_total", &[]) > 0.0);
    assert!(there.get("counterpart_partner_received_bytes_total", &[]) > 0.0);
    // Each commit waited for the mirror, and was sent, and was applied there: every one of them is counted.
    assert!(here.get("counterpart_commit_overhead_seconds_count", &[]) >= 21.0);
    assert!(here.get("counterpart_send_seconds_count", &[]) >= 21.0);
    assert!(there.get("counterpart_apply_seconds_count", &[]) >= 21.0);
    assert!(here.get("counterpart_send_peak_seconds", &[]) >= 0.0);
    assert_eq!(here.get("counterpart_send_queue_events", &[]), 0.0);
    assert_eq!(here.get("counterpart_oldest_unsent_seconds", &[]), 0.0);
    assert_eq!(here.get("counterpart_exposed", &[]), 0.0);
}

#[test]
fn what_a_mirror_misses_is_a_queue_with_an_age_and_its_peak_is_told_when_it_is_over() {
    let mut pair = Pair::start();
    let client = pair.principal.client();
    client.run("CREATE TABLE t (x)");
    wait_applied(&pair.principal, &pair.mirror);
    pair.mirror.kill();
    wait_state(&pair.principal, "DISCONNECTED");
    for n in 0..30 {
        client.run(&format!("INSERT INTO t VALUES ({n})"));
    }
    let alone = Scrape::of(&pair.principal);
    assert_eq!(alone.get("counterpart_exposed", &[]), 1.0);
    assert_eq!(alone.get("counterpart_partner_connected", &[]), 0.0);
    assert!(alone.get("counterpart_exposed_seconds", &[]) > 0.0);
    pair.mirror.launch();
    pair.wait_synchronized();
    let after = wait_for("the queue to be empty", || {
        let scrape = Scrape::of(&pair.principal);
        (scrape.get("counterpart_send_queue_events", &[]) == 0.0).then_some(scrape)
    });
    // It was there between two looks, and both tell of it for a minute.
    assert!(after.get("counterpart_send_queue_peak_events", &[]) >= 30.0);
    assert!(after.get("counterpart_send_peak_seconds", &[]) > 0.0);
    assert_eq!(after.get("counterpart_exposed", &[]), 0.0);
    assert_eq!(after.get("counterpart_partner_left_synchronized_total", &[]), 1.0);
}

/// The names of ours in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("counterpart_")).map(str::to_owned).collect()
}

#[test]
fn the_alert_rules_and_the_dashboard_ask_only_for_figures_that_there_are() {
    let pair = Pair::start();
    let (here, there) = (Scrape::of(&pair.principal), Scrape::of(&pair.mirror));
    let known: BTreeSet<String> = here.names().union(&there.names()).cloned().collect();
    let rules = root().join("deploy/prometheus/counterpart.rules.yml");
    for file in [&rules, &root().join("deploy/grafana/counterpart.json")] {
        let asked = names_in(&std::fs::read_to_string(file).unwrap());
        assert!(asked.len() > 5, "{}: {asked:?}", file.display());
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{} asks for {unknown:?}", file.display());
    }
    let dashboard = std::fs::read(root().join("deploy/grafana/counterpart.json")).unwrap();
    assert!(serde_json::from_slice::<Value>(&dashboard).unwrap()["panels"].is_array());
    // Prometheus' own tool, where the machine has it, is the better judge.
    if Command::new("promtool")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        told(Command::new("promtool").args(["check", "rules"]).arg(&rules), b"");
        told(Command::new("promtool").args(["check", "metrics"]), &text_of(&pair.principal));
    }
}

#[test]
fn figures_are_for_whoever_may_read_the_status_and_prometheus_shows_a_token() {
    let server = Server::start_with(&["--require-token"]);
    let url = format!("{}/metrics", server.url());
    let token = std::fs::read_to_string(server.data().join("admin.token")).unwrap();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    assert_eq!(agent.get(&url).call().unwrap().status(), 401);
    let shown = format!("Bearer {}", token.trim());
    let mut answer = agent.get(&url).header("authorization", shown).call().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.body_mut().read_to_string().unwrap().contains("counterpart_build_info{"));
}
