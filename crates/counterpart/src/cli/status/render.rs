//! The status as a compact text. Every line is left out when the server does not tell what it would say.

use serde_json::Value;

use super::super::{
    human,
    screen::{Screen, Tone},
    view::{self, decimal, number, text},
};

/// The whole text; `asked` is the URL that was asked.
pub fn status(status: &Value, asked: &str, screen: &Screen) -> String {
    let mut lines = vec![heading(status, screen)];
    lines.extend(server_lines(status, asked));
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
    if let Some(line) = failover_line(status) {
        lines.push(String::new());
        lines.push(line);
    }
    lines.join("\n")
}

/// Role and state in words: "Principal, synchronized".
fn heading(status: &Value, screen: &Screen) -> String {
    let words = text(status, &["/words", "/mirroring/words"]).map_or_else(
        || {
            let state = text(status, &["/mirroring/state"]).map(str::to_lowercase);
            let role = capitalized(view::role(status));
            state.map_or(role.clone(), |state| format!("{role}, {}", state.replace('_', " ")))
        },
        str::to_owned,
    );
    let exposed = status.pointer("/mirroring/exposed").and_then(Value::as_bool).unwrap_or(false);
    let tone = match text(status, &["/mirroring/state"]) {
        Some("DISCONNECTED") => Tone::Bad,
        _ if exposed => Tone::Bad,
        Some("SYNCHRONIZED") => Tone::Good,
        Some(_) => Tone::Warning,
        None => Tone::Strong,
    };
    screen.toned(tone, &words)
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn server_lines(status: &Value, asked: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("  {name:<12}{value}")));
    };
    let id = view::server(status).unwrap_or("?");
    let version = text(status, &["/version"]).map(|v| format!(", version {v}")).unwrap_or_default();
    let uptime = decimal(status, &["/uptime_seconds"])
        .map(|up| format!(", up {}", human::seconds(up)))
        .unwrap_or_default();
    line("server", Some(format!("{id}{version}{uptime}")));
    let partner = view::partner_address(status).map(|at| format!(", partners {at}"));
    let clients = view::client_url(status).unwrap_or(asked);
    line("addresses", Some(format!("clients {clients}{}", partner.unwrap_or_default())));
    line("data", text(status, &["/data_dir"]).map(str::to_owned));
    line("databases", number(status, &["/databases"]).map(human::count));
    line("writes", status["admits_writes"].as_bool().map(|yes| taken(yes).to_owned()));
    line("journal", journal(status));
    line("safety", text(status, &["/mirroring/safety"]).map(str::to_owned));
    line("session", view::session(status).map(str::to_owned));
    lines
}

fn taken(yes: bool) -> &'static str {
    if yes { "taken" } else { "refused" }
}

fn journal(status: &Value) -> Option<String> {
    let journal = status.get("journal")?;
    let parts = [
        number(journal, &["/last"]).map(|lsn| format!("last LSN {lsn}")),
        number(journal, &["/hardened"]).map(|lsn| format!("hardened {lsn}")),
        number(journal, &["/commit"]).map(|lsn| format!("commit {lsn}")),
        number(status, &["/applied"]).map(|lsn| format!("applied {lsn}")),
        number(journal, &["/bytes"]).map(|size| format!("{} on disk", human::bytes(size))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn partner_lines(partner: &Value, screen: &Screen) -> Vec<String> {
    let state = text(partner, &["/state"]).unwrap_or("unknown");
    let tone = match state {
        "SYNCHRONIZED" => Tone::Good,
        "DISCONNECTED" => Tone::Bad,
        _ => Tone::Warning,
    };
    let role = capitalized(text(partner, &["/role"]).unwrap_or("partner"));
    let words = text(partner, &["/words"]).map(|words| format!(": {words}")).unwrap_or_default();
    let mut lines = vec![format!("{role} {}{words}", screen.toned(tone, state))];
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
        number(partner, &["/hardened"]).map(|lsn| format!("hardened {lsn}")),
        number(partner, &["/applied"]).map(|lsn| format!("applied {lsn}")),
    ];
    let positions: Vec<String> = positions.into_iter().flatten().collect();
    line("positions", (!positions.is_empty()).then(|| positions.join(", ")));
    line("send queue", queue(partner, "send_queue"));
    line("redo queue", queue(partner, "redo_queue"));
    line("lag", queue(partner, "lag"));
    line(
        "last contact",
        decimal(partner, &["/last_contact_seconds"]).map(|s| format!("{} ago", human::seconds(s))),
    );
    line("progress", progress(partner));
    if let Some((what, remedy)) = view::last_error(partner) {
        lines.extend(error_lines(&what, &remedy, screen));
    }
    lines
}

/// Events, bytes and seconds, as an object `{events, bytes, seconds}` or as fields `<name>_events` and so on.
fn queue(partner: &Value, name: &str) -> Option<String> {
    let at = |field: &str| [format!("/{name}/{field}"), format!("/{name}_{field}")];
    let whole = |field: &str| number(partner, &at(field).each_ref().map(String::as_str));
    let parts = [
        whole("events").map(|events| format!("{} events", human::count(events))),
        whole("bytes").map(human::bytes),
        decimal(partner, &at("seconds").each_ref().map(String::as_str)).map(human::seconds),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How far a seed or catch-up has come: bytes done and in all, rate, time left.
pub fn progress(partner: &Value) -> Option<String> {
    let progress = partner.get("progress").filter(|progress| progress.is_object())?;
    let done = number(progress, &["/bytes_done", "/done"])?;
    let total = number(progress, &["/bytes_total", "/total"]).filter(|total| *total > 0);
    let mut line = match total {
        Some(total) => format!(
            "{} of {} ({:.0} %)",
            human::bytes(done),
            human::bytes(total),
            100.0 * done as f64 / total as f64
        ),
        None => human::bytes(done),
    };
    if let Some(rate) = number(progress, &["/bytes_per_second", "/rate"]) {
        line += &format!(", {}/s", human::bytes(rate));
    }
    if let Some(eta) = decimal(progress, &["/eta_seconds", "/eta"]) {
        line += &format!(", {} left", human::seconds(eta));
    }
    if let Some(events) = number(progress, &["/events_left"]) {
        line += &format!(", {} events left", human::count(events));
    }
    Some(line)
}

fn reader_line(reader: &Value) -> Option<String> {
    let database = text(reader, &["/database"])?;
    let age = decimal(reader, &["/age_seconds"]).map(human::seconds)?;
    Some(format!("  reader      a snapshot of {database} has been open for {age}"))
}

fn error_lines(what: &str, remedy: &str, screen: &Screen) -> Vec<String> {
    let mut lines = vec![format!("  {}  {what}", screen.toned(Tone::Bad, "last error"))];
    if !remedy.is_empty() {
        lines.push(format!("  what to do  {remedy}"));
    }
    lines
}

/// "fail over now: 0 lost, about N ms".
fn failover_line(status: &Value) -> Option<String> {
    let now = status.pointer("/mirroring/failover_now").filter(|now| !now.is_null())?;
    if let Some(words) = now.as_str().or_else(|| text(now, &["/words"])) {
        return Some(format!("Fail over now: {words}"));
    }
    let lost = number(now, &["/lost_events", "/lost"])?;
    let time = decimal(now, &["/about_ms", "/milliseconds", "/ms"])?;
    Some(format!("Fail over now: {lost} lost, about {time:.0} ms"))
}

#[cfg(test)]
mod tests;
