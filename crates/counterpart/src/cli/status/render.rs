//! The status as a compact text. Every line is left out when the server does not tell what it would say.

use serde_json::Value;

use super::super::{
    human,
    screen::{Screen, Tone},
    view::{self, decimal, number, text},
};

mod care;

/// A partner that is connected and silent for longer than this is worth a line.
const NOTICEABLE_MILLIS: u64 = 2_000;

/// The whole text; `asked` is the URL that was asked.
pub fn status(status: &Value, asked: &str, screen: &Screen) -> String {
    let mut lines = vec![heading(status, screen)];
    lines.extend(server_lines(status, asked));
    lines.extend(care::server_lines(status, screen));
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
    let last = [failover_line(status), promotion_line(status), commands_line(status)];
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
    let exposed = number(status, "/mirroring/exposed_millis").is_some();
    let states = view::partners(status).iter().filter_map(|partner| text(partner, "/state"));
    let states: Vec<&str> = states.collect();
    let tone = match states.as_slice() {
        _ if exposed => Tone::Bad,
        [] => Tone::Strong,
        states if states.contains(&"DISCONNECTED") => Tone::Bad,
        states if states.iter().all(|state| *state == "SYNCHRONIZED") => Tone::Good,
        _ => Tone::Warning,
    };
    screen.toned(tone, &words(status))
}

/// Role and state of a server or partner; of one that tells no words, the role.
fn words(of: &Value) -> String {
    text(of, "/words").map_or_else(|| capitalized(view::role(of)), str::to_owned)
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
    line("writes", status["admits_writes"].as_bool().map(|yes| writes(status, yes)));
    line(
        "exposed",
        number(status, "/mirroring/exposed_millis").map(|m| format!("for {}", millis(m))),
    );
    line("parked", parked(status));
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

/// Whether writes are taken, and why not.
fn writes(status: &Value, taken: bool) -> String {
    let why = text(status, "/mirroring/writes/refused/what");
    match (taken, why, text(status, "/mirroring/writes")) {
        (true, ..) => "taken".to_owned(),
        (false, Some(why), _) => format!("refused: {why}"),
        (false, None, Some("held")) => "waiting".to_owned(),
        (false, None, _) => "refused".to_owned(),
    }
}

/// What only a deposed principal has.
fn parked(status: &Value) -> Option<String> {
    let parked = status.pointer("/mirroring/parked")?;
    let (common, end) = (number(parked, "/common")?, number(parked, "/end")?);
    let events = human::events(end.saturating_sub(common));
    Some(format!("only this server has {events} after LSN {common}"))
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
    let tone = match state {
        "SYNCHRONIZED" => Tone::Good,
        "DISCONNECTED" => Tone::Bad,
        _ => Tone::Warning,
    };
    let mut lines = vec![screen.toned(tone, &words(partner))];
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
    line("send queue", queue(partner, "send_queue"));
    line("redo queue", queue(partner, "redo_queue"));
    line("lag", number(partner, "/lag_millis").map(millis));
    line("silent", silence(partner));
    line("progress", progress(partner));
    lines.extend(care::partner_lines(partner, screen));
    if let Some((what, remedy)) = view::last_error(partner) {
        lines.extend(error_lines(&what, &remedy, screen));
    }
    lines
}

/// A partner that is connected is heard all the time; it is worth a line when it is not.
fn silence(partner: &Value) -> Option<String> {
    let silent = number(partner, "/silent_millis")?;
    let lost = partner["connected"] == false;
    (lost || silent > NOTICEABLE_MILLIS).then(|| format!("for {}", millis(silent)))
}

fn millis(millis: u64) -> String {
    human::seconds(millis as f64 / 1000.0)
}

/// Events and bytes.
fn queue(partner: &Value, name: &str) -> Option<String> {
    let events = number(partner, &format!("/{name}"))?;
    let bytes = number(partner, &format!("/{name}_bytes"));
    let bytes = bytes.map(|bytes| format!(", {}", human::bytes(bytes))).unwrap_or_default();
    Some(format!("{}{bytes}", human::events(events)))
}

/// How a mirror catches up and how far it has come: the way, bytes or pages done and in all, rate, time left.
pub fn progress(partner: &Value) -> Option<String> {
    let way = text(partner, "/way");
    let figures =
        partner.get("progress").and_then(|progress| seeded(progress).or_else(|| copied(progress)));
    let left = || number(partner, "/behind").or_else(|| number(partner, "/send_queue"));
    let how = match (way, figures) {
        (None, figures) => return figures,
        (Some("switching"), _) => {
            return Some("what came takes the place of what was there".to_owned());
        }
        (Some("journal"), _) => format!("{} left", human::events(left()?)),
        (Some(_), Some(figures)) => figures,
        (Some(_), None) => "beginning".to_owned(),
    };
    Some(format!("{}: {how}", way_words(way?)))
}

/// What is sent, for a way to catch up.
fn way_words(way: &str) -> &str {
    match way {
        "journal" => "by the journal",
        "pages" => "by pages that changed since",
        "compare" => "by pages that differ",
        "seed" => "seed",
        "heal" => "healing",
        other => other,
    }
}

/// A seed, which is known in bytes.
fn seeded(progress: &Value) -> Option<String> {
    let (done, total) = (number(progress, "/done")?, number(progress, "/total")?);
    let (what, of) = (human::bytes(done), human::bytes(total));
    Some(format!("{what} of {of} ({}){}", percent(done, total), pace(progress)))
}

/// A copy, which is known in pages; how many bytes they take on the wire is seen when they are sent.
fn copied(progress: &Value) -> Option<String> {
    let (done, total) = (number(progress, "/pages")?, number(progress, "/pages_total")?);
    let sent = number(progress, "/bytes").map(|bytes| format!(", {}", human::bytes(bytes)));
    let (what, of) = (human::count(done), human::count(total));
    let share = percent(done, total);
    Some(format!("{what} of {of} pages ({share}){}{}", sent.unwrap_or_default(), pace(progress)))
}

fn percent(done: u64, total: u64) -> String {
    format!("{:.0} %", 100.0 * done as f64 / total.max(1) as f64)
}

fn pace(progress: &Value) -> String {
    let mut text = String::new();
    if let Some(rate) = decimal(progress, "/rate") {
        text += &format!(", {}/s", human::bytes(rate as u64));
    }
    if let Some(eta) = decimal(progress, "/eta") {
        text += &format!(", {} left", human::seconds(eta));
    }
    text
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

/// "Fail over now: 0 lost, about N ms", or why not.
fn failover_line(status: &Value) -> Option<String> {
    text(status, "/mirroring/failover_now").map(str::to_owned)
}

/// On a mirror that could be promoted now: what that may lose.
fn promotion_line(status: &Value) -> Option<String> {
    let commands = status.pointer("/mirroring/commands").and_then(Value::as_array);
    let refused = |c: &Value| c["command"] == "promote" && c["allowed"] == false;
    if commands.is_some_and(|commands| commands.iter().any(refused)) {
        return None;
    }
    text(status, "/mirroring/promotion/words").map(|words| format!("Promote now: {words}"))
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
