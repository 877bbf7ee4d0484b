//! The calendar jumps, forwards and backwards, on either server: nothing is decided by it, so nothing happens.
//!
//! The servers run under libfaketime, which changes what the calendar says and leaves the monotonic clock alone.

mod support;

use std::path::Path;

use support::{
    pair::{Pair, partner_states, start_mirroring, wait_synchronized},
    server::Server,
    workload::{Workload, assert_has_all, create_table},
};

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// A server whose calendar is moved by what stands in the file.
fn server_with_calendar(library: &str, offset: &Path) -> Server {
    std::fs::write(offset, "+0").unwrap();
    let mut server = Server::prepare(&["--partner-timeout", "2s"]);
    let variables = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    server.environment =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    server.launch();
    server
}

#[test]
fn a_calendar_that_jumps_on_either_server_disturbs_nothing() {
    let Some(library) = LIBRARIES.into_iter().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: libfaketime is not installed (package faketime)");
        return;
    };
    let offsets = tempfile::tempdir().unwrap();
    let (ours, theirs) = (offsets.path().join("principal"), offsets.path().join("mirror"));
    let pair = Pair {
        principal: server_with_calendar(library, &ours),
        mirror: server_with_calendar(library, &theirs),
    };
    start_mirroring(&pair.principal, &pair.mirror, &[]);
    wait_synchronized(&pair.principal);
    create_table(&pair.principal);
    let before = pair.principal.client().value("select unixepoch()").as_i64().unwrap();
    let load = Workload::start(0, 4, &[&pair.principal]);
    for offset in ["+1d", "-1d", "+400d", "-30d", "+0"] {
        for calendar in [&ours, &theirs] {
            std::fs::write(calendar, offset).unwrap();
            load.wait_progress(50);
            assert_eq!(
                partner_states(&pair.principal.status()),
                ["SYNCHRONIZED"],
                "after {offset}"
            );
        }
        if offset == "+1d" {
            let jumped = pair.principal.client().value("select unixepoch()").as_i64().unwrap();
            assert!(jumped - before > 80_000, "the calendar really jumped");
        }
    }
    let (confirmed, failures) = load.stop();
    assert_eq!(failures, []);
    assert_has_all(&pair.principal, &confirmed);
    pair.assert_equal();
    let log = pair.principal.log();
    assert!(!log.contains("DISCONNECTED"), "{log}");
}
