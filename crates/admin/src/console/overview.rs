//! The overview: this server and its partners side by side, what flows between them, and what somebody has to look at.
//!
//! Everything on it is a pure function of the status, so that the live page and the first one are the same.

use maud::{Markup, html};
use serde_json::Value;

use super::{
    frame::{commands, sentence},
    glyph,
};
use crate::{
    human,
    view::{self, number, text},
    words::{self, Care, Tone},
};

/// The part of the page that changes by itself.
pub fn fragment(status: &Value) -> Markup {
    html! {
        (headline(status))
        (cares(status))
        (pair(status))
        (configuration(status))
    }
}

/// The class of a tone.
fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
        Tone::Strong => "plain",
    }
}

/// The worst state of the pairs, or that there is none.
fn state(status: &Value) -> &str {
    let states = view::partners(status).iter().filter_map(|partner| text(partner, "/state"));
    let order = ["DISCONNECTED", "SUSPENDED", "PENDING_FAILOVER", "SYNCHRONIZING", "SYNCHRONIZED"];
    let rank = |state: &&str| order.iter().position(|known| known == state);
    states.min_by_key(rank).unwrap_or("STANDALONE")
}

/// How the server is, in one glance.
pub fn headline(status: &Value) -> Markup {
    let tone = words::tone(status);
    html! {
        section.headline.(class(tone)) aria-labelledby="state" {
            (glyph::of_state(state(status)))
            div {
                p #state.state role="status" { (words::role_and_state(status)) }
                @if let Some(exposed) = words::exposed(status) {
                    p { "Exposed " (exposed) ": commits are confirmed on this server alone." }
                }
                @if let Some(words) = outlook(status) { p.outlook { (words) } }
                @if let Some(writes) = held_up(status) { p { "Writes: " (writes) } }
            }
        }
    }
}

/// What keeps a server from taking writes that should take them.
fn held_up(status: &Value) -> Option<String> {
    let should = view::role(status) != "mirror";
    words::writes(status).filter(|writes| should && writes != "taken")
}

/// What a failover or a promotion would mean now.
fn outlook(status: &Value) -> Option<String> {
    if view::partners(status).is_empty() {
        return Some("There is no second copy. Mirroring has not been started.".to_owned());
    }
    words::promotion(status).or_else(|| words::failover(status).map(str::to_owned))
}

/// The status box: errors and findings, each with its remedy.
fn cares(status: &Value) -> Markup {
    let mut all: Vec<(String, Care)> = Vec::new();
    let error = view::last_error(status).or_else(|| view::last_error(&status["mirroring"]));
    all.extend(error.map(|error| ("This server".to_owned(), last_error(error))));
    all.extend(words::of_server(status).into_iter().map(|care| ("This server".to_owned(), care)));
    for partner in view::partners(status) {
        let whom = view::client_url(partner).unwrap_or("The partner");
        let found = view::last_error(partner).map(last_error).into_iter();
        let found = found.chain(words::of_partner(partner));
        all.extend(found.map(|care| (whom.to_owned(), care)));
    }
    if let Some(parked) = words::parked(status) {
        let remedy =
            "keep them as orphans and join the new principal: Rejoin, on the page Mirroring";
        all.push((
            "This server".to_owned(),
            Care {
                name: "parked",
                tone: Some(Tone::Warning),
                what: parked,
                more: Vec::new(),
                remedy: Some(remedy.to_owned()),
            },
        ));
    }
    all.sort_by_key(|(_, care)| care.tone.is_none());
    html! {
        section.status aria-labelledby="status-title" {
            h2 #status-title { "Status" }
            @if all.iter().all(|(_, care)| care.tone.is_none()) { p.calm { "Nothing needs attention." } }
            @if !all.is_empty() {
                ul.cares { @for (whom, care) in &all { (care_item(whom, care)) } }
            }
        }
    }
}

fn last_error((what, remedy): (String, String)) -> Care {
    let remedy = Some(remedy).filter(|remedy| !remedy.is_empty());
    Care { name: "last error", tone: Some(Tone::Bad), what, more: Vec::new(), remedy }
}

fn care_item(whom: &str, care: &Care) -> Markup {
    let tone = care.tone.map_or("calm", class);
    html! {
        li.(tone) {
            p {
                span.whom { (whom) ", " (care.name) ": " }
                (commands(&sentence(&care.what)))
            }
            @for sentence in &care.more { p { (sentence) } }
            @if let Some(remedy) = &care.remedy {
                p { b { "What to do: " } (commands(&sentence(remedy))) }
            }
        }
    }
}

/// This server, and each partner with what is between.
fn pair(status: &Value) -> Markup {
    let partners = view::partners(status);
    html! {
        section.pair aria-labelledby="servers-title" {
            h2 #servers-title { "Servers" }
            @if partners.is_empty() {
                div.servers.alone { (this_server(status)) }
            }
            @for partner in partners {
                div.servers {
                    (this_server(status))
                    (flow(status, partner))
                    (partner_card(partner))
                }
            }
        }
    }
}

/// Terms with what is known of them; the others are left out.
fn facts(facts: &[(&str, Option<String>)]) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                @if let Some(value) = value { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

fn lsn(value: &Value, pointer: &str) -> Option<String> {
    number(value, pointer).map(human::count)
}

fn this_server(status: &Value) -> Markup {
    let journal = &status["journal"];
    let is_mirror = view::role(status) == "mirror";
    html! {
        article.server aria-label="This server" {
            p.kind { "This server" }
            h3 { (words::capitalized(view::role(status))) }
            p.address { (view::client_url(status).unwrap_or("?")) }
            (facts(&[
                ("Last LSN", lsn(journal, "/last")),
                ("Hardened LSN", lsn(journal, "/hardened")),
                ("Commit LSN", lsn(journal, "/commit")),
                ("Applied LSN", lsn(status, "/applied").filter(|_| is_mirror)),
                ("Writes", words::writes(status).map(|writes| brief(&writes).to_owned())),
                ("Databases", number(status, "/databases").map(human::count)),
            ]))
        }
    }
}

/// The first word; the reason stands above.
fn brief(text: &str) -> &str {
    text.split(':').next().unwrap_or(text)
}

fn partner_card(partner: &Value) -> Markup {
    let connected = partner["connected"].as_bool().map(|yes| if yes { "yes" } else { "no" });
    html! {
        article.server aria-label=(format!("Partner {}", view::client_url(partner).unwrap_or("?"))) {
            p.kind { "Partner" }
            h3 { (words::capitalized(view::role(partner))) }
            p.address { (view::client_url(partner).unwrap_or("?")) }
            (facts(&[
                ("Connected", connected.map(str::to_owned)),
                ("Silent", words::silence(partner)),
                ("Hardened LSN", lsn(partner, "/hardened")),
                ("Applied LSN", lsn(partner, "/applied")),
                ("Commits wait for it", yes_or_no(&partner["commits_wait"])),
                ("Server", view::server(partner).map(str::to_owned)),
            ]))
        }
    }
}

fn yes_or_no(value: &Value) -> Option<String> {
    value.as_bool().map(|yes| if yes { "yes" } else { "no" }.to_owned())
}

/// What is on its way between this server and a partner.
fn flow(status: &Value, partner: &Value) -> Markup {
    let state = text(partner, "/state").unwrap_or("unknown");
    let outwards = view::role(status) == "principal";
    let progress = &partner["progress"];
    let share = number(progress, "/done")
        .zip(number(progress, "/total"))
        .or_else(|| number(progress, "/pages").zip(number(progress, "/pages_total")));
    html! {
        div.flow.(class(words::tone_of_state(state))) {
            p.pair-state { (glyph::of_state(state)) span { (state) } }
            (arrow(outwards, partner["connected"] == true))
            (facts(&[
                ("Send queue", words::queue(partner, "send_queue")),
                ("Behind", number(partner, "/behind").map(human::events)),
                ("Redo queue", words::queue(partner, "redo_queue")),
                ("Lag", number(partner, "/lag_millis").map(words::millis)),
            ]))
            @if let Some(words) = words::progress(partner) {
                p.progress { "Catching up: " (words) }
                @if let Some((done, total)) = share.filter(|(_, total)| *total > 0) {
                    progress value=(done) max=(total) aria-label="Catching up" {}
                }
            }
        }
    }
}

/// From the principal to the mirror, whole or broken. On a narrow page it points down, or up.
fn arrow(outwards: bool, connected: bool) -> Markup {
    let line = if connected { "M4 12H224" } else { "M4 12H92M136 12H224" };
    let words = match (connected, outwards) {
        (true, true) => "Events flow from this server to the partner.",
        (true, false) => "Events flow from the partner to this server.",
        (false, _) => "There is no connection.",
    };
    html! {
        svg.arrow.back[!outwards] viewBox="0 0 240 24" aria-hidden="true" focusable="false" {
            path d=(line) {}
            path d="M216 4L232 12L216 20" {}
            @if !connected { path.cut d="M106 4L122 20M122 4L106 20" {} }
        }
        p.unseen { (words) }
    }
}

/// What is set, and where things are.
fn configuration(status: &Value) -> Markup {
    let mirroring = &status["mirroring"];
    let session = view::session(status);
    let epoch = mirroring.get("epoch").filter(|_| session.is_some());
    let epoch = epoch.and_then(|epoch| {
        Some(format!("term {}, start {}", epoch["term"].as_u64()?, epoch["start"].as_u64()?))
    });
    let up = number(status, "/uptime_seconds").map(|seconds| match seconds / 60 * 60 {
        0 => "less than a minute".to_owned(),
        whole => human::seconds(whole as f64),
    });
    html! {
        section.configuration aria-labelledby="configuration-title" {
            h2 #configuration-title { "Configuration" }
            (facts(&[
                ("Safety", text(mirroring, "/safety").filter(|_| session.is_some()).map(safety)),
                ("Without a synchronized mirror", session.and(mirroring["require_mirror"].as_bool()).map(alone)),
                ("Session", session.map(str::to_owned)),
                ("Epoch", epoch),
                ("Clients connect to", view::client_url(status).map(str::to_owned)),
                ("Partners connect to", view::partner_address(status).map(str::to_owned)),
                ("Server", view::server(status).map(str::to_owned)),
                ("Data directory", text(status, "/data_dir").map(str::to_owned)),
                ("Journal on disk", number(status, "/journal/bytes").map(human::bytes)),
                ("Version", text(status, "/version").map(str::to_owned)),
                ("Up", up),
            ]))
        }
    }
}

fn safety(word: &str) -> String {
    match word {
        "full" => "full: a commit is confirmed once both servers have hardened it".to_owned(),
        "off" => "off: a commit is confirmed once the principal has hardened it".to_owned(),
        other => other.to_owned(),
    }
}

fn alone(refuses: bool) -> String {
    if refuses { "writes are refused" } else { "the principal goes on, exposed" }.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn principal(state: &str) -> Value {
        json!({
            "role": "principal", "words": "Principal, in some state", "admits_writes": true, "databases": 2,
            "client_url": "http://a:1", "journal": { "last": 1234, "hardened": 1234, "commit": 1233 },
            "mirroring": {
                "session": "s", "safety": "full", "require_mirror": false, "epoch": { "term": 3, "start": 1 },
                "failover_now": "Fail over now: 0 lost, about 20 ms",
                "partners": [{
                    "server": "bb", "role": "mirror", "state": state, "connected": state != "DISCONNECTED",
                    "client_url": "http://b:1", "hardened": 1230, "applied": 1200, "send_queue": 4,
                    "send_queue_bytes": 2048, "redo_queue": 30, "redo_queue_bytes": 100, "lag_millis": 1500,
                }],
            },
        })
    }

    #[test]
    fn a_pair_is_told_in_words_with_positions_queues_and_what_a_failover_would_lose() {
        let text = fragment(&principal("SYNCHRONIZED")).into_string();
        for expected in [
            "Principal, in some state",
            "Fail over now: 0 lost, about 20 ms",
            "SYNCHRONIZED",
            "1,234",
            "1,230",
            "4 events, 2.0 KiB",
            "30 events, 100 B",
            "1.5 s",
            "term 3, start 1",
            "Nothing needs attention.",
            "http://b:1",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(text.contains("headline good"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do() {
        let mut status = principal("DISCONNECTED");
        status["mirroring"]["last_error"] =
            json!({ "code": "X", "what": "the mirror is gone", "remedy": "start it" });
        status["mirroring"]["exposed_millis"] = json!(65_000);
        status["mirroring"]["partners"][0]["silent_millis"] = json!(65_000);
        let text = fragment(&status).into_string();
        for expected in [
            "headline bad",
            "the mirror is gone.",
            "start it.",
            "Exposed for 1 min 5 s",
            "There is no connection.",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains("Nothing needs attention."), "{text}");
    }

    #[test]
    fn the_worst_of_several_pairs_gives_the_sign() {
        let mut status = principal("SYNCHRONIZED");
        assert_eq!(state(&status), "SYNCHRONIZED");
        let other = principal("SUSPENDED")["mirroring"]["partners"][0].clone();
        status["mirroring"]["partners"].as_array_mut().unwrap().push(other);
        assert_eq!(state(&status), "SUSPENDED");
        assert_eq!(state(&json!({})), "STANDALONE");
    }

    #[test]
    fn a_status_that_tells_nothing_is_still_a_page() {
        for status in [json!(null), json!({}), json!({ "mirroring": { "partners": [{}] } })] {
            assert!(fragment(&status).into_string().contains("Configuration"), "{status}");
        }
    }

    proptest! {
        #[test]
        fn no_text_of_the_status_reaches_the_page_unescaped(evil in ".{0,30}") {
            let evil = format!("<b>{evil}\"'<script>&amp;`<i>`");
            let mut status = principal(&evil);
            let error = json!({ "code": evil, "what": evil, "remedy": evil });
            for field in ["words", "client_url", "data_dir", "version", "server", "partner_address"] {
                status[field] = json!(evil);
            }
            for field in ["safety", "session", "failover_now", "replay_stopped"] {
                status["mirroring"][field] = json!(evil);
            }
            status["mirroring"]["last_error"] = error.clone();
            status["mirroring"]["partners"][0]["last_error"] = error;
            for field in ["role", "client_url", "server", "way", "replay_stopped"] {
                status["mirroring"]["partners"][0][field] = json!(evil);
            }
            let text = fragment(&status).into_string();
            prop_assert!(!text.contains("<b>\"") && !text.contains("<script") && !text.contains("<i>"), "{}", text);
        }
    }
}
