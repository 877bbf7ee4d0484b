//! `counterpart suspend`: mirroring pauses, the principal goes on.

use super::{WhichPartner, ask, screen::Screen};
use crate::exit::Failure;

/// Suspends one mirror, or all.
pub fn run(which: &WhichPartner, screen: &mut Screen) -> Result<(), Failure> {
    let client = which.connection.client()?;
    let partner = ask::partner_id(&client, which.partner.as_deref())?;
    let body = serde_json::json!({ "partner": partner });
    let answer = client.post("/api/v1/mirroring/suspend", &body)?;
    screen.line("suspended; `counterpart resume` goes on")?;
    screen.value(&answer)
}
