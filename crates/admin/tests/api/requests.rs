//! Requests as they should not be, uploads and downloads that break, health, and operations that outlive clients.

use std::io::Write;

use crate::wire::{Api, Reply, hang_up};
use bytes::Bytes;
use counterpart_node::Refusal;
use serde_json::json;

/// Waits for what another thread does; fails after 20 s.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        let waited = receiver.recv_timeout(std::time::Duration::from_millis(10));
        assert!(waited.is_err(), "nothing is sent");
    }
    drop(sender);
    panic!("{what}");
}

#[test]
fn bodies_that_are_not_what_is_asked_for_are_refused_and_nothing_is_done() {
    let api = Api::start();
    let deep = "[".repeat(60_000);
    let cases: [(&str, &[u8]); 12] = [
        ("/api/v1/databases", b""),
        ("/api/v1/databases", b"{"),
        ("/api/v1/databases", b"[]"),
        ("/api/v1/databases", b"null"),
        ("/api/v1/databases", b"{\"name\":1}"),
        ("/api/v1/databases", b"{\"name\":\"a\",\"name\":\"b\"}"),
        ("/api/v1/databases", b"{\"name\":\"a\"} {}"),
        ("/api/v1/databases", b"\xff\xfe"),
        ("/api/v1/databases", deep.as_bytes()),
        ("/api/v1/mirroring/check-join", b"{\"replace\":false,\"bytes\":-1}"),
        ("/api/v1/mirroring/check-join", b"{\"replace\":\"yes\",\"bytes\":1}"),
        ("/api/v1/mirroring/failover", b"{\"to\":\"xyz\"}"),
    ];
    for (path, body) in cases {
        let reply = api.call("POST", path, body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_BODY"), "{path} {shown}");
    }
    assert_eq!(api.fake.calls(), Vec::<String>::new());
}

#[test]
fn a_body_that_is_too_large_is_refused_with_413() {
    let api = Api::start();
    let body = format!("{{\"name\":\"{}\"}}", "a".repeat(100_000));
    let reply = api.call("POST", "/api/v1/databases", body);
    assert_eq!((reply.status, reply.code().as_str()), (413, "REQUEST_TOO_LARGE"));
}

#[test]
fn odd_database_names_are_refused_wherever_they_stand() {
    let api = Api::start();
    let long = "a".repeat(64);
    for name in ["", "A", "-a", "a.b", "a b", "../etc/passwd", "ä", "a\u{0}", long.as_str()] {
        let reply = api.call("POST", "/api/v1/databases", json!({ "name": name }).to_string());
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "INVALID_DATABASE_NAME"),
            "{name:?}"
        );
    }
    for name in ["A", "%2e%2e", "a%00b", "%C3%A4", "a%2Fb", "a%20b", long.as_str()] {
        for (method, suffix) in
            [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("PUT", "/content")]
        {
            let path = format!("/api/v1/databases/{name}{suffix}");
            let reply = api.call(method, &path, "");
            let expected = (400, "INVALID_DATABASE_NAME");
            assert_eq!((reply.status, reply.code().as_str()), expected, "{method} {path}");
        }
    }
    let reply = api.call("GET", "/api/v1/databases/%ff", "");
    assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_PATH"));
    assert_eq!(api.fake.calls(), Vec::<String>::new());
}

#[test]
fn addresses_and_safeties_that_make_no_sense_are_refused() {
    let api = Api::start();
    for address in ["", "b", "b:", ":1", "b:0", "b:65536", "http://b:1", "b b:1", "a@b:1"] {
        let body = json!({ "partner_address": address }).to_string();
        let reply = api.call("POST", "/api/v1/mirroring/probe", body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_ADDRESS"), "{address:?}");
    }
    let partner = json!({ "session": "00000000000000cc", "server": "00000000000000bb",
                          "partner_address": "b:1", "client_url": "http://b:1", "safety": "half" });
    let reply = api.call("POST", "/api/v1/mirroring/partners", partner.to_string());
    assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_SAFETY"));
}

#[test]
fn a_query_that_makes_no_sense_does_not_stop_mirroring() {
    let api = Api::start();
    for query in ["?partner=1", "?partner=", "?patner=00000000000000bb"] {
        let reply = api.call("DELETE", &format!("/api/v1/mirroring{query}"), "");
        assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_QUERY"), "{query}");
    }
    assert_eq!(api.fake.calls(), Vec::<String>::new());
    assert_eq!(api.call("DELETE", "/api/v1/mirroring", "").status, 200);
    assert_eq!(api.fake.calls(), ["stop None"]);
}

#[test]
fn a_request_from_another_sites_page_is_refused_and_one_from_our_own_is_not() {
    let api = Api::start();
    let path = "/api/v1/mirroring/promotion";
    for origin in ["http://evil.example", "null"] {
        let reply = api.call_with("POST", path, &format!("origin: {origin}\r\n"), "");
        assert_eq!((reply.status, reply.code().as_str()), (403, "CROSS_ORIGIN"), "{origin}");
    }
    assert_eq!(api.fake.calls(), Vec::<String>::new());
    let own = format!("origin: http://{}\r\n", api.address);
    assert_eq!(api.call_with("POST", path, &own, "").status, 200);
}

#[test]
fn an_upload_arrives_whole_with_and_without_its_length() {
    let api = Api::start();
    let body: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let reply = api.call("PUT", "/api/v1/databases/sales/content", &body);
    assert_eq!(reply.status, 201, "{reply:?}");
    let mut stream = api.connect();
    let head = "PUT /api/v1/databases/chunks/content HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(Reply::read(stream).status, 201);
    let expected = ["stage 3000000", "import sales 3000000", "stage 0", "import chunks 3"];
    assert_eq!(api.fake.calls(), expected);
    assert_eq!(api.fake.staged_files(), 0);
}

#[test]
fn an_upload_that_breaks_off_is_forgotten() {
    let api = Api::start();
    let mut stream = api.connect();
    let head = "PUT /api/v1/databases/sales/content HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[7; 10_000]).unwrap();
    eventually("the upload begins", || api.fake.staged_files() == 1);
    hang_up(&stream);
    eventually("the file is deleted", || api.fake.staged_files() == 0);
    assert_eq!(api.fake.calls(), ["stage 1000000"]);
}

#[test]
fn an_upload_for_which_there_is_no_place_is_refused_before_it_is_read() {
    let api = Api::start();
    api.fake.refuse(Refusal::new("DISK_FULL", "the disk is full", "free some space"));
    let mut stream = api.connect();
    let head = "PUT /api/v1/databases/sales/content HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-length: 9000000000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let reply = Reply::read(stream);
    assert_eq!((reply.status, reply.code().as_str()), (507, "DISK_FULL"));
    assert_eq!(api.fake.calls(), ["stage 9000000000"]);
}

#[test]
fn a_staging_place_that_cannot_be_written_is_a_fault_of_the_server() {
    let api = Api::start();
    std::fs::remove_dir_all(api.fake.staging.path()).unwrap();
    let reply = api.call("PUT", "/api/v1/databases/sales/content", "abc");
    assert_eq!((reply.status, reply.code().as_str()), (500, "STAGING_FAILED"));
}

#[test]
fn an_export_tells_its_length_and_name() {
    let api = Api::start();
    let reply = api.call("GET", "/api/v1/databases/main/content", "");
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"abcdef"[..]));
    assert!(reply.head.contains("\r\ncontent-length: 6"), "{}", reply.head);
    assert!(reply.head.contains("filename=\"main.sqlite\""), "{}", reply.head);
}

#[test]
fn an_export_that_breaks_off_is_shorter_than_announced() {
    let api = Api::start();
    let piece = || Ok(Bytes::from("abc"));
    let refusal = Refusal::new("DATABASE_NOT_FOUND", "it was dropped", "nothing");
    for pieces in [vec![piece(), Err(refusal)], vec![piece()], vec![]] {
        *api.fake.export.lock().unwrap() = (6, pieces);
        let reply = api.call("GET", "/api/v1/databases/main/content", "");
        let announced = reply.status == 200 && reply.head.contains("\r\ncontent-length: 6");
        assert!(announced || reply.status == 0, "{reply:?}");
        assert!(reply.body.len() < 6, "{reply:?}");
    }
}

#[test]
fn an_export_never_sends_more_than_announced() {
    let api = Api::start();
    *api.fake.export.lock().unwrap() = (4, vec![Ok(Bytes::from("abc")), Ok(Bytes::from("def"))]);
    let reply = api.call("GET", "/api/v1/databases/main/content", "");
    assert!(reply.body.len() < 4, "{reply:?}");
}

#[test]
fn health_follows_role_and_readiness() {
    let api = Api::start();
    let cases = [
        (json!({ "role": "standalone", "admits_writes": true }), 200, 503),
        (json!({ "role": "principal", "admits_writes": true, "serves_reads": true }), 200, 503),
        (json!({ "role": "principal", "admits_writes": false }), 503, 503),
        (json!({ "role": "mirror", "admits_writes": false, "serves_reads": true }), 503, 200),
        (json!({ "role": "mirror", "serves_reads": false }), 503, 503),
        (json!({ "role": "mirror" }), 503, 503),
        (json!({}), 503, 503),
    ];
    for (status, principal, mirror) in cases {
        api.fake.set_status(status.clone());
        assert_eq!(api.call("GET", "/health", "").status, 200);
        for (path, expected) in [("/health/principal", principal), ("/health/mirror", mirror)] {
            let reply = api.call("GET", path, "");
            assert_eq!(reply.status, expected, "{path} {status}");
            if expected == 503 {
                assert!(!reply.code().is_empty());
            }
        }
    }
}

#[test]
fn orphans_of_the_servers_own_database_can_be_named_and_nothing_else_of_it() {
    let api = Api::start();
    let path = "/api/v1/orphans/1.2-5-6/content?database=_system";
    assert_eq!(api.call("GET", path, "").status, 200);
    let reply = api.call("GET", "/api/v1/orphans/1.2-5-6/content?database=_other", "");
    assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_DATABASE_NAME"));
    let reply = api.call("GET", "/api/v1/databases/_system/content", "");
    assert_eq!((reply.status, reply.code().as_str()), (400, "INVALID_DATABASE_NAME"));
}

#[test]
fn an_operation_is_finished_even_when_its_client_goes_away() {
    let api = Api::start();
    *api.fake.hold_suspend.lock().unwrap() = true;
    let mut stream = api.connect();
    let head = "POST /api/v1/mirroring/suspend HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    eventually("the operation begins", || api.fake.calls() == ["suspend began"]);
    hang_up(&stream);
    drop(stream);
    api.fake.release.notify_one();
    eventually("the operation ends", || api.fake.calls() == ["suspend began", "suspend None"]);
}
