//! TLS where clients and operators connect: which key and certificate are shown, and how they are kept current.
//!
//! A certificate that can't be used is a failure at the start and a line in the log later; never is anything served
//! without TLS where TLS was asked for.

mod listener;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use counterpart_journal::{
    Disk, RealDisk,
    disk::{LockError, lock_directory},
};
use counterpart_node::ShownCertificate;
use counterpart_tls::{Files, Identity, Own, OwnError, Shown, Stamp, host_name};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
    time::sleep,
};

pub use listener::TlsListener;

use crate::{
    clock,
    config::Settings,
    exit::{Exit, Failure},
};

/// Files that an operator keeps are looked at this often.
const LOOK: Duration = Duration::from_secs(3);
/// Whether an own certificate is near its end is looked at this often.
const RENEW: Duration = Duration::from_secs(60 * 60);

/// What is shown to clients, and where it comes from.
pub struct Tls {
    shown: Arc<Shown>,
    told: watch::Sender<ShownCertificate>,
    source: Source,
    hangup: Signal,
}

/// Where a certificate comes from.
enum Source {
    /// Files of the operator, as they were when they were last read.
    Given(Files, Stamp),
    /// This server makes it.
    Own(Own),
}

impl Tls {
    /// Reads or makes what a server with these settings shows at this address; `None`: it serves without TLS. Blocks.
    ///
    /// # Errors
    /// A file that can't be used or written, a data directory that another server has, or no signals.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn prepare(settings: &Settings, listen: SocketAddr) -> Result<Option<Tls>, Failure> {
        if !settings.uses_tls() {
            return Ok(None);
        }
        let (source, identity) = match &settings.tls_files {
            Some(files) => {
                let files = files.clone();
                given(Files { certificate: files.certificate, key: files.key })?
            }
            None => own(settings, listen)?,
        };
        let self_signed = matches!(source, Source::Own(_));
        let told = watch::Sender::new(describe(&identity, self_signed));
        // From here on, before anybody is told that the server serves, a hang-up does not end it.
        let hangup = signal(SignalKind::hangup()).map_err(|error| {
            let what = format!("signals can't be handled: {error}");
            Failure::new(Exit::Server, "START_FAILED", what, "see the log for what came before")
        })?;
        Ok(Some(Tls { shown: Arc::new(Shown::new(identity)), told, source, hangup }))
    }

    /// What handshakes take.
    pub fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// What status tells of it.
    pub fn told(&self) -> watch::Receiver<ShownCertificate> {
        self.told.subscribe()
    }

    /// Takes over what operators put in place, and renews what this server made, for as long as it is polled; a hang-up
    /// has it look at once.
    pub async fn keep(mut self) {
        let pause = match self.source {
            Source::Given(..) => LOOK,
            Source::Own(_) => RENEW,
        };
        loop {
            let asked = tokio::select! {
                () = sleep(pause) => false,
                Some(()) = self.hangup.recv() => true,
            };
            self = match spawn_blocking(move || self.look(asked)).await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(%error, "the certificate is not looked after any more");
                    return;
                }
            };
        }
    }

    fn look(mut self, asked: bool) -> Tls {
        match &mut self.source {
            Source::Given(files, stamp) => {
                // Before reading: what changes meanwhile is read again the next time.
                let now = files.stamp();
                if *stamp == now && !asked {
                    return self;
                }
                *stamp = now;
                match files.load() {
                    Ok(identity) => {
                        warn_of_exposed_key(files);
                        self.show(identity);
                    }
                    Err(error) => {
                        tracing::warn!(
                            code = error.code(),
                            "{error}; the certificate before it is shown on"
                        );
                    }
                }
            }
            Source::Own(own) => match own.keep(clock::unix()) {
                Ok((identity, _)) => self.show(identity),
                Err(error) => tracing::error!("{error}; the certificate before it is shown on"),
            },
        }
        self
    }

    fn show(&self, identity: Identity) {
        if identity.certificate() == self.shown.current().certificate() {
            return;
        }
        let described = describe(&identity, matches!(self.source, Source::Own(_)));
        self.shown.replace(identity);
        log(&described, "a new certificate is shown to clients");
        self.told.send_replace(described);
    }
}

/// Says in the log what is shown.
pub fn log(shown: &ShownCertificate, what: &str) {
    tracing::info!(
        fingerprint = %shown.key,
        certificate = %shown.certificate,
        self_signed = shown.self_signed,
        "{what}"
    );
}

fn describe(identity: &Identity, self_signed: bool) -> ShownCertificate {
    ShownCertificate {
        key: identity.key_fingerprint(),
        certificate: identity.certificate_fingerprint(),
        self_signed,
    }
}

fn given(files: Files) -> Result<(Source, Identity), Failure> {
    let stamp = files.stamp();
    let identity = files.load().map_err(|error| {
        let remedy = "give a certificate and its key in PEM with --tls-cert and --tls-key";
        Failure::new(Exit::Usage, error.code(), error.to_string(), remedy)
    })?;
    warn_of_exposed_key(&files);
    Ok((Source::Given(files, stamp), identity))
}

fn warn_of_exposed_key(files: &Files) {
    if files.key_is_exposed() {
        let key = files.key.display();
        tracing::warn!(
            "every user of this machine can read the TLS key in {key}; run chmod 600 on it"
        );
    }
}

fn own(settings: &Settings, listen: SocketAddr) -> Result<(Source, Identity), Failure> {
    let (host, ip) = (host_name(), listen.ip());
    let address = (!ip.is_unspecified()).then(|| ip.to_string());
    let advertised = settings.advertise.as_deref().and_then(host_of);
    let names = [Some(host.as_str()), address.as_deref(), advertised];
    let own = Own::new(&settings.data, names.into_iter().flatten());
    let made = under_lock(&settings.data, || own.keep(clock::unix()))?;
    let (identity, _) = made.map_err(|error| {
        let (code, remedy) = match &error {
            OwnError::Files(error) => (error.code(), "mend what the message names"),
            OwnError::Key { .. } => (
                "TLS_KEY_UNUSABLE",
                "put the key back from a backup, or delete it: a new one is made, which nobody knows who knew the old one",
            ),
            OwnError::Write { .. } | OwnError::Make(_) => {
                ("TLS_NOT_MADE", "give this server a certificate with --tls-cert and --tls-key")
            }
        };
        Failure::new(Exit::Server, code, error.to_string(), remedy)
    })?;
    Ok((Source::Own(own), identity))
}

/// Does something as the only server in this data directory: of two that begin there at once, one makes the key.
fn under_lock<T>(data: &Path, does: impl FnOnce() -> T) -> Result<T, Failure> {
    RealDisk.create_dir(data).map_err(|error| Failure::local_file("make", data, &error))?;
    let _lock = lock_directory(data).map_err(|error: LockError| {
        let remedy = "give each server a directory of its own";
        Failure::new(Exit::Server, "DATA_DIRECTORY_IN_USE", error.to_string(), remedy)
    })?;
    Ok(does())
}

/// The host in a URL that was checked: `https://HOST[:PORT]`.
fn host_of(url: &str) -> Option<&str> {
    let (_, authority) = url.split_once("://")?;
    if let Some(address) = authority.strip_prefix('[') {
        return address.split_once(']').map(|(address, _)| address);
    }
    authority.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found_with_and_without_a_port() {
        for (url, host) in [
            ("https://db1", "db1"),
            ("https://db1.example:6480", "db1.example"),
            ("https://10.0.0.1:6480", "10.0.0.1"),
            ("https://[fd00::1]:6480", "fd00::1"),
            ("https://[fd00::1]", "fd00::1"),
        ] {
            assert_eq!(host_of(url), Some(host), "{url}");
        }
    }
}
