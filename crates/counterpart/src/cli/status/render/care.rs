//! What the status says of the data itself: what was found damaged or different and what becomes of it, each with what
//! to do; one calm line when all is good.

use serde_json::Value;

use super::{
    super::super::{
        human,
        screen::{Screen, Tone},
        view::{number, text},
    },
    millis,
};

/// Sentences of a scrub that are shown; the log has all.
const SHOWN: usize = 3;

fn line(name: &str, value: &str) -> String {
    format!("  {name:<12}{value}")
}

fn bad(name: &str, value: &str, remedy: &str, screen: &Screen) -> [String; 2] {
    let name = screen.toned(Tone::Bad, &format!("{name:<12}"));
    [format!("  {name}{value}"), line("what to do", remedy)]
}

/// About this server.
pub fn server_lines(status: &Value, screen: &Screen) -> Vec<String> {
    let mut lines = Vec::new();
    let mirroring = &status["mirroring"];
    lines.extend(orphans(mirroring));
    lines.extend(rolled_back(mirroring, screen).into_iter().flatten());
    for one in mirroring["differs"].as_array().into_iter().flatten() {
        lines.extend(differing(one, status["role"] == "standalone", screen));
    }
    if let Some(why) = text(mirroring, "/replay_stopped") {
        let remedy = "make room on its disk, and it goes on by itself; otherwise restart this server, or seed it anew with \
                      `counterpart mirror start --replace`";
        lines.extend(bad("stopped", why, remedy, screen));
    }
    lines.extend(storage(status, screen).into_iter().flatten());
    lines.extend(integrity(&status["integrity"], screen));
    lines
}

/// About a mirror, on its principal.
pub fn partner_lines(partner: &Value, screen: &Screen) -> Vec<String> {
    let mut lines = Vec::new();
    let differing = partner["differs"].as_array().into_iter().flatten();
    let names: Vec<&str> = differing.filter_map(Value::as_str).collect();
    if !names.is_empty() {
        let remedy =
            "nothing while it is connected: it heals by itself; until then it does not take over";
        lines.extend(bad("differs", &names.join(", "), remedy, screen));
    }
    if let Some(why) = text(partner, "/replay_stopped") {
        let remedy = "make room on its disk, and it goes on by itself; otherwise restart that server, or seed it anew with \
                      `counterpart mirror start --replace`";
        lines.extend(bad("stopped", why, remedy, screen));
    }
    lines
}

/// Events between two positions.
fn events(range: &Value) -> Option<String> {
    let (common, end) = (number(range, "/common")?, number(range, "/end")?);
    Some(format!("{} after LSN {common}", human::events(end.saturating_sub(common))))
}

fn orphans(mirroring: &Value) -> Option<String> {
    if let Some(events) = events(&mirroring["saving_orphans"]) {
        let then = "then this server joins the principal by itself";
        return Some(line(
            "orphans",
            &format!("saving {events}, which only this server has; {then}"),
        ));
    }
    let events = events(&mirroring["rejoining"])?;
    Some(line(
        "orphans",
        &format!("{events} are kept, see `counterpart orphans list`; joining the principal"),
    ))
}

fn rolled_back(mirroring: &Value, screen: &Screen) -> Option<[String; 2]> {
    let found = mirroring.get("rolled_back").filter(|found| found.is_object())?;
    let (mirror, events) = (text(found, "/mirror").unwrap_or("a partner"), events(found)?);
    let what = format!(
        "this disk is an older image: {mirror} has {events} that were confirmed and are not here"
    );
    let remedy = "promote the mirror, and this server joins it; or go on here without them: `counterpart promote --force`";
    Some(bad("rolled back", &what, remedy, screen))
}

fn differing(one: &Value, alone: bool, screen: &Screen) -> [String; 2] {
    let name = text(one, "/database").unwrap_or("?");
    let since = number(one, "/since").map(|lsn| format!(" since LSN {lsn}")).unwrap_or_default();
    let why = text(one, "/why").map(|why| format!("; {why}")).unwrap_or_default();
    let remedy = if alone {
        "restore this server from a backup, or give that database up with `counterpart db drop`; the evidence is in `damage/` \
         of the data directory"
    } else {
        "connect the partner: what it has is put in place by itself; the evidence is in `damage/` of the data directory"
    };
    bad("differs", &format!("{name}{since}{why}"), remedy, screen)
}

/// What SQLite met on this server's disk.
fn storage(status: &Value, screen: &Screen) -> Option<[String; 2]> {
    let met = status.get("storage_error").filter(|met| met.is_object())?;
    let (what, code) = (text(met, "/what")?, text(met, "/code")?);
    let database = text(met, "/database").unwrap_or("?");
    let remedy = "look after the disk: its space, and whether it is mounted read-only; writes go on by themselves when it \
                  takes them again";
    Some(bad("disk", &format!("writing to {database} failed: {what} ({code})"), remedy, screen))
}

fn integrity(integrity: &Value, screen: &Screen) -> Vec<String> {
    if !integrity.is_object() {
        return Vec::new();
    }
    let last = &integrity["scrub"]["last"];
    let count = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    let (found, repaired) =
        (count(&integrity["damage"], "found"), count(&integrity["damage"], "repaired"));
    let segments = (count(last, "damaged_segments"), count(last, "repaired_segments"));
    let failures: Vec<&str> =
        last["failures"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let reading = reading(&integrity["scrub"]["running"]);
    if found + segments.0 == 0 && failures.is_empty() {
        return vec![line("integrity", &format!("all good; {}{reading}", read_back(integrity)))];
    }
    let mut told = vec![format!("{found} damaged pages met, {repaired} repaired")];
    if segments.0 > 0 {
        told.push(format!("{} damaged journal segments, {} mended", segments.0, segments.1));
    }
    let whole = found == repaired && segments.0 == segments.1 && failures.is_empty();
    let tone = if whole { Tone::Warning } else { Tone::Bad };
    let label = screen.toned(tone, &format!("{:<12}", "integrity"));
    let mut lines =
        vec![format!("  {label}{}; {}{reading}", told.join("; "), read_back(integrity))];
    lines.extend(failures.iter().take(SHOWN).map(|failure| line("", failure)));
    lines.push(line("what to do", if whole {
        "nothing is wrong now; look after the disk and the memory of this machine"
    } else {
        "connect the partner, then run `counterpart verify --deep`; without one, restore a backup. Nothing wrong is served"
    }));
    lines
}

fn read_back(integrity: &Value) -> String {
    let Some(ago) = number(integrity, "/read_back_millis") else {
        return "not read back since the start".to_owned();
    };
    let bytes = human::bytes(number(integrity, "/scrub/last/bytes").unwrap_or(0));
    format!("all of it ({bytes}) was read back {} ago", millis(ago))
}

fn reading(running: &Value) -> String {
    let Some((done, total)) = number(running, "/bytes").zip(number(running, "/total")) else {
        return String::new();
    };
    format!(", reading back now ({:.0} %)", 100.0 * done as f64 / total.max(1) as f64)
}
