//! The commands that operators type, one file each. All that ask a server speak its operator API over HTTP and
//! nothing else, so that whatever the command line can do, a script can.

pub mod alarms;
mod ask;
pub mod audit;
pub mod backup;
pub mod client;
pub mod completions;
pub mod config;
mod credentials;
pub mod db;
pub mod failover;
mod grant;
mod kept;
mod known;
pub mod login;
pub mod mirror;
pub mod orphans;
pub mod promote;
pub mod restore;
pub mod resume;
mod save;
pub mod screen;
mod secret;
mod secure;
pub mod status;
pub mod suspend;
mod table;
pub mod token;
mod transfer;
pub mod user;
pub mod verify;
pub mod version;
pub mod voucher;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use clap::Args;
pub use counterpart_admin::{human, view};

use crate::exit::Failure;
use client::Client;
use voucher::CaCert;

/// Where a server answers when nobody says otherwise; the default of `serve --listen`.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:6480";

/// Which server to ask, and how to answer.
#[derive(Args, Debug)]
pub struct Connection {
    /// The server to ask
    #[arg(long, value_name = "URL", env = "COUNTERPART_SERVER", hide_env_values = true,
          default_value = DEFAULT_SERVER)]
    pub server: String,
    #[command(flatten)]
    pub trusted: CaCert,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Connection {
    /// A client of that server.
    pub fn client(&self) -> Result<Client, Failure> {
        self.client_of(&self.server)
    }

    /// A client of another server, such as a partner of that one.
    pub fn client_of(&self, url: &str) -> Result<Client, Failure> {
        Client::new(url, &self.trusted)
    }
}

/// What `suspend` and `resume` take.
#[derive(Args, Debug)]
pub struct WhichPartner {
    /// The mirror that is meant: its identity, URL or partner address; without it, all
    #[arg(long, value_name = "MIRROR")]
    pub partner: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}
