//! What people read.

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
        "client_url": "http://a:6480", "partner_listen": "a:6481", "data_dir": "/data",
        "admits_writes": true, "databases": 3, "applied": 41,
        "journal": { "first": 1, "last": 42, "hardened": 42, "commit": 41, "bytes": 67108864 },
        "mirroring": {
            "state": "SYNCHRONIZED", "session": "00000000000000cc", "safety": "full",
            "partners": [{
                "server": "00000000000000bb", "role": "mirror", "state": "SYNCHRONIZED",
                "client_url": "http://b:6480", "partner_address": "b:6481",
                "hardened": 42, "applied": 40,
                "send_queue": { "events": 0, "bytes": 0 },
                "redo_queue": { "events": 2, "bytes": 1500 },
                "lag": { "events": 2, "bytes": 1500, "seconds": 0.004 },
            }],
            "failover_now": { "lost": 0, "about_ms": 12.3 },
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

Mirror SYNCHRONIZED
  server      00000000000000bb
  addresses   clients http://b:6480, partners b:6481
  positions   hardened 42, applied 40
  send queue  0 events, 0 B
  redo queue  2 events, 1.5 KiB
  lag         2 events, 1.5 KiB, 4 ms

Fail over now: 0 lost, about 12 ms"
    );
}

#[test]
fn an_error_is_shown_with_its_remedy_and_a_seed_with_its_progress() {
    let text = shown(&json!({
        "role": "mirror",
        "mirroring": {
            "state": "SYNCHRONIZING",
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
