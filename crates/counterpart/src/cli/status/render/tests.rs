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
    assert!(text.contains("parked      only this server has 3 events after LSN 10"), "{text}");
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

#[test]
fn how_a_mirror_catches_up_is_said_with_what_is_left() {
    let line = |partner: Value| words::progress(&partner);
    let pages = json!({ "pages": 30, "pages_total": 120, "bytes": 4096, "rate": 1024, "eta": 2.0 });
    assert_eq!(
        line(json!({ "way": "compare", "progress": pages })).as_deref(),
        Some("by pages that differ: 30 of 120 pages (25 %), 4.0 KiB, 1.0 KiB/s, 2.0 s left")
    );
    let seed = json!({ "done": 512, "total": 1024, "pages": 1, "pages_total": 2 });
    assert_eq!(
        line(json!({ "way": "seed", "progress": seed })).as_deref(),
        Some("seed: 512 B of 1.0 KiB (50 %)")
    );
    let journal = json!({ "way": "journal", "progress": null, "send_queue": 1234 });
    assert_eq!(line(journal).as_deref(), Some("by the journal: 1,234 events left"));
    let beginning = json!({ "way": "pages", "progress": null });
    assert_eq!(line(beginning).as_deref(), Some("by pages that changed since: beginning"));
    assert!(line(json!({ "way": "switching" })).unwrap().contains("takes the place"));
    assert_eq!(line(json!({ "way": null, "progress": null, "send_queue": 0 })), None);
}

#[test]
fn when_all_is_good_one_line_says_so() {
    let never = json!({ "scrub": { "last": null }, "damage": { "found": 0, "repaired": 0 } });
    let text = shown(&json!({ "role": "standalone", "integrity": never }));
    assert!(text.contains("\n  integrity   all good; not read back since the start"), "{text}");
    let integrity = json!({
        "scrub": { "last": { "bytes": 2048, "failures": [] }, "running": { "bytes": 1, "total": 4 } },
        "read_back_millis": 3000, "damage": { "found": 0 },
    });
    let text = shown(&json!({ "role": "standalone", "integrity": integrity }));
    let line = "all good; all of it (2.0 KiB) was read back 3.0 s ago, reading back now (25 %)";
    assert!(text.contains(line) && !text.contains("what to do"), "{text}");
}

#[test]
fn damage_is_told_with_what_became_of_it_and_what_to_do() {
    let text = |repaired: u64, failures: Value| {
        let last = json!({ "damaged_segments": 1, "repaired_segments": 1, "failures": failures });
        shown(&json!({ "role": "principal", "integrity": {
            "scrub": { "last": last }, "damage": { "found": 2, "repaired": repaired },
        }}))
    };
    let mended = text(2, json!([]));
    assert!(
        mended.contains("2 damaged pages met, 2 repaired; 1 damaged journal segments, 1 mended")
    );
    assert!(mended.contains("what to do  nothing is wrong now"), "{mended}");
    let not = text(1, json!(["page 7 is gone"]));
    assert!(not.contains("page 7 is gone") && not.contains("what to do  connect"), "{not}");
}

#[test]
fn what_is_wrong_with_the_data_is_said_in_words_with_a_remedy() {
    let range = json!({ "common": 10, "end": 13 });
    let told = |mirroring: Value| shown(&json!({ "role": "mirror", "mirroring": mirroring }));
    for (mirroring, words) in [
        (json!({ "saving_orphans": range }), "orphans     saving 3 events after LSN 10"),
        (
            json!({ "rejoining": range }),
            "3 events after LSN 10 are kept, see `counterpart orphans list`",
        ),
        (
            json!({ "rolled_back": { "mirror": "bb", "common": 10, "end": 13 } }),
            "promote the mirror",
        ),
        (
            json!({ "differs": [{ "database": "shop", "since": 9 }] }),
            "differs     shop since LSN 9",
        ),
        (json!({ "replay_stopped": "no space" }), "stopped     no space"),
        (json!({ "partners": [{ "differs": ["shop"] }] }), "nothing while it is connected"),
        (json!({ "partners": [{ "replay_stopped": "no space" }] }), "restart that server"),
    ] {
        let text = told(mirroring);
        assert!(text.contains(words), "{words}\n{text}");
    }
    let met = json!({ "database": "main", "code": "SQLITE_READONLY", "what": "attempt to write" });
    let text = shown(&json!({ "role": "principal", "storage_error": met }));
    assert!(
        text.contains("disk        writing to main failed: attempt to write (SQLITE_READONLY)")
    );
    assert!(text.contains("what to do  look after the disk"), "{text}");
}
