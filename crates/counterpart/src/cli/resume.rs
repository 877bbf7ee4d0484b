//! `counterpart resume`: suspended mirroring goes on; what was missed is sent.

use super::{WhichPartner, ask, screen::Screen};
use crate::exit::Failure;

/// Resumes one mirror, or all.
pub fn run(which: &WhichPartner, screen: &mut Screen) -> Result<(), Failure> {
    let client = which.connection.client()?;
    let partner = ask::partner_id(&client, which.partner.as_deref())?;
    let body = serde_json::json!({ "partner": partner });
    let answer = client.post("/api/v1/mirroring/resume", &body)?;
    screen.line("resumed; `counterpart status --watch` shows the catch-up")?;
    screen.value(&answer)
}
