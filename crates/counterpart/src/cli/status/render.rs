//! The status as a compact text. Every line is left out when the server does not tell what it would say.

use serde_json::Value;

use super::super::{
    human,
    screen::{Screen, Tone},
    view::{self, decimal, number, text},
};

/// The whole text; `asked` is the URL that was asked, `now` the time in microseconds since 1970.
pub fn status(status: &Value, asked: &str, now: u64, screen: &Screen) -> String {
    let mut lines = vec![heading(status, screen)];
    lines.extend(server_lines(status, asked, now));
    for partner in view::partners(status) {
        lines.push(String::new());
        lines.extend(partner_lines(partner, now, screen));
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
    let words = text(status, &["/words", "/mirroring/words"]).map_or_else(
        || in_words(view::role(status), text(status, &["/mirroring/state"])),
        str::to_owned,
    );
    let exposed = ["/mirroring/exposed", "/mirroring/exposed_since"].iter().any(|pointer| {
        status
            .pointer(pointer)
            .is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    });
    let states = view::partners(status).iter().filter_map(|partner| text(partner, &["/state"]));
    let states: Vec<&str> = text(status, &["/mirroring/state"]).into_iter().chain(states).collect();
    let tone = match states.as_slice() {
        _ if exposed => Tone::Bad,
        [] => Tone::Strong,
        states if states.contains(&"DISCONNECTED") => Tone::Bad,
        states if states.iter().all(|state| *state == "SYNCHRONIZED") => Tone::Good,
        _ => Tone::Warning,
    };
    screen.toned(tone, &words)
}

/// "Mirror, synchronized".
fn in_words(role: &str, state: Option<&str>) -> String {
    let state = state.map(|state| format!(", {}", state.to_lowercase().replace('_', " ")));
    capitalized(role) + &state.unwrap_or_default()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn server_lines(status: &Value, asked: &str, now: u64) -> Vec<String> {
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
    line("writes", status["admits_writes"].as_bool().map(|yes| writes(status, yes)));
    line("exposed", ago(status, "/mirroring/exposed_since", now));
    line("parked", parked(status));
    line("journal", journal(status));
    let mirrored = view::session(status).is_some();
    line("safety", text(status, &["/mirroring/safety"]).filter(|_| mirrored).map(str::to_owned));
    line("session", view::session(status).map(str::to_owned));
    lines
}

/// Whether writes are taken, and why not.
fn writes(status: &Value, taken: bool) -> String {
    let why = text(status, &["/mirroring/writes/refused/what"]);
    match (taken, why, text(status, &["/mirroring/writes"])) {
        (true, ..) => "taken".to_owned(),
        (false, Some(why), _) => format!("refused: {why}"),
        (false, None, Some("held")) => "waiting".to_owned(),
        (false, None, _) => "refused".to_owned(),
    }
}

/// How long ago the time at `pointer` was, in microseconds since 1970.
fn ago(value: &Value, pointer: &str, now: u64) -> Option<String> {
    let since = number(value, &[pointer]).filter(|since| *since > 0)?;
    Some(format!("for {}", human::seconds(now.saturating_sub(since) as f64 / 1e6)))
}

/// What only a deposed principal has.
fn parked(status: &Value) -> Option<String> {
    let parked = status.pointer("/mirroring/parked")?;
    let (common, end) = (number(parked, &["/common"])?, number(parked, &["/end"])?);
    let events = human::count(end.saturating_sub(common));
    Some(format!("{events} events after LSN {common} are only on this server"))
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

fn partner_lines(partner: &Value, now: u64, screen: &Screen) -> Vec<String> {
    let state = text(partner, &["/state"]).unwrap_or("unknown");
    let tone = match state {
        "SYNCHRONIZED" => Tone::Good,
        "DISCONNECTED" => Tone::Bad,
        _ => Tone::Warning,
    };
    let role = text(partner, &["/role"]).unwrap_or("partner");
    let words = text(partner, &["/words"]).map(str::to_owned);
    let words = words.unwrap_or_else(|| in_words(role, Some(state)));
    let mut lines = vec![screen.toned(tone, &words)];
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
    line("behind", number(partner, &["/behind"]).map(|n| format!("{} events", human::count(n))));
    line("send queue", queue(partner, "send_queue"));
    line("redo queue", queue(partner, "redo_queue"));
    line(
        "lag",
        queue(partner, "lag").or_else(|| {
            number(partner, &["/lag_millis"]).map(|millis| human::seconds(millis as f64 / 1000.0))
        }),
    );
    // While there is a connection this is always a moment ago.
    let lost = partner["connected"].as_bool() == Some(false);
    line("silent", ago(partner, "/last_heard", now).filter(|_| lost));
    line("progress", progress(partner));
    if let Some((what, remedy)) = view::last_error(partner) {
        lines.extend(error_lines(&what, &remedy, screen));
    }
    lines
}

/// Events, bytes and seconds: as an object `{events, bytes, seconds}`, or as a number of events `<name>` beside
/// `<name>_bytes` and so on.
fn queue(partner: &Value, name: &str) -> Option<String> {
    let at = |field: &str| [format!("/{name}/{field}"), format!("/{name}_{field}")];
    let whole = |field: &str| number(partner, &at(field).each_ref().map(String::as_str));
    let plain = number(partner, &[&format!("/{name}")]);
    let parts = [
        whole("events").or(plain).map(|events| format!("{} events", human::count(events))),
        whole("bytes").map(human::bytes),
        decimal(partner, &at("seconds").each_ref().map(String::as_str)).map(human::seconds),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How far a seed or catch-up has come: bytes (or else pages) done and in all, rate, time left.
pub fn progress(partner: &Value) -> Option<String> {
    if let Some(total) = number(partner, &["/seed/pages_total"]) {
        let done = number(partner, &["/seed/pages_done"]).unwrap_or(0);
        let (done_text, total_text) = (human::count(done), human::count(total));
        let percent = 100.0 * done as f64 / total.max(1) as f64;
        return Some(format!("{done_text} of {total_text} pages ({percent:.0} %)"));
    }
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
    let age = human::seconds(decimal(reader, &["/age_ms"])? / 1000.0);
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
        return Some(words.to_owned());
    }
    let lost = number(now, &["/lost_events", "/lost"])?;
    let time = decimal(now, &["/about_ms", "/milliseconds", "/ms"])?;
    Some(format!("Fail over now: {lost} lost, about {time:.0} ms"))
}

/// On a mirror that could be promoted now: what that may lose.
fn promotion_line(status: &Value) -> Option<String> {
    let commands = status.pointer("/mirroring/commands").and_then(Value::as_array);
    let refused = |c: &Value| c["command"] == "promote" && c["allowed"] == false;
    if commands.is_some_and(|commands| commands.iter().any(refused)) {
        return None;
    }
    text(status, &["/mirroring/promotion/words"]).map(|words| format!("Promote now: {words}"))
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
