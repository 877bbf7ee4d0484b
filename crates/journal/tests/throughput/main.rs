//! How fast one appender that does not wait gets its records hardened. Run by hand:
//! `cargo test --release -p counterpart-journal --test throughput -- --ignored --nocapture`
#![allow(clippy::print_stdout, reason = "this measures time, and prints what it measured")]

mod clock;
#[path = "../support/mod.rs"]
mod support;

use counterpart_core::{DatabaseId, Lsn, PageNo, PageSize, UnixMicros, record::TransactionDraft};
use counterpart_journal::Config;
use support::*;

/// Appends `count` records with images of `noisy` bytes that do not compress, and waits for the last.
fn measure(noisy: std::ops::Range<usize>, count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), Config::default()).unwrap();
    let noise = noise(1, 4096);
    let mut image = vec![0; 4096];
    let mut drafts = Vec::new();
    let mut bytes = 0;
    for n in 0..count {
        let length = noisy.start + usize::try_from(n).unwrap() % noisy.len();
        image[..length].copy_from_slice(&noise[..length]);
        image[length..].fill(0);
        let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(n));
        assert!(draft.push_page(PageNo(1), &image).is_none());
        let draft = draft.finish(1, 0);
        bytes += draft.length();
        drafts.push(draft);
    }
    let begun = clock::now();
    for draft in drafts {
        journal.append(draft).unwrap();
    }
    let appended = begun.elapsed();
    journal.wait_hardened(Lsn(count)).unwrap();
    let hardened = begun.elapsed();
    let rate = |seconds: f64| count as f64 / seconds;
    println!(
        "{count} records of {} bytes on average: {:.0} appended/s, {:.0} hardened/s, {:.1} MB/s",
        bytes / usize::try_from(count).unwrap(),
        rate(appended.as_secs_f64()),
        rate(hardened.as_secs_f64()),
        bytes as f64 / 1e6 / hardened.as_secs_f64()
    );
    journal.flush_and_stop().unwrap();
    let begun = clock::now();
    let (journal, _) = open_real(dir.path(), Config::default()).unwrap();
    println!("  recovery verified them in {:.3} s", begun.elapsed().as_secs_f64());
    let begun = clock::now();
    assert_eq!(journal.records_after(Lsn(0)).count() as u64, count);
    println!("  read back in {:.3} s", begun.elapsed().as_secs_f64());
}

/// The time from append to hardened, one record at a time.
fn latency(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open_real(dir.path(), Config::default()).unwrap();
    let mut times: Vec<_> = (1..=count)
        .map(|n| {
            let draft = small(n);
            let begun = clock::now();
            let lsn = journal.append(draft).unwrap();
            journal.wait_hardened(lsn).unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_micros();
    println!("one by one: p50 {} µs, p99 {} µs, p99.9 {} µs", at(0.5), at(0.99), at(0.999));
}

#[test]
#[ignore = "a measurement, for a release build and a quiet machine"]
fn one_appender_that_does_not_wait() {
    measure(10..20, 1_000_000);
    measure(10..600, 500_000);
    measure(4000..4096, 100_000);
    latency(5_000);
}
