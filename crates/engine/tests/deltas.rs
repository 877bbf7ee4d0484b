//! Commits are journaled as what changed, where everyone who reads the record has what it changed from.

mod common;

use std::sync::Arc;

use common::*;
use counterpart_core::{
    Lsn, PageSize, UnixMicros,
    record::{Draft, PageEncoding, Record},
};
use counterpart_engine::{Applier, ApplyError, Database, Options, RecentImages, RedoFile};

/// A table of 500 rows on a few dozen pages.
fn filled(recent: usize) -> Principal {
    let recent = Arc::new(RecentImages::new(recent));
    let mut principal =
        Principal::with(PageSize::DEFAULT, Options { recent, ..Options::default() });
    principal.sql(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i, printf('%0300d', i) FROM n",
    );
    principal
}

fn update(principal: &mut Principal, id: u32, value: u32) {
    principal.sql(&format!("UPDATE t SET v = printf('%0300d', {value}) WHERE id = {id}"));
}

fn encodings(record: &Record) -> Vec<PageEncoding> {
    record.pages().map(|page| page.encoding).collect()
}

fn last(principal: &Principal) -> &Record {
    principal.records.last().unwrap()
}

fn applied(principal: &Principal, name: &str) -> Database {
    let path = principal.copy(name);
    let _map = mapped(&path);
    let mirror = Database::open(&path, principal.database.id(), Options::default()).unwrap();
    Applier::open(&path).unwrap().apply(&principal.records).unwrap();
    mirror
}

#[test]
fn a_row_that_changes_costs_what_changed() {
    let mut principal = filled(64 << 20);
    update(&mut principal, 250, 7);
    assert_eq!(encodings(last(&principal)), [PageEncoding::Delta]);
    assert!(last(&principal).bytes().len() < 180, "{}", last(&principal).bytes().len());
    assert_same(&principal.pages(), &pages(&applied(&principal, "mirror.db")));
}

#[test]
fn the_first_change_of_a_page_after_a_mark_is_an_image() {
    let mut principal = filled(64 << 20);
    principal.write_mark();
    let expected = [
        (1, PageEncoding::ImageLz4),
        (2, PageEncoding::Delta),
        (499, PageEncoding::ImageLz4),
        (1, PageEncoding::Delta),
    ];
    for (value, (id, expected)) in (1000..).zip(expected) {
        update(&mut principal, id, value);
        assert_eq!(encodings(last(&principal)), [expected], "row {id}");
    }
    principal.write_mark();
    update(&mut principal, 1, 5);
    assert_eq!(encodings(last(&principal)), [PageEncoding::ImageLz4]);
}

#[test]
fn with_no_room_for_recent_images_every_page_is_an_image() {
    let mut principal = filled(0);
    update(&mut principal, 1, 5);
    update(&mut principal, 1, 6);
    assert_eq!(encodings(last(&principal)), [PageEncoding::ImageLz4]);
}

/// The copy has not had them since the database shrank: a delta would build on what is not there.
#[test]
fn pages_that_were_cut_off_come_back_as_images() {
    let mut principal = filled(64 << 20);
    let size = principal.pages().len();
    principal.sql("DELETE FROM t; VACUUM");
    assert!(principal.pages().len() < size / 4);
    let before = u32::try_from(principal.pages().len()).unwrap();
    let seen = principal.records.len();
    principal.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO t SELECT i, printf('%0300d', i) FROM n",
    );
    let new = principal.records[seen..].iter().flat_map(Record::pages);
    let back: Vec<_> = new.filter(|page| page.number.0 > before).collect();
    assert!(back.len() > 20);
    assert!(back.iter().all(|page| page.encoding != PageEncoding::Delta));
    assert_same(&principal.pages(), &pages(&applied(&principal, "mirror.db")));
}

#[test]
fn what_a_failed_capture_took_is_not_built_upon() {
    let mut principal = filled(64 << 20);
    let mut c = principal.database.checkout().unwrap();
    query(&mut c, "UPDATE t SET v = 'lost' WHERE id = 250");
    let refuse = &mut |_: Draft| Err("no room");
    let failed = principal.database.capture(&c, UnixMicros(0), Lsn::ZERO, refuse);
    assert!(failed.is_err());
    principal.run(&mut c, "UPDATE t SET v = 'found' WHERE id = 250").unwrap();
    assert_eq!(encodings(last(&principal)), [PageEncoding::ImageLz4]);
    assert_same(&principal.pages(), &pages(&applied(&principal, "mirror.db")));
}

#[test]
fn who_takes_over_begins_with_images() {
    let mut principal = filled(64 << 20);
    update(&mut principal, 250, 7);
    principal.database.rebase_capture().unwrap();
    update(&mut principal, 250, 8);
    assert_eq!(encodings(last(&principal)), [PageEncoding::ImageLz4]);
}

#[test]
fn recent_images_are_bounded_and_a_large_load_does_not_push_them_out() {
    let recent = Arc::new(RecentImages::new(1 << 20));
    let options = Options { recent: Arc::clone(&recent), ..Options::default() };
    let mut principal = Principal::with(PageSize::DEFAULT, options);
    principal.sql("CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE big(v)");
    principal.sql("INSERT INTO t VALUES (1, 1); UPDATE t SET v = 2");
    assert!(recent.bytes() > 0);
    principal.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO big SELECT randomblob(3000) FROM n",
    );
    assert!(recent.bytes() < 1 << 18, "{}", recent.bytes());
    principal.sql("UPDATE t SET v = 3");
    assert_eq!(encodings(last(&principal)), [PageEncoding::Delta]);
    for _ in 0..300 {
        principal.sql("INSERT INTO big VALUES (randomblob(3000)), (randomblob(3000))");
        assert!(recent.bytes() <= 1 << 20);
    }
    principal.sql("UPDATE t SET v = 4");
    assert_eq!(encodings(last(&principal)), [PageEncoding::ImageLz4], "it had to go");
    assert_same(&principal.pages(), &pages(&applied(&principal, "mirror.db")));
}

/// A copy that missed a commit must hear of it at the next one, whatever the delta makes of the wrong page.
#[test]
fn a_delta_upon_another_version_is_never_taken_for_the_page() {
    for change in ["v = v || 'x'", "v = printf('%0300d', 77)", "v = 'short'"] {
        let mut principal = filled(64 << 20);
        let known = principal.records.len();
        principal.sql(&format!("UPDATE t SET {change} WHERE id = 250"));
        principal.sql("UPDATE t SET v = v || 'end' WHERE id = 251");
        assert_eq!(encodings(last(&principal)), [PageEncoding::Delta]);

        let path = principal.copy("mirror.db");
        let _map = mapped(&path);
        let mirror = Database::open(&path, principal.database.id(), Options::default()).unwrap();
        let recent = Arc::new(RecentImages::new(64 << 20));
        let mut applier = Applier::open(&path).unwrap().with_recent(&recent);
        applier.apply(&principal.records[..known]).unwrap();
        let before = pages(&mirror);
        let outcome = applier.apply(&principal.records[known + 1..]);
        let told = matches!(outcome, Err(ApplyError::Differs { .. } | ApplyError::Page { .. }));
        assert!(told, "{change}: {outcome:?}");
        assert_same(&before, &pages(&mirror));

        let path = principal.copy("redone.db");
        let map = mapped(&path);
        let mut redo = RedoFile::open(&path, PageSize::DEFAULT).unwrap();
        principal.records[..known].iter().for_each(|record| redo.push(record).unwrap());
        let outcome = redo.push(last(&principal)).and_then(|()| redo.finish());
        if let Ok(redone) = outcome {
            let (_, expected) = redone.recorded.expect("there were records");
            assert_ne!(map.checksum_at().0, expected, "{change}");
        }
    }
}
