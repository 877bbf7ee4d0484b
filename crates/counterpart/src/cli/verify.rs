//! `counterpart verify`: are both copies what they should be, and equal?
//!
//! Each server knows the checksum of each of its databases at any moment; two servers are compared at one position.
//! With `--deep`, each server first reads every page and record back from its disk.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    Connection,
    client::Client,
    human,
    screen::{Screen, Tone},
    view,
};
use crate::{
    clock,
    exit::{Exit, Failure},
};

/// How often a scrub is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

/// How long a position is looked for at which both are known: under load each try finds one, or the next does.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it takes.
#[derive(Args)]
pub struct VerifyArgs {
    /// Read every page and record back from the disk first, on both servers
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// One server that is verified.
struct Side {
    role: String,
    client: Client,
}

/// Verifies a server, and its partners against it. A partner that is away does not keep the others from being verified.
pub fn run(args: &VerifyArgs, screen: &mut Screen) -> Result<(), Failure> {
    let asked = args.connection.client()?;
    let status = asked.status()?;
    let mut sides = vec![Side { role: view::role(&status).to_owned(), client: asked }];
    let mut away = Vec::new();
    for partner in view::partners(&status) {
        let url = view::client_url(partner).unwrap_or_default();
        let (role, client) =
            (view::text(partner, "/role").unwrap_or("partner"), args.connection.client_of(url)?);
        match client.status() {
            Ok(_) => sides.push(Side { role: role.to_owned(), client }),
            Err(failure) if failure.exit == Exit::Unreachable => {
                let text = screen.toned(Tone::Bad, "cannot be reached");
                screen.line(format!("{role} {url}: {text}, and is not verified"))?;
                away.push(url.to_owned());
            }
            Err(failure) => return Err(failure),
        }
    }
    let scrubs = if args.deep { scrub_all(&sides, screen)? } else { Vec::new() };
    let mut comparisons = Vec::new();
    // The principal keeps the journal that tells what was when, so it compares.
    sides.sort_by_key(|side| side.role != "principal");
    if let Some((judge, others)) = sides.split_first() {
        for other in others {
            comparisons.push(compare(judge, other, screen)?);
        }
        if others.is_empty() && away.is_empty() {
            screen.line("this server has no partner to be compared with")?;
        }
    }
    screen.value(&json!({ "scrubs": scrubs, "comparisons": comparisons, "unreachable": away }))?;
    verdict(&scrubs, &comparisons, &away)
}

fn verdict(scrubs: &[Value], comparisons: &[Value], away: &[String]) -> Result<(), Failure> {
    let damaged = scrubs
        .iter()
        .any(|scrub| scrub["failures"].as_array().is_some_and(|failures| !failures.is_empty()));
    let of = |verdict: &str| {
        let all = comparisons.iter().flat_map(|c| c["databases"].as_array().into_iter().flatten());
        all.filter(|one| one["verdict"] == verdict).count()
    };
    let failure = |what: String| {
        Err(Failure::new(
            Exit::Refused,
            "VERIFICATION_FAILED",
            what,
            "see `counterpart status` and the servers' logs; what a partner has is repaired by itself",
        ))
    };
    match (damaged, of("different") + of("missing"), of("unknown")) {
        (true, _, _) => failure("a server holds damage that it could not repair".to_owned()),
        (_, 1.., _) => failure("the copies are not equal".to_owned()),
        (_, _, 1..) => failure("some databases could not be compared at one position".to_owned()),
        _ if !away.is_empty() => Err(Failure::new(
            Exit::Unreachable,
            "PARTNER_UNREACHABLE",
            format!("nothing was compared with {}, which cannot be reached", away.join(", ")),
            "start it, or mend the network between here and there, and run the command again",
        )),
        _ => Ok(()),
    }
}

/// Has all servers read everything back, side by side.
fn scrub_all(sides: &[Side], screen: &mut Screen) -> Result<Vec<Value>, Failure> {
    let mut began = Vec::new();
    for side in sides {
        let progress = side.client.post("/api/v1/scrub", &json!({}))?;
        began.push(view::number(&progress, "/running/began").unwrap_or(0));
    }
    let mut passes = Vec::new();
    for (side, began) in sides.iter().zip(began) {
        let pass = wait_scrubbed(side, began, screen)?;
        let (bytes, seconds) = (number(&pass, "/bytes"), seconds(&pass));
        let rate = if seconds > 0.0 { bytes as f64 / seconds / 1e6 } else { 0.0 };
        screen.line(format!(
            "{} {}: read back {} in {} ({rate:.0} MB/s): {}",
            side.role,
            side.client.url(),
            human::bytes(bytes),
            human::seconds(seconds),
            found(&pass, screen),
        ))?;
        for failure in pass["failures"].as_array().into_iter().flatten() {
            screen.line(format!("  {}", failure.as_str().unwrap_or_default()))?;
        }
        passes.push(pass);
    }
    Ok(passes)
}

fn number(value: &Value, pointer: &str) -> u64 {
    view::number(value, pointer).unwrap_or(0)
}

fn seconds(pass: &Value) -> f64 {
    number(pass, "/ended").saturating_sub(number(pass, "/began")) as f64 / 1e6
}

fn found(pass: &Value, screen: &Screen) -> String {
    let pages = (number(pass, "/damaged_pages"), number(pass, "/repaired_pages"));
    let segments = (number(pass, "/damaged_segments"), number(pass, "/repaired_segments"));
    if pages.0 + segments.0 == 0 {
        return screen.toned(Tone::Good, "all good");
    }
    let text = format!(
        "{} damaged pages, {} repaired; {} damaged journal segments, {} mended",
        pages.0, pages.1, segments.0, segments.1
    );
    let tone =
        if pages.0 == pages.1 && segments.0 == segments.1 { Tone::Warning } else { Tone::Bad };
    screen.toned(tone, &text)
}

fn wait_scrubbed(side: &Side, began: u64, screen: &Screen) -> Result<Value, Failure> {
    let bar = bar(screen);
    loop {
        let progress = side.client.get("/api/v1/scrub")?;
        if let Some(last) = progress["last"].as_object()
            && number(&progress, "/last/began") >= began
            && !progress["running"].is_object()
        {
            bar.finish_and_clear();
            return Ok(Value::Object(last.clone()));
        }
        bar.set_length(number(&progress, "/running/total"));
        bar.set_position(number(&progress, "/running/bytes"));
        bar.set_message(side.role.clone());
        clock::pause(POLL);
    }
}

fn bar(screen: &Screen) -> ProgressBar {
    if !screen.interactive {
        return ProgressBar::hidden();
    }
    let template = "{msg} {bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    ProgressBar::new(0).with_style(style)
}

/// Databases that are compared in one request.
const AT_A_TIME: usize = 200;

/// One comparison of all databases, as far as they can be compared now.
fn compare_once(judge: &Side, other: &Side) -> Result<Vec<Value>, Failure> {
    let list = |side: &Side| -> Result<Vec<Value>, Failure> {
        let mut answer = side.client.get("/api/v1/checksums")?;
        Ok(answer["databases"].as_array_mut().map(std::mem::take).unwrap_or_default())
    };
    let (theirs, ours) = (list(other)?, list(judge)?);
    let mut compared = Vec::new();
    for some in theirs.chunks(AT_A_TIME) {
        let body = json!({ "databases": some });
        let answer = judge.client.post("/api/v1/checksums/compare", &body)?;
        let verdicts = answer["databases"].as_array().cloned().unwrap_or_default();
        compared.extend(verdicts.into_iter().zip(some).map(|(mut one, theirs)| {
            one["name"] = theirs["name"].clone();
            one
        }));
    }
    let lacking = ours.iter().filter(|one| theirs.iter().all(|known| known["id"] != one["id"]));
    compared.extend(lacking.map(|one| {
        json!({ "id": one["id"], "name": one["name"], "verdict": "missing", "lsn": one["lsn"],
                "here": one["checksum"], "there": null })
    }));
    Ok(compared)
}

/// How many are equal, and how many are not.
fn in_all(settled: &[Value], screen: &Screen) -> String {
    let of = |verdict: &str| settled.iter().filter(|one| one["verdict"] == verdict).count();
    let (equal, unknown) = (of("equal"), of("unknown"));
    let mut parts = vec![format!("{equal} of {} databases ", settled.len())];
    parts[0] += &screen.toned(Tone::Good, "equal, page by page");
    if let differ @ 1.. = settled.len() - equal - unknown {
        parts.push(screen.toned(Tone::Bad, &format!("{differ} NOT EQUAL")));
    }
    if unknown > 0 {
        parts.push(screen.toned(Tone::Warning, &format!("{unknown} not compared")));
    }
    parts.join(", ")
}

/// Compares two servers, each database at a position at which both are known.
fn compare(judge: &Side, other: &Side, screen: &mut Screen) -> Result<Value, Failure> {
    let until = clock::uptime() + PATIENCE;
    let mut settled = loop {
        let compared = compare_once(judge, other)?;
        // One that was just made, or has just changed, has come to both a moment later.
        let undecided = |one: &Value| one["verdict"] == "unknown" || one["verdict"] == "missing";
        if !compared.iter().any(undecided) || clock::uptime() >= until {
            break compared;
        }
        clock::pause(POLL);
    };
    settled.sort_by(|a, b| view::text(a, "/name").cmp(&view::text(b, "/name")));
    screen.line(format!(
        "{} and {}: {}",
        judge.client.url(),
        other.client.url(),
        in_all(&settled, screen)
    ))?;
    for one in settled.iter().filter(|one| one["verdict"] != "equal") {
        let digits = |name: &str| one[name].as_str().unwrap_or("unknown").to_owned();
        screen.line(format!(
            "  {}: {} at {} (here {}, there {})",
            view::text(one, "/name").unwrap_or("?"),
            view::text(one, "/verdict").unwrap_or("?"),
            number(one, "/lsn"),
            digits("here"),
            digits("there"),
        ))?;
    }
    Ok(json!({ "judge": judge.client.url(), "other": other.client.url(), "databases": settled }))
}
