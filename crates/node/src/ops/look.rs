//! Looking at databases.

use std::sync::Arc;

use counterpart_core::{DatabaseName, Lsn, PageNo};

use super::create::{failed, in_background};
use crate::{
    databases::Hosted,
    operations::{DatabaseDetails, DatabaseSummary},
    refusal::Refusal,
    shared::Shared,
};

/// What the list shows of one database.
pub(crate) fn summary(hosted: &Hosted) -> DatabaseSummary {
    DatabaseSummary {
        name: hosted.name.clone(),
        id: hosted.id,
        size_bytes: size_bytes(hosted).unwrap_or(0),
        last_lsn: Lsn(hosted.last_change().0),
    }
}

fn size_bytes(hosted: &Hosted) -> Result<u64, counterpart_engine::SqlError> {
    let first = hosted.engine.page_reader()?.read(PageNo(1), 1)?;
    Ok(u64::from(first.size_in_pages) * hosted.engine.page_size().bytes() as u64)
}

/// The length of the `-wal` file.
fn wal_bytes(hosted: &Hosted) -> u64 {
    let mut name = hosted.engine.path().as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |file| file.len())
}

/// One database in detail.
pub(crate) async fn details(
    shared: &Arc<Shared>,
    name: &DatabaseName,
) -> Result<DatabaseDetails, Refusal> {
    let hosted = shared.databases.named(name)?;
    in_background("looking at the database", move || {
        let read = || -> Result<DatabaseDetails, counterpart_engine::SqlError> {
            let info = hosted.engine.info(false)?;
            Ok(DatabaseDetails {
                summary: summary(&hosted),
                page_size: u32::from(hosted.engine.page_size()),
                pages: u64::from(info.size_in_pages),
                free_pages: u64::from(info.free_pages),
                wal_bytes: wal_bytes(&hosted),
                tables: info.tables.into_iter().map(|table| table.name).collect(),
            })
        };
        read().map_err(|e| failed("the database can't be read", e))
    })
    .await
}
