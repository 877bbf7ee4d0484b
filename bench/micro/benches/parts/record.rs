//! Pages and records: their hashes, their encodings, and back.
//!
//! Another encoding of a page is measured beside `encode` and `decode`, on the same page.

use std::hint::black_box;

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, Epoch, Lsn, PageNo, PageSize, ServerId, UnixMicros,
    map::page_hash,
    record::{PageEncoder, Record, Stamp, TransactionDraft},
};
use criterion::{Criterion, Throughput};

/// A page as the figures' table has them: rows of 84 digits that do not compress well, and some room.
pub fn page() -> Vec<u8> {
    let mut page = vec![0u8; PageSize::DEFAULT.bytes()];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for byte in &mut page[400..] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = b"0123456789ABCDEF"[(state >> 60) as usize];
    }
    page
}

fn seal(page: &[u8]) -> Record {
    let mut draft = TransactionDraft::new(DatabaseId(1), PageSize::DEFAULT, UnixMicros(1));
    assert!(draft.push_page(PageNo(7), page).is_none(), "one page is no chunk");
    let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
    draft.finish(100, 1).seal(Stamp { lsn: Lsn(2), commit_lsn: Lsn(1), epoch })
}

/// Measures them.
pub fn all(criterion: &mut Criterion) {
    let page = page();
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("hash", |b| b.iter(|| page_hash(PageNo(7), black_box(&page))));
    group.finish();

    let record = seal(&page);
    let mut group = criterion.benchmark_group("record of one page");
    group.bench_function("encode and seal", |b| b.iter(|| seal(black_box(&page))));
    group.bench_function("verify", |b| {
        b.iter(|| {
            let mut bytes: Bytes = black_box(record.bytes()).clone();
            Record::take(&mut bytes).expect("it was just sealed")
        });
    });
    let mut image = vec![0u8; page.len()];
    group.bench_function("decode", |b| {
        b.iter(|| {
            for page in record.pages() {
                let size = PageSize::DEFAULT;
                page.decode(size, None, black_box(&mut image)).expect("it was just encoded");
            }
        });
    });
    group.finish();
    deltas(criterion, &page);
}

/// A page upon its previous version: with a number that changed where it stands, and with a row that came in between.
fn deltas(criterion: &mut Criterion, page: &[u8]) {
    let (mut number, mut row) = (page.to_vec(), page.to_vec());
    number[2000..2003].copy_from_slice(b"xyz");
    row.copy_within(1000..3000, 900);
    row[2900..3000].fill(b'x');
    let size = PageSize::DEFAULT;
    let mut encoder = PageEncoder::default();
    let mut group = criterion.benchmark_group("delta");
    for (what, next) in [("a number changed", &number), ("a row came in between", &row)] {
        let mut draft = || {
            let mut draft = TransactionDraft::new(DatabaseId(1), size, UnixMicros(1));
            let full = draft.push_version(PageNo(7), Some(page), black_box(next), &mut encoder);
            assert!(full.is_none(), "one page is no chunk");
            draft.finish(100, 1)
        };
        let epoch = Epoch { term: 1, start: 1, server: ServerId(1) };
        let record = draft().seal(Stamp { lsn: Lsn(2), commit_lsn: Lsn(1), epoch });
        group.bench_function(format!("encode, {what}"), |b| b.iter(&mut draft));
        let mut image = vec![0u8; page.len()];
        group.bench_function(format!("decode, {what}"), |b| {
            b.iter(|| {
                let delta = record.pages().next().expect("one page");
                delta.decode(size, Some(page), black_box(&mut image)).expect("just encoded");
            });
        });
    }
    group.finish();
}
