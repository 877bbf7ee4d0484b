//! The status as people read it, line by line: a word that changes here changes for every operator.

use serde_json::json;

use super::*;

fn shown(value: &Value) -> String {
    status(value, "http://asked:1", &Screen::of_test(false, std::io::sink()))
}

#[test]
fn a_synchronized_principal_shows_all_that_an_operator_looks_for() {
    let text = shown(&json!({
        "version": "0.1.0", "server": "00000000000000aa", "role": "principal",
        "words": "Principal, synchronized", "uptime_seconds": 125.0,
        "client_url": "http://a:6480", "partner_address": "a:6481", "data_dir": "/data",
        "admits_writes": true, "databases": 3, "applied": 41,
        "journal": { "first": 1, "last": 42, "hardened": 42, "commit": 41, "bytes": 67108864 },
        "mirroring": {
            "session": "00000000000000cc", "safety": "full",
            "partners": [{
                "server": "00000000000000bb", "role": "mirror", "state": "SYNCHRONIZED",
                "words": "Mirror, synchronized",
                "client_url": "http://b:6480", "partner_address": "b:6481",
                "hardened": 42, "applied": 40,
                "send_queue": 0, "send_queue_bytes": 0, "redo_queue": 2, "redo_queue_bytes": 812, "lag_millis": 4,
                "connected": true, "silent_millis": 400,
            }],
            "failover_now": "Fail over now: 0 lost, about 12 ms",
            "commands": [
                { "command": "failover", "allowed": true }, { "command": "promote", "allowed": false },
            ],
        },
    }));
    assert_eq!(
        text,
        "\
Principal, synchronized
  server      00000000000000aa, version 0.1.0, up 2 min 5 s
  addresses   clients http://a:6480, partners a:6481
  data        /data
  databases   3
  writes      taken
  journal     last LSN 42, hardened 42, commit 41, applied 41, 64.0 MiB on disk
  safety      full
  session     00000000000000cc

Mirror, synchronized
  server      00000000000000bb
  addresses   clients http://b:6480, partners b:6481
  positions   hardened 42, applied 40
  send queue  0 events, 0 B
  redo queue  2 events, 812 B
  lag         4 ms

Fail over now: 0 lost, about 12 ms
Allowed now: failover"
    );
}

#[test]
fn an_error_is_shown_with_its_remedy_and_a_seed_with_its_progress() {
    let text = shown(&json!({
        "role": "mirror", "words": "Mirror, synchronizing",
        "mirroring": {
            "partners": [{
                "role": "principal", "state": "SYNCHRONIZING",
                "progress": { "done": 512, "total": 1024, "rate": 100, "eta": 5.1 },
                "last_error": { "what": "the connection was lost", "remedy": "nothing; it reconnects" },
            }],
        },
    }));
    assert!(text.starts_with("Mirror, synchronizing\n"), "{text}");
    assert!(text.contains("progress    512 B of 1.0 KiB (50 %), 100 B/s, 5.1 s left"), "{text}");
    assert!(
        text.contains("last error  the connection was lost\n  what to do  nothing; it"),
        "{text}"
    );
}

#[test]
fn a_status_without_fields_or_of_another_kind_is_shown_as_far_as_it_goes() {
    assert!(shown(&json!({})).starts_with("Unknown\n"));
    let odd = json!({ "role": 7, "mirroring": [], "journal": 1, "readers": {}, "databases": -1 });
    assert!(shown(&odd).starts_with("Unknown\n"));
}

#[test]
fn a_partner_that_is_connected_and_silent_is_said_to_be_and_what_it_did_not_tell_is_left_out() {
    let partner = json!({
        "role": "mirror", "words": "Mirror, synchronized", "connected": true, "silent_millis": 4_200,
        "hardened": null, "applied": null, "send_queue": null, "lag_millis": null,
    });
    let text = shown(&json!({ "role": "principal", "mirroring": { "partners": [partner] } }));
    assert!(text.contains("\n  silent      for 4.2 s"), "{text}");
    for unknown in ["positions", "queue", "lag"] {
        assert!(!text.contains(unknown), "{text}");
    }
}

#[test]
fn an_exposed_principal_says_since_when_and_how_long_its_mirror_is_silent() {
    let text = shown(&json!({
        "role": "principal", "admits_writes": true, "words": "Principal, disconnected, exposed",
        "readers": [{ "database": "main", "age_millis": 1500 }],
        "mirroring": {
            "exposed_millis": 20_000,
            "partners": [{
                "role": "mirror", "state": "DISCONNECTED", "words": "Mirror, disconnected",
                "connected": false, "silent_millis": 10_000,
            }],
            "failover_now": "Cannot fail over now: the mirror is disconnected.",
        },
    }));
    for line in [
        "  exposed     for 20.0 s",
        "  silent      for 10.0 s",
        "  reader      a snapshot of main has been open for 1.5 s",
        "Cannot fail over now: the mirror is disconnected.",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
}

#[test]
fn a_parked_server_says_what_it_alone_has_and_why_it_takes_no_writes() {
    let text = shown(&json!({
        "role": "mirror", "admits_writes": false,
        "mirroring": {
            "writes": { "refused": { "code": "DEPOSED", "what": "It was deposed." } },
            "parked": { "common": 10, "end": 13 },
        },
    }));
    assert!(text.contains("parked      3 events after LSN 10 are only on this server"), "{text}");
    assert!(text.contains("writes      refused: It was deposed."), "{text}");
}

#[test]
fn a_standalone_server_says_nothing_about_failing_over() {
    let why = "Cannot fail over now: there is no mirror.";
    let text = shown(&json!({
        "role": "standalone", "words": "Standalone",
        "mirroring": { "session": null, "safety": "full", "partners": [], "failover_now": why },
    }));
    assert!(!text.contains("fail over") && !text.contains("safety"), "{text}");
}
