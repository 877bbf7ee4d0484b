//! What somebody is to be allowed, as commands take it: of a token, and of a user.

use clap::Args;
use counterpart_core::DatabaseName;
use serde_json::{Value, json};

/// A role, and where it counts.
#[derive(Args)]
pub struct GrantArgs {
    /// What it allows: admin = everything; operator = mirroring, failover, backups; writer and reader = databases
    #[arg(long, value_name = "ROLE", value_parser = ["admin", "operator", "writer", "reader"])]
    pub role: String,
    /// Limit a writer or reader to this database; may be given several times
    #[arg(long, value_name = "NAME")]
    pub database: Vec<DatabaseName>,
}

impl GrantArgs {
    /// A request for `name` that asks for this.
    pub fn asked_for(&self, name: &str) -> Value {
        let mut asked = json!({ "name": name, "role": self.role });
        if !self.database.is_empty() {
            asked["databases"] = json!(self.database);
        }
        asked
    }
}
