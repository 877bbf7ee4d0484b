//! A mirror whose journal is damaged starts without it. What it had hardened can't be proven any more; its principal has
//! all of it, and sends what differs from the files.
//!
//! Nothing is deleted before a copy has taken its place: the journal, the page maps and the control file lie in
//! `given-up/`, and whoever moves them back has the server as it was. And nothing is given up while no partner can be
//! reached: the journal that is damaged may hold the last that is left of something.

use std::{
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use counterpart_core::{EpochHistory, Lsn, message::Role};
use counterpart_journal::{
    ControlFile, OpenError, disk::remove_dir_if_there, rename_durably, sync_dir, sync_file,
};

use super::{BootError, io_error};
use crate::{control::Control, maps, settings::Settings};

fn directory(data: &Path) -> PathBuf {
    data.join("given-up")
}

/// Whether this server does without its journal until a copy has come.
pub(crate) fn exists(data: &Path) -> bool {
    directory(data).exists()
}

/// Deletes what was given up, once it is not needed any more.
pub(crate) fn discard(data: &Path) {
    if let Err(error) = remove_dir_if_there(&directory(data)) {
        tracing::warn!(%error, "the journal that was given up takes space; delete the directory `given-up`");
    }
}

/// Whether a server can do without a journal that can't be opened for this reason: a mirror that has nothing alone, and
/// somebody to ask. The session is as it was; nothing was touched.
pub(crate) fn is_possible(settings: &Settings, control: &Control, error: &OpenError) -> bool {
    let damaged = matches!(
        error,
        OpenError::Damaged { .. } | OpenError::Missing { .. } | OpenError::Short { .. }
    );
    let session = &control.session;
    let follows = session.role == Role::Mirror
        && session.deposed.is_none()
        && session.before_join.is_none()
        && session.seeding.is_none();
    let answers = |address: &str| answers(address, settings.partner_timeout);
    damaged && follows && session.partners.iter().any(|p| answers(&p.address.partner_address))
}

fn answers(address: &str, limit: Duration) -> bool {
    let addresses = address.to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(|one| TcpStream::connect_timeout(&one, limit).is_ok()))
}

/// Moves the journal aside. From now on this server has no data that anybody may read or promote; its files stay, and a
/// copy is compared with them. A crash anywhere in it does no harm: the next start goes on.
///
/// # Errors
/// What the file system or the control file says.
pub(crate) fn put_aside(
    data: &Path,
    file: &ControlFile<Control>,
    control: &mut Control,
) -> Result<(), BootError> {
    let aside = directory(data);
    let failed = |what| io_error(what, &aside);
    if control.is_whole() {
        discard(data);
        std::fs::create_dir_all(&aside).map_err(failed("can't make"))?;
        let kept = aside.join("control");
        std::fs::copy(data.join("control"), &kept).map_err(failed("can't write into"))?;
        sync_file(&kept).map_err(failed("can't sync"))?;
        sync_dir(&aside).map_err(failed("can't sync"))?;
        sync_dir(data).map_err(failed("can't sync"))?;
        let session = &mut control.session;
        (session.empty, session.was_synchronized) = (true, false);
        // There is no record any more that they could be about.
        (session.history, session.left_behind) = (EpochHistory::default(), Default::default());
        (control.redo_after, control.commit_lsn) = (Lsn::ZERO, Lsn::ZERO);
        control.checksums.clear();
        file.save(control)?;
    }
    std::fs::create_dir_all(&aside).map_err(failed("can't make"))?;
    // Redo would have put the maps right, too: without it the files are compared by what they really hold.
    let ours = control.databases.iter().map(|entry| maps::map_path(data, entry.id));
    for path in ours.chain([data.join("journal")]) {
        let to = aside.join(path.file_name().expect("a file of this directory has a name"));
        let moved = match (path.exists(), to.exists()) {
            (true, false) => rename_durably(&path, &to),
            // What came after the journal that was given up: nothing is in it that anybody misses.
            (true, true) if path.is_dir() => std::fs::remove_dir_all(&path),
            _ => Ok(()),
        };
        moved.map_err(io_error("can't move", &path))?;
    }
    Ok(())
}
