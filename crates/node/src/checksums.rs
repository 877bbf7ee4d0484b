//! Whether two copies are equal, told by their checksums. Each server knows its own at any moment; what another one
//! had at some position is in the record of that position.

use counterpart_core::{DatabaseId, DatabaseName, Lsn};
use serde::{Deserialize, Serialize};

use crate::shared::Shared;

/// One database's checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The database.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// The newest position that changed it, as far as this server knows.
    pub lsn: Lsn,
    /// The checksum of all its pages at that position, as 16 hexadecimal digits; `None` while some page is unknown.
    pub checksum: Option<String>,
}

/// How a partner's database compares with the one here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Page by page the same, at one position.
    Equal,
    /// Not the same, at one position.
    Different,
    /// There is no position at which both are known. Asking again, with newer values, may find one.
    Unknown,
    /// There is no such database here.
    Missing,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The database.
    pub id: DatabaseId,
    /// What was found.
    pub verdict: Verdict,
    /// The position at which both were compared.
    pub lsn: Lsn,
    /// The checksum here, at that position.
    pub here: Option<String>,
    /// The checksum there.
    pub there: Option<String>,
}

fn digits(checksum: u64) -> Option<String> {
    (checksum != 0).then(|| format!("{checksum:016x}"))
}

/// The checksums of all databases here, by name.
pub(crate) fn all(shared: &Shared) -> Vec<Checksum> {
    let all = shared.databases.all().into_iter();
    all.map(|hosted| {
        let (lsn, checksum) = hosted.engine.map().map_or((Lsn::ZERO, 0), |map| map.position());
        Checksum { id: hosted.id, name: hosted.name.clone(), lsn, checksum: digits(checksum) }
    })
    .collect()
}

/// Compares what a partner says of its databases with what is here. Reads the journal.
pub(crate) fn compare(shared: &Shared, theirs: &[Checksum]) -> Vec<Comparison> {
    theirs.iter().map(|one| compare_one(shared, one)).collect()
}

fn compare_one(shared: &Shared, theirs: &Checksum) -> Comparison {
    let mut comparison = Comparison {
        id: theirs.id,
        verdict: Verdict::Unknown,
        lsn: theirs.lsn,
        here: None,
        there: theirs.checksum.clone(),
    };
    let hosted = shared.databases.numbered(theirs.id).filter(|hosted| hosted.name == theirs.name);
    let Some(hosted) = hosted else {
        comparison.verdict = Verdict::Missing;
        return comparison;
    };
    let Some(there) = &theirs.checksum else { return comparison };
    let (lsn, checksum) = hosted.engine.map().map_or((Lsn::ZERO, 0), |map| map.position());
    let now = digits(checksum);
    if now.as_ref() == Some(there) {
        comparison.lsn = lsn;
        comparison.here = now;
        comparison.verdict = Verdict::Equal;
        return comparison;
    }
    // Otherwise its position is compared, if the journal still tells what was here then.
    let records = shared.journal.read_records(theirs.lsn.before(), 1);
    let record = records.ok().and_then(|records| records.into_iter().next());
    let then = record
        .filter(|record| record.lsn() == theirs.lsn && record.header().database == theirs.id)
        .map(|record| record.header().database_checksum)
        .or_else(|| (lsn == theirs.lsn).then_some(checksum));
    comparison.here = then.and_then(digits);
    if let Some(here) = &comparison.here {
        comparison.verdict = if here == there { Verdict::Equal } else { Verdict::Different };
    }
    comparison
}
