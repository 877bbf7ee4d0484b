//! The pages that ask before something about mirroring is done: what will happen, what may be lost, and a word to type
//! where something may be.

use counterpart_node::Refusal;
use maud::{Markup, html};
use serde_json::Value;

use super::{
    action::Action,
    frame::{self, commands, sentence},
    guard::Visitor,
    mirroring::partner_name,
};
use crate::{
    problem::Problem,
    view::{self, text},
    words,
};

/// What one is asked about.
pub struct Asked<'a> {
    pub action: Action,
    /// The partner that is meant, where there are several.
    pub partner: Option<&'a str>,
    /// What speaks against it, where the operator may insist.
    pub forced: Option<&'a Refusal>,
    /// For a promotion: what is known beforehand.
    pub assessment: &'a Value,
    pub status: &'a Value,
}

/// The word that has to be typed; nothing where nothing can be lost.
pub fn word(action: Action, forced: Option<&Refusal>, assessment: &Value) -> Option<&'static str> {
    match action {
        Action::Promote if forced.is_some() => Some("promote by force"),
        Action::Promote if assessment["loss"] != "nothing" => Some("promote"),
        _ => None,
    }
}

/// Whether the word was typed.
///
/// # Errors
/// If it was not.
pub fn typed(word: Option<&str>, typed: &str) -> Result<(), Problem> {
    match word {
        Some(word) if word != typed => Err(Problem::new(
            "NOT_CONFIRMED_BY_YOU",
            "what you typed is not what was asked for, so nothing was done",
            format!("type {word:?}, without the quotes, if you mean it"),
        )),
        _ => Ok(()),
    }
}

/// What will happen, sentence by sentence.
fn consequences(asked: &Asked<'_>) -> Vec<String> {
    let partner = partner_name(asked.status, asked.partner);
    let here = view::client_url(asked.status).unwrap_or("this server");
    let is_principal = view::role(asked.status) == "principal";
    let required = asked.status["mirroring"]["require_mirror"] == true;
    match asked.action {
        Action::FailOver => vec![
            format!("{partner} becomes the principal, and {here} its mirror."),
            "Writes wait meanwhile; none fails, and nothing is lost.".to_owned(),
            "Clients that write here are refused afterwards with the new principal's address."
                .to_owned(),
        ],
        Action::Promote if is_principal => vec![
            format!("{here} goes on as the principal, with what it has."),
            "What only a partner has is left behind.".to_owned(),
        ],
        Action::Promote => vec![
            format!("{here} becomes the principal and takes writes."),
            format!(
                "If {partner} is alive after all, it is deposed as soon as it hears of this: what only it has is kept \
                 as orphans, not merged."
            ),
        ],
        Action::Suspend => vec![
            format!(
                "{partner} gets nothing more until it is resumed. Its copy stays as it is and can be read."
            ),
            if required {
                "Writes are refused unless another mirror is synchronized.".to_owned()
            } else {
                "Commits are confirmed without it: while no other mirror is synchronized, this server is exposed.".to_owned()
            },
        ],
        Action::Resume => vec![
            format!("{partner} gets what it lacks, while this server serves."),
            "Once it has everything, commits wait for it again, as the safety says.".to_owned(),
        ],
        Action::Rejoin => vec![
            "What only this server has is kept here as a set of orphans.".to_owned(),
            format!("Then this server gets what differs from {partner} and is its mirror."),
        ],
        Action::Stop if is_principal => vec![
            format!("{here} stays as it is, standalone; there is no second copy any more."),
            format!(
                "{partner} becomes standalone as well, as soon as it hears of this, and takes writes of its own."
            ),
        ],
        Action::Stop => vec![
            format!("{here} becomes standalone and takes writes of its own."),
            format!("{partner} goes on without this copy."),
        ],
    }
}

/// The page's content.
pub fn content(asked: &Asked<'_>, visitor: &Visitor) -> Markup {
    let action = asked.action;
    let word = word(action, asked.forced, asked.assessment);
    let danger = word.is_some() || action == Action::Stop;
    html! {
        h1 { (action.label()) @if asked.forced.is_some() { " by force" } "?" }
        @if let Some(why) = asked.forced {
            div.notice.bad { p { b { "What speaks against it: " } (commands(&sentence(why.what()))) } }
        }
        @if let Some(words) = text(asked.assessment, "/words") {
            div.notice.(if word.is_some() { "bad" } else { "good" }) {
                p { b { "What may be lost: " } (commands(words)) }
            }
        } @else if action == Action::FailOver {
            @if let Some(words) = words::failover(asked.status) { div.notice.good { p { (words) } } }
        }
        section {
            h2 { "What will happen" }
            ul.plain-list { @for sentence in consequences(asked) { li { (sentence) } } }
        }
        form.stack method="post" action=(format!("/console/mirroring/{}", action.slug())) {
            (frame::csrf(visitor))
            @if let Some(partner) = asked.partner { input type="hidden" name="partner" value=(partner); }
            @if asked.forced.is_some() { input type="hidden" name="force" value="yes"; }
            @if let Some(word) = word { (typing(word)) }
            div.buttons {
                button.(if danger { "danger" } else { "strong" }) type="submit" { (action.label()) }
                a.button href="/console/mirroring" { "Cancel" }
            }
        }
    }
}

/// A field for the word that shows that somebody means it.
pub fn typing(word: &str) -> Markup {
    html! {
        label for="typed" { "Type " code { (word) } " to confirm" }
        input #typed type="text" name="typed" required autocomplete="off" spellcheck="false" autocapitalize="off";
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_is_asked_for_exactly_where_something_may_be_lost() {
        let why = Refusal::new("DEPOSED", "it was deposed", "promote the other one");
        let loss = |loss: Value| json!({ "loss": loss });
        for (action, forced, assessment, expected) in [
            (Action::Promote, None, loss(json!("nothing")), None),
            (Action::Promote, None, loss(json!("unknown")), Some("promote")),
            (Action::Promote, None, loss(json!({ "at_least": 3 })), Some("promote")),
            // What is not known may be anything.
            (Action::Promote, None, Value::Null, Some("promote")),
            (Action::Promote, Some(&why), loss(json!("nothing")), Some("promote by force")),
            (Action::FailOver, None, Value::Null, None),
            (Action::Stop, None, Value::Null, None),
        ] {
            assert_eq!(word(action, forced, &assessment), expected, "{action:?} {assessment}");
        }
        assert!(typed(None, "").is_ok() && typed(Some("promote"), "promote").is_ok());
        for other in ["", "Promote", "promote by force"] {
            assert!(typed(Some("promote"), other).is_err(), "{other}");
        }
    }

    #[test]
    fn every_action_says_what_will_happen_and_names_the_partner() {
        let partners = json!([{ "server": "bb", "client_url": "http://b:1" }]);
        for role in ["principal", "mirror"] {
            let status = json!({ "role": role, "client_url": "http://a:1", "mirroring": { "partners": partners } });
            for action in Action::ALL.into_iter().filter(|action| action.belongs_to(role)) {
                let none = Value::Null;
                let asked = Asked {
                    action,
                    partner: None,
                    forced: None,
                    assessment: &none,
                    status: &status,
                };
                let said = consequences(&asked).join(" ");
                assert!(said.contains("http://") && said.ends_with('.'), "{action:?}: {said}");
            }
        }
    }
}
