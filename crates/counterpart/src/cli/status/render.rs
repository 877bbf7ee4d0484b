//! The status as a compact text. Every line is left out when the server does not tell what it would say.

use counterpart_admin::words::{self, Care, Tone, millis, tone_of_state};
use serde_json::Value;

use super::super::{
    human,
    screen::Screen,
    view::{self, decimal, number, text},
};

/// The whole text; `asked` is the URL that was asked.
pub fn status(status: &Value, asked: &str, screen: &Screen) -> String {
    let mut lines = vec![heading(status, screen)];
    lines.extend(server_lines(status, asked));
    lines.extend(care_lines(words::of_server(status), screen));
    for partner in view::partners(status) {
        lines.push(String::new());
        lines.extend(partner_lines(partner, screen));
    }
    for reader in status["readers"].as_array().into_iter().flatten() {
        lines.extend(reader_line(reader));
    }
    if let Some((what, remedy)) =
        view::last_error(status).or_else(|| status.get("mirroring").and_then(view::last_error))
    {
        lines.push(String::new());
        lines.extend(error_lines(&what, &remedy, screen));
    }
    let last = [
        words::failover(status).map(str::to_owned),
        words::promotion(status),
        commands_line(status),
    ];
    let last: Vec<String> = last.into_iter().flatten().collect();
    // A standalone server has nothing to fail over to, and need not say so.
    if !last.is_empty() && !view::partners(status).is_empty() {
        lines.push(String::new());
        lines.extend(last);
    }
    lines.join("\n")
}

/// Role and state in words: "Principal, synchronized".
fn heading(status: &Value, screen: &Screen) -> String {
    screen.toned(words::tone(status), &words::role_and_state(status))
}

fn care_lines(all: Vec<Care>, screen: &Screen) -> Vec<String> {
    let line = |name: &str, value: &str| format!("  {name:<12}{value}");
    let mut lines = Vec::new();
    for care in all {
        let name = format!("{:<12}", care.name);
        let name = care.tone.map_or(name.clone(), |tone| screen.toned(tone, &name));
        lines.push(format!("  {name}{}", care.what));
        lines.extend(care.more.iter().map(|sentence| line("", sentence)));
        lines.extend(care.remedy.iter().map(|remedy| line("what to do", remedy)));
    }
    lines
}

fn server_lines(status: &Value, asked: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12}{value}")));
    };
    let id = view::server(status).unwrap_or("?");
    let version = text(status, "/version").map(|v| format!(", version {v}")).unwrap_or_default();
    let uptime = decimal(status, "/uptime_seconds")
        .map(|up| format!(", up {}", human::seconds(up)))
        .unwrap_or_default();
    line("server", Some(format!("{id}{version}{uptime}")));
    let partner = view::partner_address(status).map(|at| format!(", partners {at}"));
    let clients = view::client_url(status).unwrap_or(asked);
    line("addresses", Some(format!("clients {clients}{}", partner.unwrap_or_default())));
    line("tls", tls(status));
    line("data", text(status, "/data_dir").map(str::to_owned));
    line("databases", number(status, "/databases").map(human::count));
    line("writes", words::writes(status));
    line("exposed", words::exposed(status));
    line("parked", words::parked(status));
    line("journal", journal(status));
    let mirrored = view::session(status).is_some();
    line("safety", text(status, "/mirroring/safety").filter(|_| mirrored).map(str::to_owned));
    line("session", view::session(status).map(str::to_owned));
    lines
}

/// What clients are shown.
fn tls(status: &Value) -> Option<String> {
    let key = text(status, "/tls/fingerprint")?;
    let own = status["tls"]["self_signed"] == true;
    Some(format!("key {key}{}", if own { ", signed by this server itself" } else { "" }))
}

fn journal(status: &Value) -> Option<String> {
    let journal = status.get("journal")?;
    let parts = [
        number(journal, "/last").map(|lsn| format!("last LSN {lsn}")),
        number(journal, "/hardened").map(|lsn| format!("hardened {lsn}")),
        number(journal, "/commit").map(|lsn| format!("commit {lsn}")),
        number(status, "/applied").map(|lsn| format!("applied {lsn}")),
        number(journal, "/bytes").map(|size| format!("{} on disk", human::bytes(size))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn partner_lines(partner: &Value, screen: &Screen) -> Vec<String> {
    let state = text(partner, "/state").unwrap_or("unknown");
    let mut lines = vec![screen.toned(tone_of_state(state), &words::role_and_state(partner))];
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12}{value}")));
    };
    line("server", view::server(partner).map(str::to_owned));
    let at = [
        view::client_url(partner).map(|url| format!("clients {url}")),
        view::partner_address(partner).map(|at| format!("partners {at}")),
    ];
    let at: Vec<String> = at.into_iter().flatten().collect();
    line("addresses", (!at.is_empty()).then(|| at.join(", ")));
    let positions = [
        number(partner, "/hardened").map(|lsn| format!("hardened {lsn}")),
        number(partner, "/applied").map(|lsn| format!("applied {lsn}")),
    ];
    let positions: Vec<String> = positions.into_iter().flatten().collect();
    line("positions", (!positions.is_empty()).then(|| positions.join(", ")));
    line("behind", number(partner, "/behind").map(human::events));
    line("send queue", words::queue(partner, "send_queue"));
    line("redo queue", words::queue(partner, "redo_queue"));
    line("lag", number(partner, "/lag_millis").map(millis));
    line("silent", words::silence(partner));
    line("progress", words::progress(partner));
    lines.extend(care_lines(words::of_partner(partner), screen));
    if let Some((what, remedy)) = view::last_error(partner) {
        lines.extend(error_lines(&what, &remedy, screen));
    }
    lines
}

fn reader_line(reader: &Value) -> Option<String> {
    let database = text(reader, "/database")?;
    let age = millis(number(reader, "/age_millis")?);
    Some(format!("  reader      a snapshot of {database} has been open for {age}"))
}

fn error_lines(what: &str, remedy: &str, screen: &Screen) -> Vec<String> {
    let mut lines = vec![format!("  {}  {what}", screen.toned(Tone::Bad, "last error"))];
    if !remedy.is_empty() {
        lines.push(format!("  what to do  {remedy}"));
    }
    lines
}

/// The commands that would be accepted now.
fn commands_line(status: &Value) -> Option<String> {
    let commands = status.pointer("/mirroring/commands")?.as_array()?;
    let allowed = commands.iter().filter(|command| command["allowed"] == true);
    let names: Vec<&str> = allowed.filter_map(|command| command["command"].as_str()).collect();
    (!names.is_empty()).then(|| format!("Allowed now: {}", names.join(", ")))
}

#[cfg(test)]
mod tests;
