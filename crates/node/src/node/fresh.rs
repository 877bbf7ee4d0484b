//! What a directory without a control file may hold: nothing of a server. Whoever starts on such a directory is a new
//! server, to which every database file there is a stray one; so data whose control file got lost must never be begun on.

use std::{io, path::Path};

use super::StartError;
use crate::{databases::database_file, ops::restore};

/// Refuses a directory in which data of a server lies that nobody knows any more.
///
/// # Errors
/// [`StartError::Unfinished`], [`StartError::Forgotten`].
pub(super) fn refuse_data(data: &Path) -> Result<(), StartError> {
    let failed = |cause| StartError::Directory { path: data.to_owned(), cause };
    if restore::is_unfinished(data).map_err(failed)? {
        return Err(StartError::Unfinished { path: data.to_owned() });
    }
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_data(&path).map_err(failed)? {
            return Err(StartError::Forgotten { path });
        }
    }
    Ok(())
}

/// Whether this is a database, or a journal that anything was written to.
fn is_data(path: &Path) -> io::Result<bool> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "journal" && path.is_dir() {
        return Ok(std::fs::read_dir(path)?.next().is_some());
    }
    Ok(database_file(name).is_some_and(|(_, rest)| rest == ".db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_data_but_no_control_file_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("counterpart.lock"), "1").unwrap();
        std::fs::write(path("shop.db"), "somebody's").unwrap();
        std::fs::create_dir(path("journal")).unwrap();
        refuse_data(directory.path()).unwrap();
        for name in ["7.db", "journal/journal-00000000000000000001.seg"] {
            std::fs::write(path(name), "data").unwrap();
            let refused = refuse_data(directory.path()).unwrap_err();
            let named = name.split('/').next().unwrap();
            assert!(
                matches!(&refused, StartError::Forgotten { path } if path.ends_with(named)),
                "{refused}"
            );
            assert!(refused.is_damage());
            std::fs::remove_file(path(name)).unwrap();
        }
    }
}
