//! What a status says, in words: the command line and the console show the same sentences, so they are made once.
//!
//! Everything here is a pure function of the status document; what a field does not tell is left out. How a tone
//! looks is not decided here.

use serde_json::Value;

use crate::{
    human,
    view::{self, decimal, number, text},
};

mod care;

pub use care::{Care, of_partner, of_server};

/// How a text is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Somebody should look.
    Warning,
    /// Something is broken.
    Bad,
    /// A heading.
    Strong,
}

/// How a server is, taken together with its partners.
#[must_use]
pub fn tone(status: &Value) -> Tone {
    let exposed = number(status, "/mirroring/exposed_millis").is_some();
    let states = view::partners(status).iter().filter_map(|partner| text(partner, "/state"));
    let states: Vec<&str> = states.collect();
    match states.as_slice() {
        _ if exposed => Tone::Bad,
        [] => Tone::Strong,
        states if states.contains(&"DISCONNECTED") => Tone::Bad,
        states if states.iter().all(|state| *state == "SYNCHRONIZED") => Tone::Good,
        _ => Tone::Warning,
    }
}

/// How a pair in this state is.
#[must_use]
pub fn tone_of_state(state: &str) -> Tone {
    match state {
        "SYNCHRONIZED" => Tone::Good,
        "DISCONNECTED" => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// Role and state of a server or partner, "Principal, synchronized"; of one that tells no words, the role.
#[must_use]
pub fn role_and_state(of: &Value) -> String {
    text(of, "/words").map_or_else(|| capitalized(view::role(of)), str::to_owned)
}

/// A word as the first of a line.
#[must_use]
pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Whether writes are taken, and why not.
#[must_use]
pub fn writes(status: &Value) -> Option<String> {
    let taken = status["admits_writes"].as_bool()?;
    let why = text(status, "/mirroring/writes/refused/what");
    Some(match (taken, why, text(status, "/mirroring/writes")) {
        (true, ..) => "taken".to_owned(),
        (false, Some(why), _) => format!("refused: {why}"),
        (false, None, Some("held")) => "waiting".to_owned(),
        (false, None, _) => "refused".to_owned(),
    })
}

/// For how long commits have been confirmed without a synchronized mirror.
#[must_use]
pub fn exposed(status: &Value) -> Option<String> {
    number(status, "/mirroring/exposed_millis").map(|span| format!("for {}", millis(span)))
}

/// What only a deposed principal has.
#[must_use]
pub fn parked(status: &Value) -> Option<String> {
    let parked = status.pointer("/mirroring/parked")?;
    let (common, end) = (number(parked, "/common")?, number(parked, "/end")?);
    let events = human::events(end.saturating_sub(common));
    Some(format!("only this server has {events} after LSN {common}"))
}

/// A partner that is connected and silent for longer than this is worth a line.
const NOTICEABLE_MILLIS: u64 = 2_000;

/// A partner that is connected is heard all the time; it is worth a line when it is not.
#[must_use]
pub fn silence(partner: &Value) -> Option<String> {
    let silent = number(partner, "/silent_millis")?;
    let lost = partner["connected"] == false;
    (lost || silent > NOTICEABLE_MILLIS).then(|| format!("for {}", millis(silent)))
}

/// A span of so many milliseconds.
#[must_use]
pub fn millis(millis: u64) -> String {
    human::seconds(millis as f64 / 1000.0)
}

/// The events and bytes of `send_queue` or `redo_queue`.
#[must_use]
pub fn queue(partner: &Value, name: &str) -> Option<String> {
    let events = number(partner, &format!("/{name}"))?;
    let bytes = number(partner, &format!("/{name}_bytes"));
    let bytes = bytes.map(|bytes| format!(", {}", human::bytes(bytes))).unwrap_or_default();
    Some(format!("{}{bytes}", human::events(events)))
}

/// How a mirror catches up and how far it has come: the way, bytes or pages done and in all, rate, time left.
#[must_use]
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

/// "Fail over now: 0 lost, about N ms", or why not.
#[must_use]
pub fn failover(status: &Value) -> Option<&str> {
    text(status, "/mirroring/failover_now")
}

/// On a mirror that could be promoted now: what that may lose.
#[must_use]
pub fn promotion(status: &Value) -> Option<String> {
    let commands = status.pointer("/mirroring/commands").and_then(Value::as_array);
    let refused = |c: &Value| c["command"] == "promote" && c["allowed"] == false;
    if commands.is_some_and(|commands| commands.iter().any(refused)) {
        return None;
    }
    text(status, "/mirroring/promotion/words").map(|words| format!("Promote now: {words}"))
}
