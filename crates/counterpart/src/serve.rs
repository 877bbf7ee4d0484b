//! `counterpart serve`. A place holder: the server is wired in by its own module.

use crate::{config::Settings, exit::Failure};

/// Runs a server until it is told to stop.
pub fn run(settings: Settings) -> Result<(), Failure> {
    drop(settings);
    Err(Failure::not_built("serve"))
}
