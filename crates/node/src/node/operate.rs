//! What operators ask of a running server, handed to whoever does it.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use counterpart_access::{Identity, Password, Token};
use counterpart_core::{
    DatabaseName, ServerId,
    message::{PartnerAddress, Safety},
    session::Command,
};
use tokio::task::spawn_blocking;

use super::{Node, refused};
use crate::{
    audit::{Act, AuditEntry},
    checksums::{self, Checksum, Comparison},
    monitor,
    operations::{
        Backup, DatabaseDetails, DatabaseSummary, Export, JoinRequest, Operations, PartnerRequest,
        PeerIdentity,
    },
    ops,
    orphans::{self, Form, OrphanSet},
    probe,
    refusal::Refusal,
    scrub, status,
    system::{Attempt, LoggedIn, NewToken, NewUser, TokenSummary, UserSummary},
};

impl Operations for Node {
    async fn status(&self) -> serde_json::Value {
        match self.look().await {
            Ok(view) => {
                let (shared, started) = (Arc::clone(&self.shared), self.started);
                spawn_blocking(move || status::render(&shared, &view, started))
                    .await
                    .unwrap_or_else(|panicked| {
                        tracing::error!(%panicked, "the status could not be told");
                        serde_json::json!({ "failed": panicked.to_string() })
                    })
            }
            Err(refusal) => serde_json::json!({ "stopping": refusal.to_string() }),
        }
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        let (view, started) = (self.look().await?, self.started);
        self.reading(move |shared| Ok(monitor::render(shared, &view, started))).await
    }

    async fn alarms(&self) -> Result<serde_json::Value, Refusal> {
        self.reading(|shared| Ok(shared.alarms.show())).await
    }

    async fn test_alarms(&self) -> Result<serde_json::Value, Refusal> {
        self.reading(|shared| monitor::test(shared)).await
    }

    async fn acknowledge_alarm(&self, id: u64, by: String) -> Result<serde_json::Value, Refusal> {
        self.reading(move |shared| shared.alarms.acknowledge(id, &by)).await
    }

    fn databases(&self) -> Vec<DatabaseSummary> {
        let all = self.shared.databases.all();
        // Its own is not the operator's to see, to drop or to name.
        let theirs = all.iter().filter(|hosted| !hosted.name.is_system());
        theirs.map(|hosted| ops::look::summary(hosted)).collect()
    }

    async fn database(&self, name: DatabaseName) -> Result<DatabaseDetails, Refusal> {
        ops::look::details(&self.shared, &name).await
    }

    async fn create_database(&self, name: DatabaseName) -> Result<DatabaseSummary, Refusal> {
        let hosted = ops::create::create_database(&self.shared, &name).await?;
        Ok(ops::look::summary(&hosted))
    }

    async fn drop_database(&self, name: DatabaseName) -> Result<(), Refusal> {
        ops::create::drop_database(&self.shared, &name).await
    }

    fn staging_path(&self, name: &DatabaseName, bytes: u64) -> Result<PathBuf, Refusal> {
        ops::import::staging_path(&self.shared, name, bytes)
    }

    async fn import_database(
        &self,
        name: DatabaseName,
        staged: PathBuf,
    ) -> Result<DatabaseSummary, Refusal> {
        let hosted = ops::import::import(&self.shared, &name, staged).await?;
        Ok(ops::look::summary(&hosted))
    }

    async fn export_database(&self, name: DatabaseName) -> Result<Export, Refusal> {
        ops::export::export(&self.shared, &name).await
    }

    async fn backup(&self) -> Result<Backup, Refusal> {
        ops::backup::backup(&self.shared).await
    }

    async fn backup_path(&self, bytes: u64) -> Result<PathBuf, Refusal> {
        ops::upload::refuse_partners(&self.shared)?;
        if self.holds_data().await? {
            return Err(not_empty());
        }
        ops::import::staged(&self.shared, bytes)
    }

    async fn take_backup(&self, name: String, staged: PathBuf) -> Result<(), Refusal> {
        ops::upload::take(&self.shared, name, staged).await
    }

    async fn probe(&self, partner_address: String) -> Result<PeerIdentity, Refusal> {
        probe::probe(&self.shared, &partner_address).await
    }

    async fn check_join(
        &self,
        replace: bool,
        bytes: u64,
        principal: Option<String>,
    ) -> Result<(), Refusal> {
        ops::import::require_space(&self.shared, bytes)?;
        if replace || !self.holds_data().await? {
            return Ok(());
        }
        // Data of the principal's own past is kept, and brought in line by what differs.
        match principal {
            Some(address) if probe::shared_history(&self.shared, &address).await?.is_some() => {
                Ok(())
            }
            _ => Err(not_empty()),
        }
    }

    async fn join(&self, request: JoinRequest) -> Result<(), Refusal> {
        let holds_data = self.holds_data().await?;
        let principal = PartnerAddress {
            server: request.principal,
            partner_address: request.principal_partner_address,
            client_url: request.principal_client_url,
        };
        let (session, replace) = (request.session, request.replace);
        let history = match holds_data && !replace {
            true => probe::shared_history(&self.shared, &principal.partner_address).await?,
            false => None,
        };
        self.command(Command::JoinSession { session, principal, replace, holds_data, history })
            .await
            .map(drop)
    }

    async fn cancel_join(&self) -> Result<(), Refusal> {
        self.command(Command::CancelJoin).await.map(drop)
    }

    async fn add_partner(&self, request: PartnerRequest) -> Result<(), Refusal> {
        let safety = match request.safety.as_deref() {
            None => self.shared.control.read().session.safety,
            Some("full") => Safety::Full,
            Some("off") => Safety::Off,
            Some(other) => {
                return Err(Refusal::new(
                    "BAD_REQUEST",
                    format!("{other:?} is no safety"),
                    "use full or off",
                ));
            }
        };
        let partner = PartnerAddress {
            server: request.server,
            partner_address: request.partner_address,
            client_url: request.client_url,
        };
        let require_mirror = self.shared.settings.require_mirror;
        let command =
            Command::AddPartner { session: request.session, partner, safety, require_mirror };
        self.command(command).await.map(drop)
    }

    async fn failover(&self, to: Option<ServerId>) -> Result<serde_json::Value, Refusal> {
        self.command(Command::Failover(to)).await.map(|outcome| status::outcome(&outcome))
    }

    async fn assess_promotion(&self) -> Result<serde_json::Value, Refusal> {
        let status = self.look().await?.status;
        let permission = status.commands.iter().find(|permission| permission.command == "promote");
        match (status.promotion, permission.and_then(|permission| permission.reason.as_ref())) {
            (_, Some(reason)) => Err(refused(reason)),
            (assessment, None) => {
                Ok(serde_json::to_value(assessment).expect("plain values have a JSON form"))
            }
        }
    }

    async fn promote(&self, force: bool) -> Result<serde_json::Value, Refusal> {
        if let Some(failure) = self.look().await?.apply_failure {
            return Err(Refusal::new(
                "APPLY_FAILED",
                format!("this mirror can't apply its journal, and could not serve: {failure}"),
                "restart it and promote it then, or promote another mirror",
            ));
        }
        self.command(Command::Promote { force }).await.map(|outcome| status::outcome(&outcome))
    }

    async fn suspend(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::Suspend(partner)).await.map(drop)
    }

    async fn resume(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::Resume(partner)).await.map(drop)
    }

    async fn stop_mirroring(&self, partner: Option<ServerId>) -> Result<(), Refusal> {
        self.command(Command::StopMirroring(partner)).await.map(drop)
    }

    fn scrub(&self) -> scrub::Progress {
        self.shared.scrub.progress()
    }

    fn start_scrub(&self) -> scrub::Progress {
        self.shared.scrub.hurry()
    }

    fn checksums(&self) -> Vec<Checksum> {
        checksums::all(&self.shared)
    }

    async fn compare_checksums(&self, theirs: Vec<Checksum>) -> Result<Vec<Comparison>, Refusal> {
        self.reading(move |shared| Ok(checksums::compare(shared, &theirs))).await
    }

    async fn rejoin(&self) -> Result<(), Refusal> {
        self.command(Command::Rejoin).await.map(drop)
    }

    async fn orphans(&self) -> Result<Vec<OrphanSet>, Refusal> {
        self.reading(|shared| orphans::list(shared)).await
    }

    async fn orphan_set(&self, set: String) -> Result<OrphanSet, Refusal> {
        self.reading(move |shared| orphans::show(shared, &set)).await
    }

    async fn orphan_rows(
        &self,
        set: String,
        database: Option<DatabaseName>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>, Refusal> {
        self.reading(move |shared| orphans::rows(shared, &set, database.as_ref(), limit)).await
    }

    async fn export_orphans(
        &self,
        set: String,
        database: Option<DatabaseName>,
        form: Form,
    ) -> Result<Export, Refusal> {
        self.reading(move |shared| orphans::export(shared, &set, database.as_ref(), form)).await
    }

    async fn drop_orphans(&self, set: String) -> Result<(), Refusal> {
        self.reading(move |shared| orphans::drop_set(shared, &set)).await
    }

    async fn who(&self, shown: Option<String>) -> Result<Arc<Identity>, Refusal> {
        Node::who(self, shown.as_deref()).await
    }

    async fn note(&self, act: Act) {
        Node::note(self, act).await;
    }

    async fn note_refused(&self, from: Option<IpAddr>, about: &str, code: &str) {
        Node::note_refused(self, from, about, code).await;
    }

    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, Refusal> {
        Node::audit(self, before, limit).await
    }

    async fn tokens(&self) -> Result<Vec<TokenSummary>, Refusal> {
        Node::tokens(self).await
    }

    async fn create_token(&self, new: NewToken) -> Result<Token, Refusal> {
        Node::create_token(self, new).await
    }

    async fn users(&self) -> Result<Vec<UserSummary>, Refusal> {
        Node::users(self).await
    }

    async fn create_user(&self, new: NewUser) -> Result<(), Refusal> {
        Node::create_user(self, new).await
    }

    async fn set_password(&self, name: String, password: Password) -> Result<(), Refusal> {
        Node::set_password(self, &name, password).await
    }

    async fn drop_user(&self, name: String) -> Result<(), Refusal> {
        Node::drop_user(self, &name).await
    }

    async fn login(&self, attempt: Attempt) -> Result<LoggedIn, Refusal> {
        Node::login(self, attempt).await
    }

    async fn revoke_token(&self, name: String) -> Result<(), Refusal> {
        Node::revoke_token(self, &name).await
    }
}

fn not_empty() -> Refusal {
    Refusal::new(
        "NOT_EMPTY",
        "this server holds data of its own",
        "back it up or move it away, then say --replace to give it up",
    )
}
