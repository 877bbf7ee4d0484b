//! What the audit log tells of: which endpoints, and what about a request beyond its endpoint and its path. A handler that knows
//! the latter says so.
//!
//! Never a secret: whatever is said here is kept for long, and shown.

use std::{
    fmt::Display,
    sync::{Arc, OnceLock},
};

use crate::endpoint::Endpoint;

impl Endpoint {
    /// Whether the audit log tells of it: what changes something, and what hands out whole databases.
    pub fn is_noted(self) -> bool {
        match self {
            Endpoint::Status
            | Endpoint::Metrics
            | Endpoint::ListAlarms
            | Endpoint::ListDatabases
            | Endpoint::DescribeDatabase
            | Endpoint::Probe
            | Endpoint::CheckJoin
            | Endpoint::AssessPromotion
            | Endpoint::Scrub
            | Endpoint::Checksums
            | Endpoint::CompareChecksums
            | Endpoint::ListOrphans
            | Endpoint::ShowOrphans
            | Endpoint::OrphanRows
            | Endpoint::WhoAmI
            | Endpoint::ListTokens
            | Endpoint::ListUsers
            | Endpoint::Audit
            // Noted by whoever knows who it turned out to be.
            | Endpoint::Login
            | Endpoint::Health
            | Endpoint::HealthPrincipal
            | Endpoint::HealthMirror
            | Endpoint::OpenApi => false,
            Endpoint::AcknowledgeAlarm
            | Endpoint::TestAlarms
            | Endpoint::CreateDatabase
            | Endpoint::DropDatabase
            | Endpoint::ImportDatabase
            | Endpoint::ExportDatabase
            | Endpoint::Backup
            | Endpoint::TakeBackup
            | Endpoint::Join
            | Endpoint::CancelJoin
            | Endpoint::AddPartner
            | Endpoint::Failover
            | Endpoint::Promote
            | Endpoint::Suspend
            | Endpoint::Resume
            | Endpoint::StopMirroring
            | Endpoint::Rejoin
            | Endpoint::StartScrub
            | Endpoint::ExportOrphans
            | Endpoint::DropOrphans
            | Endpoint::CreateToken
            | Endpoint::RevokeToken
            | Endpoint::CreateUser
            | Endpoint::SetPassword
            | Endpoint::DropUser => true,
        }
    }

    /// Its name in the API's document, and in the audit log.
    pub fn name(self) -> &'static str {
        static NAMES: OnceLock<Vec<(Endpoint, String)>> = OnceLock::new();
        let names = NAMES.get_or_init(|| {
            Endpoint::ROUTES
                .iter()
                .map(|route| (route.endpoint, format!("{:?}", route.endpoint)))
                .collect()
        });
        let found = names.iter().find(|(endpoint, _)| *endpoint == self);
        &found.expect("every endpoint has a route").1
    }
}

/// What a request is about, once somebody has said so.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<OnceLock<String>>);

impl Note {
    /// Says it; the first to do so is believed.
    pub fn about(&self, what: impl Display) {
        self.0.get_or_init(|| what.to_string());
    }

    /// The same for what may not be there.
    pub fn about_any(&self, what: Option<impl Display>) {
        if let Some(what) = what {
            self.about(what);
        }
    }

    /// What was said.
    pub fn said(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
