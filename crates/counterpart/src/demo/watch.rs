//! What both servers say about themselves, and what is in their tables. The figures are asked for anew each time; none
//! may be derived from what the demonstration itself believes.

use serde_json::Value;

use super::{
    hrana::Client,
    workload::{DATABASE, Progress},
};
use crate::cli::view;

/// Asks both servers.
pub struct Watcher {
    clients: [Client; 2],
}

/// One look.
pub struct View {
    /// The status of each server; `None`: it does not answer.
    pub statuses: [Option<Value>; 2],
    /// How far the workload is.
    pub progress: Progress,
    /// Confirmed rows that the principal does not have; `None`: there is no principal to ask.
    pub lost: Option<u64>,
}

impl Watcher {
    /// A watcher of these two.
    pub fn of(urls: &[String; 2]) -> Watcher {
        Watcher { clients: urls.each_ref().map(|url| Client::new(url, DATABASE)) }
    }

    /// Looks at both. `progress` was taken before, so every row that it calls confirmed must be there.
    pub fn look(&self, progress: Progress) -> View {
        let statuses = self.clients.each_ref().map(Client::status);
        let principal = (0..2).find(|index| serves(statuses[*index].as_ref()));
        let lost = principal.and_then(|index| self.lost(index, progress.confirmed));
        View { statuses, progress, lost }
    }

    /// A last look, once no more rows are sent: what is on the mirror in the end.
    pub fn settled(&self, mut progress: Progress) -> View {
        for index in 0..2 {
            let status = self.clients[index].status();
            let mirror = status.is_some_and(|status| view::role(&status) == "mirror");
            if let Some(seen) = mirror.then(|| self.rows(index)).flatten() {
                progress.visible = seen;
            }
        }
        self.look(progress)
    }

    /// Whether that server takes writes as a principal.
    pub fn is_principal(&self, index: usize) -> bool {
        serves(self.clients[index].status().as_ref())
    }

    fn lost(&self, principal: usize, confirmed: u64) -> Option<u64> {
        let sql = "SELECT count(*) FROM work WHERE n <= ?";
        let there = self.clients[principal].run(sql, &[confirmed]).ok().flatten()?;
        Some(confirmed.saturating_sub(there))
    }

    fn rows(&self, index: usize) -> Option<u64> {
        self.clients[index].run("SELECT count(*) FROM work", &[]).ok().flatten()
    }
}

fn serves(status: Option<&Value>) -> bool {
    status
        .is_some_and(|status| view::role(status) == "principal" && status["admits_writes"] == true)
}

impl View {
    /// Which server takes writes as a principal.
    pub fn principal(&self) -> Option<usize> {
        (0..2).find(|index| serves(self.statuses[*index].as_ref()))
    }

    /// Role and state of a server in words.
    pub fn words(&self, index: usize) -> &str {
        let status = self.statuses[index].as_ref();
        status.and_then(|status| view::text(status, "/words")).unwrap_or("does not answer")
    }

    /// The mirror as the principal sees it.
    pub fn partner(&self) -> Option<&Value> {
        view::partners(self.statuses[self.principal()?].as_ref()?).first()
    }

    /// What the principal says about a failover now.
    pub fn failover_now(&self) -> Option<&str> {
        view::text(self.statuses[self.principal()?].as_ref()?, "/mirroring/failover_now")
    }

    /// Whether a server holds events of its own and waits for the operator.
    pub fn is_parked(&self, index: usize) -> bool {
        let parked =
            |status: &Value| status.pointer("/mirroring/parked").is_some_and(|p| !p.is_null());
        self.statuses[index].as_ref().is_some_and(parked)
    }
}
