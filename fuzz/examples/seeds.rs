//! Writes the seeds: small, valid examples of everything that is fuzzed, made by the same code that makes the real ones.
//!
//! It must only ever add files to `corpus/`, named for what they are. Run it with `cargo run --example seeds`.

use std::path::Path;

use bytes::Bytes;
use counterpart_core::{
    DatabaseId, DatabaseName, Epoch, EpochHistory, Lsn, PageNo, PageSize, ServerId, SessionId,
    UnixMicros,
    copy::{Answer, Chosen, End, Head, Offer, RangeHashes, SentPages, Want, Whole},
    frame::{self, FrameType, SeedPages},
    map::{
        Entry,
        file::{Header, encode_block, encode_header},
    },
    message::{Envelope, Message, SeedDatabase},
    record::{Draft, PageEncoder, Stamp, TransactionDraft},
};
use counterpart_hrana::proto::{
    ClientMessage, CursorEntry, CursorRequest, PipelineRequest, PipelineResponse,
    protobuf::{Protobuf, encode},
};

const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target))?;
        std::fs::write(corpus.join(target).join(name), bytes)
    };
    let records = records();
    for (target, name) in [("record", "all-kinds"), ("segment", "all-kinds")] {
        write(target, name, &records.concat())?;
    }
    write("record", "transaction", &records[1])?;
    write("record", "delta", &records[2])?;
    write("record", "delta-lz4", &records[5])?;
    write("segment", "torn", &records.concat()[..records[0].len() + 100])?;
    write("frames", "records", &framed(FrameType::Records, &records.concat()))?;
    let message = message();
    write("message", "ack", &message)?;
    write("frames", "ack", &framed(FrameType::Message, &message))?;
    write("frames", "seed-pages", &seed_pages())?;
    write("copy", "whole", &copy(&records))?;
    write("copy", "answer", &framed(FrameType::CopyAnswer, &answer().encode()))?;
    write("map", "two-blocks", &map())?;
    for (name, text) in HRANA {
        write("hrana", name, text.as_bytes())?;
    }
    for (name, bytes) in protobuf() {
        write("protobuf", name, &bytes)?;
    }
    for (name, text) in CONFIGURATIONS {
        write("configuration", name, text.as_bytes())?;
    }
    Ok(())
}

fn records() -> Vec<Vec<u8>> {
    let size = PageSize::from_log2(9).expect("512 bytes is a page size");
    let name: DatabaseName = "main".parse().expect("a name");
    let mut create = TransactionDraft::new(DatabaseId(1), size, NOW);
    assert!(create.push_page(PageNo(1), &[7; 512]).is_none(), "one page is no chunk");
    let mut change = TransactionDraft::new(DatabaseId(1), size, NOW);
    let noise: Vec<u8> = (0..512u32).map(|i| (i * i >> 3) as u8).collect();
    for page in [1, 2] {
        assert!(change.push_page(PageNo(page), &noise).is_none(), "two pages are no chunk");
    }
    let mut next = noise.clone();
    next[40..48].fill(9);
    let mut delta = TransactionDraft::new(DatabaseId(1), size, NOW);
    let mut encoder = PageEncoder::default();
    assert!(delta.push_version(PageNo(2), Some(&noise), &next, &mut encoder).is_none(), "one page");
    let mut moved = TransactionDraft::new(DatabaseId(1), size, NOW);
    next.rotate_left(200);
    assert!(moved.push_version(PageNo(2), Some(&noise), &next, &mut encoder).is_none(), "one page");
    let drafts = [
        create.finish_create(&name, 1, 11),
        change.finish(2, 22),
        delta.finish(2, 33),
        Draft::mark(NOW),
        Draft::drop_database(DatabaseId(1), NOW),
        moved.finish(2, 44),
    ];
    let epoch = Epoch { server: ServerId(1), term: 1, start: 1 };
    let seal = |(i, draft): (usize, Draft)| {
        let stamp = Stamp { lsn: Lsn(i as u64 + 1), epoch, commit_lsn: Lsn(i as u64) };
        draft.seal(stamp).bytes().to_vec()
    };
    drafts.into_iter().enumerate().map(seal).collect()
}

fn framed(kind: FrameType, payload: &[u8]) -> Vec<u8> {
    [&frame::header(kind, &[payload])[..], payload].concat()
}

fn message() -> Vec<u8> {
    let epoch = Epoch { server: ServerId(1), term: 2, start: 3 };
    let message = Message::Ack { hardened: Lsn(5), applied: Lsn(4) };
    Envelope { epoch, message }.encode()
}

fn seed_pages() -> Vec<u8> {
    let size = PageSize::from_log2(9).expect("512 bytes is a page size");
    let bytes = Bytes::from(vec![3; 1024]);
    let (database, first, shown) = (DatabaseId(1), PageNo(1), Lsn(7));
    let pages = SeedPages { database, first, page_size: size, shown, bytes };
    let mut all = Vec::new();
    for compress in [false, true] {
        let (kind, payload) = pages.encode(compress);
        all.extend(framed(kind, &payload));
    }
    all
}

/// A copy in a file as it is written, without its opening.
fn copy(records: &[Vec<u8>]) -> Vec<u8> {
    let (database, page_size) = (DatabaseId(1), PageSize::from_log2(9).expect("a page size"));
    let name: DatabaseName = "main".parse().expect("a name");
    let listed = SeedDatabase { id: database, name: name.clone(), page_size, pages: 2 };
    let head = Head {
        build: "0.1.0".into(),
        server: ServerId(1),
        session: SessionId(2),
        epoch: Epoch { server: ServerId(1), term: 1, start: 1 },
        history: EpochHistory::default(),
        made_at: NOW,
        mark: Lsn::ZERO,
        catalog_lsn: Lsn::ZERO,
        next_database: DatabaseId(2),
        databases: vec![listed],
    };
    let offer = Offer {
        database,
        name,
        page_size,
        size_in_pages: 2,
        at: Lsn(2),
        checksum: 3,
        ranges: vec![3],
    };
    let bytes = Bytes::from(vec![9; 1024]);
    let pages = SentPages { database, page_size, numbers: vec![PageNo(1), PageNo(2)], bytes };
    let end = End { end: Lsn(5), databases: 1, pages: 2, records: 5 };
    [
        framed(FrameType::CopyHead, &head.encode()),
        framed(FrameType::CopyOffer, &offer.encode()),
        framed(FrameType::CopyChosen, &Chosen { database, pages: 2 }.encode()),
        framed(FrameType::CopyPages, &pages.encode()),
        framed(FrameType::CopyWhole, &Whole { database, pages: 2 }.encode()),
        framed(FrameType::CopyTail, &records.concat()),
        framed(FrameType::CopyEnd, &end.encode()),
    ]
    .concat()
}

fn answer() -> Answer {
    let ranges = vec![RangeHashes { range: 0, hashes: vec![1, 0, 7] }];
    let want = Want::Hashes { size_in_pages: 3, ranges };
    Answer { database: DatabaseId(1), want, more: false }
}

fn map() -> Vec<u8> {
    let (database, page_size) = (DatabaseId(1), PageSize::DEFAULT);
    let header = Header { database, page_size, size: 3, at: Lsn(9), checksum: 77 };
    let entries = [1, 2, 3].map(|n| Entry { hash: n * 1000, changed: Lsn(n) });
    [encode_header(&header), encode_block(database, 1, &entries)].concat()
}

const HRANA: &[(&str, &str)] = &[
    (
        "pipeline",
        r#"{"baton":null,"requests":[{"type":"execute","stmt":{"sql":"select ?","args":[{"type":"integer","value":"1"},{"type":"blob","base64":"AAE"},{"type":"float","value":1.5},{"type":"null"}],"want_rows":true}},{"type":"close"}]}"#,
    ),
    (
        "batch",
        r#"{"requests":[{"type":"batch","batch":{"steps":[{"stmt":{"sql":"begin"}},{"condition":{"type":"and","conds":[{"type":"ok","step":0},{"type":"not","cond":{"type":"is_autocommit"}}]},"stmt":{"sql_id":1,"named_args":[{"name":"a","value":{"type":"text","value":"x"}}]}}]}},{"type":"sequence","sql":"a;b"},{"type":"describe","sql":"c"},{"type":"store_sql","sql_id":1,"sql":"d"},{"type":"get_autocommit"}]}"#,
    ),
    ("cursor", r#"{"baton":"b","batch":{"steps":[{"stmt":{"sql":"select 1"}}]}}"#),
    ("hello", r#"{"type":"hello","jwt":null}"#),
    (
        "request",
        r#"{"type":"request","request_id":1,"request":{"type":"open_cursor","stream_id":1,"cursor_id":2,"batch":{"steps":[]}}}"#,
    ),
    (
        "results",
        r#"{"baton":"b","base_url":null,"results":[{"type":"ok","response":{"type":"execute","result":{"cols":[{"name":"a","decltype":null}],"rows":[[{"type":"float","value":1e300}]],"affected_row_count":1,"last_insert_rowid":"5"}}},{"type":"error","error":{"message":"m","code":"C"}}]}"#,
    ),
    ("row", r#"{"type":"row","row":[{"type":"integer","value":"-9223372036854775808"}]}"#),
];

/// The same messages in protobuf.
fn protobuf() -> Vec<(&'static str, Vec<u8>)> {
    fn encoded<T: Protobuf + serde::de::DeserializeOwned>(
        name: &'static str,
    ) -> (&'static str, Vec<u8>) {
        let (_, text) =
            HRANA.iter().find(|(known, _)| *known == name).expect("a seed of that name");
        (name, encode::<T>(serde_json::from_str(text).expect("a seed is valid")))
    }
    vec![
        encoded::<PipelineRequest>("pipeline"),
        encoded::<PipelineRequest>("batch"),
        encoded::<CursorRequest>("cursor"),
        encoded::<ClientMessage>("hello"),
        encoded::<ClientMessage>("request"),
        encoded::<PipelineResponse>("results"),
        encoded::<CursorEntry>("row"),
    ]
}

const CONFIGURATIONS: &[(&str, &str)] = &[
    (
        "usual",
        "data = \"/var/lib/counterpart\"\nlisten = \"127.0.0.1:6480\"\npartner-timeout = \"10s\"\nretention-bytes = \"1GiB\"\nforeign-keys = true\nstream-idle = \"1m\"\n",
    ),
    ("wrong-kind", "data = [1, 2]\n"),
    ("unknown", "dater = \"x\"\n"),
    ("not-toml", "data = \"x\nlisten\n"),
    ("advertise", "data = \"d\"\nadvertise = \"http://a:1\"\npartner-advertise = \"[::1]:5\"\n"),
];
