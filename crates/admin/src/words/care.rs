//! What the status says of the data itself: what was found damaged or different and what becomes of it, each with what
//! to do; one calm line when all is good.

use serde_json::Value;

use super::{Tone, millis};
use crate::{
    human,
    view::{number, text},
};

/// Sentences of a scrub that are shown; the log has all.
const SHOWN: usize = 3;

/// One thing that is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// What it is about, in a word or two.
    pub name: &'static str,
    /// Whether somebody should look; nothing if all is well.
    pub tone: Option<Tone>,
    /// What there is.
    pub what: String,
    /// Further sentences.
    pub more: Vec<String>,
    /// What to do.
    pub remedy: Option<String>,
}

fn calm(name: &'static str, what: String) -> Care {
    Care { name, tone: None, what, more: Vec::new(), remedy: None }
}

fn bad(name: &'static str, what: impl Into<String>, remedy: &str) -> Care {
    Care { tone: Some(Tone::Bad), remedy: Some(remedy.to_owned()), ..calm(name, what.into()) }
}

/// About this server.
#[must_use]
pub fn of_server(status: &Value) -> Vec<Care> {
    let mirroring = &status["mirroring"];
    let mut all: Vec<Care> = orphans(mirroring).into_iter().chain(rolled_back(mirroring)).collect();
    let alone = status["role"] == "standalone";
    let differing_here = mirroring["differs"].as_array().into_iter().flatten();
    all.extend(differing_here.map(|one| differing(one, alone)));
    if let Some(why) = text(mirroring, "/replay_stopped") {
        let remedy = "make room on its disk, and it goes on by itself; otherwise restart this server, or seed it anew with \
                      `counterpart mirror start --replace`";
        all.push(bad("stopped", why, remedy));
    }
    all.extend(storage(status));
    all.extend(integrity(&status["integrity"]));
    all
}

/// About a mirror, on its principal.
#[must_use]
pub fn of_partner(partner: &Value) -> Vec<Care> {
    let mut all = Vec::new();
    let differing = partner["differs"].as_array().into_iter().flatten();
    let names: Vec<&str> = differing.filter_map(Value::as_str).collect();
    if !names.is_empty() {
        let remedy =
            "nothing while it is connected: it heals by itself; until then it does not take over";
        all.push(bad("differs", names.join(", "), remedy));
    }
    if let Some(why) = text(partner, "/replay_stopped") {
        let remedy = "make room on its disk, and it goes on by itself; otherwise restart that server, or seed it anew with \
                      `counterpart mirror start --replace`";
        all.push(bad("stopped", why, remedy));
    }
    all
}

/// Events between two positions.
fn events(range: &Value) -> Option<String> {
    let (common, end) = (number(range, "/common")?, number(range, "/end")?);
    Some(format!("{} after LSN {common}", human::events(end.saturating_sub(common))))
}

fn orphans(mirroring: &Value) -> Option<Care> {
    if let Some(events) = events(&mirroring["saving_orphans"]) {
        let then = "then this server joins the principal by itself";
        return Some(calm(
            "orphans",
            format!("saving {events}, which only this server has; {then}"),
        ));
    }
    let events = events(&mirroring["rejoining"])?;
    Some(calm(
        "orphans",
        format!("{events} are kept, see `counterpart orphans list`; joining the principal"),
    ))
}

fn rolled_back(mirroring: &Value) -> Option<Care> {
    let found = mirroring.get("rolled_back").filter(|found| found.is_object())?;
    let (mirror, events) = (text(found, "/mirror").unwrap_or("a partner"), events(found)?);
    let what = format!(
        "this disk is an older image: {mirror} has {events} that were confirmed and are not here"
    );
    let remedy = "promote the mirror, and this server joins it; or go on here without them: `counterpart promote --force`";
    Some(bad("rolled back", what, remedy))
}

fn differing(one: &Value, alone: bool) -> Care {
    let name = text(one, "/database").unwrap_or("?");
    let since = number(one, "/since").map(|lsn| format!(" since LSN {lsn}")).unwrap_or_default();
    let why = text(one, "/why").map(|why| format!("; {why}")).unwrap_or_default();
    let remedy = if alone {
        "restore this server from a backup, or give that database up with `counterpart db drop`; the evidence is in `damage/` \
         of the data directory"
    } else {
        "connect the partner: what it has is put in place by itself; the evidence is in `damage/` of the data directory"
    };
    bad("differs", format!("{name}{since}{why}"), remedy)
}

/// What SQLite met on this server's disk.
fn storage(status: &Value) -> Option<Care> {
    let met = status.get("storage_error").filter(|met| met.is_object())?;
    let (what, code) = (text(met, "/what")?, text(met, "/code")?);
    let database = text(met, "/database").unwrap_or("?");
    let remedy = "look after the disk: its space, and whether it is mounted read-only; writes go on by themselves when it \
                  takes them again";
    Some(bad("disk", format!("writing to {database} failed: {what} ({code})"), remedy))
}

fn integrity(integrity: &Value) -> Option<Care> {
    if !integrity.is_object() {
        return None;
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
        return Some(calm("integrity", format!("all good; {}{reading}", read_back(integrity))));
    }
    let mut told = vec![format!("{found} damaged pages met, {repaired} repaired")];
    if segments.0 > 0 {
        told.push(format!("{} damaged journal segments, {} mended", segments.0, segments.1));
    }
    let whole = found == repaired && segments.0 == segments.1 && failures.is_empty();
    let tone = if whole { Tone::Warning } else { Tone::Bad };
    let remedy = if whole {
        "nothing is wrong now; look after the disk and the memory of this machine"
    } else {
        "connect the partner, then run `counterpart verify --deep`; without one, restore a backup. Nothing wrong is served"
    };
    Some(Care {
        name: "integrity",
        tone: Some(tone),
        what: format!("{}; {}{reading}", told.join("; "), read_back(integrity)),
        more: failures.iter().take(SHOWN).map(|&failure| failure.to_owned()).collect(),
        remedy: Some(remedy.to_owned()),
    })
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
