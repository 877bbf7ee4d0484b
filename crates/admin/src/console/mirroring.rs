//! Mirroring: what can be done now, a page that says what it will mean before it is done, and the doing.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use counterpart_core::ServerId;
use counterpart_node::{Operations, Refusal};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Console,
    action::{Action, Verdict, verdict},
    confirm,
    form::Form,
    frame::{self, commands, sentence},
    guard::{Shown, Visitor},
    live::Part,
    overview,
    page::Page,
};
use crate::{
    body::to_the_end,
    note::Note,
    problem::Problem,
    view::{self, text},
};

/// What the query of these pages may say.
#[derive(Deserialize)]
pub struct Which {
    /// The mirror that is meant, where there are several.
    #[serde(default)]
    partner: Option<String>,
    /// What has just been done.
    #[serde(default)]
    done: Option<String>,
}

/// The page.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Query(which): Query<Which>,
) -> Response {
    let done = which.done.as_deref().and_then(Action::of_slug);
    let status = console.ops.status().await;
    let content = html! {
        h1 { "Mirroring" }
        @if let Some(done) = done { div.notice.good role="status" { p { (done.done()) } } }
        (super::live_part(Part::Mirroring, &status, &visitor))
    };
    frame::page(&visitor, Page::Mirroring, "Mirroring", &content).into_response()
}

/// The part of the page that changes by itself.
pub fn fragment(status: &Value, visitor: &Visitor) -> Markup {
    let role = view::role(status);
    let partners = view::partners(status);
    html! {
        (overview::headline(status))
        @if role == "standalone" {
            (how_to_start())
        } @else if role == "principal" && partners.len() > 1 {
            @for partner in partners {
                section.actions {
                    h2 { "Mirror " (view::client_url(partner).unwrap_or("?")) }
                    @let id = view::server(partner);
                    (list(status, visitor, id, |action| action.is_for_a_partner()))
                }
            }
            section.actions {
                h2 { "This server" }
                (list(status, visitor, None, |action| !action.is_for_a_partner()))
            }
        } @else {
            section.actions {
                h2 { "What can be done now" }
                (list(status, visitor, None, |_| true))
            }
        }
    }
}

fn how_to_start() -> Markup {
    html! {
        section.actions {
            h2 { "Start mirroring" }
            p {
                "Mirroring is started from the command line: it checks both servers first, says what fails and why, and "
                "leaves both as they were if anything does."
            }
            pre tabindex="0" { code { "counterpart mirror start --principal http://THIS:6480 --mirror http://OTHER:6480" } }
            p { "This page follows by itself." }
        }
    }
}

fn list(
    status: &Value,
    visitor: &Visitor,
    partner: Option<&str>,
    shown: impl Fn(Action) -> bool,
) -> Markup {
    let role = view::role(status);
    let all = Action::ALL.into_iter();
    let all = all.filter(|action| action.belongs_to(role) && shown(*action));
    html! {
        ul.choices {
            @for action in all { (choice(action, &verdict(action, status, partner, &visitor.identity), partner)) }
        }
    }
}

/// Where the page that asks before an action is.
fn path(action: Action, partner: Option<&str>) -> String {
    let query = partner.map(|id| {
        let mut query = form_urlencoded::Serializer::for_suffix("?".to_owned(), 1);
        query.append_pair("partner", id).finish()
    });
    format!("/console/mirroring/{}{}", action.slug(), query.unwrap_or_default())
}

fn choice(action: Action, verdict: &Verdict, partner: Option<&str>) -> Markup {
    let id = format!("why-{}-{}", action.slug(), partner.unwrap_or_default());
    html! {
        li {
            div.about {
                p.name { (action.label()) }
                p { (action.purpose()) }
                @if let Verdict::Not(why) | Verdict::ByForce(why) = verdict {
                    p.why #(id) {
                        (commands(&sentence(why.what())))
                        @if why.remedy() != "Nothing need be done." { " " (commands(&sentence(why.remedy()))) }
                    }
                }
            }
            @match verdict {
                Verdict::Possible => a.button #(format!("do-{id}")) href=(path(action, partner)) { (action.label()) "…" },
                Verdict::ByForce(_) => a.button.danger #(format!("do-{id}")) href=(path(action, partner)) aria-describedby=(id) { (action.label()) " by force…" },
                Verdict::Not(_) => button type="button" disabled aria-describedby=(id) { (action.label()) },
            }
        }
    }
}

fn action(slug: &str) -> Result<Action, Problem> {
    Action::of_slug(slug).ok_or_else(|| {
        let what = "there is no such step";
        Problem::new("ROUTE_NOT_FOUND", what, "choose one on the page Mirroring")
    })
}

/// Says what an action will mean, and asks.
pub async fn ask<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
    Query(which): Query<Which>,
) -> Shown {
    let action = action(&slug)?;
    let status = console.ops.status().await;
    let forced = match verdict(action, &status, which.partner.as_deref(), &visitor.identity) {
        Verdict::Possible => None,
        Verdict::ByForce(why) => Some(why),
        Verdict::Not(why) => return Err(why.into()),
    };
    let assessment = assessment(&console, action, forced.as_ref()).await?;
    let asked = confirm::Asked {
        action,
        partner: which.partner.as_deref(),
        forced: forced.as_ref(),
        assessment: &assessment,
        status: &status,
    };
    let content = confirm::content(&asked, &visitor);
    Ok(frame::page(&visitor, Page::Mirroring, action.label(), &content).into_response())
}

/// What a promotion would mean; nothing for the other actions, and where the server can't say and is told to go on.
async fn assessment<O: Operations>(
    console: &Console<O>,
    action: Action,
    forced: Option<&Refusal>,
) -> Result<Value, Refusal> {
    if action != Action::Promote {
        return Ok(Value::Null);
    }
    match console.ops.assess_promotion().await {
        Err(_) if forced.is_some() => Ok(Value::Null),
        other => other,
    }
}

/// Does it.
pub async fn carry_out<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Extension(note): Extension<Note>,
    Path(slug): Path<String>,
    body: Body,
) -> Shown {
    let action = action(&slug)?;
    let form = Form::read(body, &visitor.csrf).await?;
    visitor.may(counterpart_access::Need::Operate, "steer mirroring")?;
    let partner = match form.text("partner") {
        "" => None,
        id => Some(id.parse::<ServerId>().map_err(|_| {
            Problem::new(
                "UNKNOWN_PARTNER",
                "that is no partner",
                "choose one on the page Mirroring",
            )
        })?),
    };
    note.about_any(partner);
    let insists = form.text("force") == "yes";
    let force = action == Action::Promote && meant(&console, &visitor, &form, insists).await?;
    tracing::info!(name = %visitor.identity.name, action = action.slug(), "asked for at the console");
    let ops = Arc::clone(&console.ops);
    to_the_end(async move {
        match action {
            Action::FailOver => drop(ops.failover(partner).await?),
            Action::Promote => drop(ops.promote(force).await?),
            Action::Suspend => ops.suspend(partner).await?,
            Action::Resume => ops.resume(partner).await?,
            Action::Rejoin => ops.rejoin().await?,
            Action::Stop => ops.stop_mirroring(partner).await?,
        }
        Ok(())
    })
    .await?;
    Ok(Redirect::to(&format!("/console/mirroring?done={}", action.slug())).into_response())
}

/// Whether a promotion is to be forced; that it is meant is shown by the word for it.
async fn meant<O: Operations>(
    console: &Console<O>,
    visitor: &Visitor,
    form: &Form,
    insists: bool,
) -> Result<bool, Problem> {
    let status = console.ops.status().await;
    let forced = match verdict(Action::Promote, &status, None, &visitor.identity) {
        Verdict::ByForce(why) if insists => Some(why),
        _ => None,
    };
    let assessment = assessment(console, Action::Promote, forced.as_ref()).await?;
    confirm::typed(
        confirm::word(Action::Promote, forced.as_ref(), &assessment),
        form.text("typed"),
    )?;
    Ok(forced.is_some())
}

/// The name by which people know a mirror of this server, or its principal.
pub fn partner_name<'a>(status: &'a Value, partner: Option<&str>) -> &'a str {
    let found = match partner {
        Some(id) => view::partner(status, id),
        None => view::partners(status).first(),
    };
    found.and_then(|partner| text(partner, "/client_url")).unwrap_or("the partner")
}

#[cfg(test)]
mod tests {
    use counterpart_access::{Grant, Identity, Role};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn visitor(role: Role) -> Visitor {
        let grant = Grant::new::<&str>(role, None).unwrap();
        let identity =
            Identity { name: "ann".to_owned(), by: counterpart_access::Credential::Token, grant };
        Visitor { identity: identity.into(), csrf: "c".into(), signed_in: true }
    }

    fn commands(allowed: &[&str], why: &str) -> Value {
        let all = ["failover", "promote", "suspend", "resume", "mirror rejoin", "mirror stop"];
        let reason = json!({ "code": "WRONG_STATE", "what": why, "remedy": why });
        all.iter()
            .map(|name| json!({ "command": name, "allowed": allowed.contains(name), "reason": reason }))
            .collect()
    }

    fn status(role: &str, allowed: &[&str], why: &str) -> Value {
        json!({ "role": role, "mirroring": { "commands": commands(allowed, why), "partners": [{ "server": "bb" }] } })
    }

    fn shown(role: &str, allowed: &[&str], visitor: &Visitor) -> String {
        fragment(&status(role, allowed, "it is not"), visitor).into_string()
    }

    #[test]
    fn what_is_possible_leads_on_and_what_is_not_says_why() {
        let operator = visitor(Role::Operator);
        let page = shown("principal", &["failover", "mirror stop"], &operator);
        for slug in ["failover", "stop"] {
            assert!(
                page.contains(&format!("href=\"/console/mirroring/{slug}\"")),
                "{slug}: {page}"
            );
        }
        for slug in ["promote", "suspend", "resume"] {
            assert!(!page.contains(&format!("/console/mirroring/{slug}")), "{slug}: {page}");
        }
        assert_eq!(page.matches("disabled").count(), 3, "{page}");
        assert_eq!(page.matches("it is not.").count(), 6, "what and what to do: {page}");
        assert!(!page.contains("Rejoin"), "{page}");
        assert!(
            shown("mirror", &["mirror rejoin"], &operator).contains("/console/mirroring/rejoin")
        );
        assert!(shown("standalone", &[], &operator).contains("counterpart mirror start"));
    }

    #[test]
    fn a_role_that_may_not_is_shown_what_there_is_and_can_press_nothing() {
        let page = shown("principal", &["failover", "suspend"], &visitor(Role::Reader));
        assert!(!page.contains("href="), "{page}");
        assert!(page.contains("Fail over") && page.contains("ann is reader here"), "{page}");
    }

    #[test]
    fn each_of_several_mirrors_has_its_own_steps() {
        let mut status = status("principal", &[], "it is not");
        let partner = |id: &str, allowed: &[&str]| json!({ "server": id, "commands": commands(allowed, "no") });
        status["mirroring"]["partners"] =
            json!([partner("bb", &["failover"]), partner("cc", &["resume"])]);
        let page = fragment(&status, &visitor(Role::Admin)).into_string();
        assert!(page.contains("/console/mirroring/failover?partner=bb"), "{page}");
        assert!(page.contains("/console/mirroring/resume?partner=cc"), "{page}");
        assert!(!page.contains("failover?partner=cc"), "{page}");
    }

    proptest! {
        #[test]
        fn no_text_of_the_status_reaches_the_page_unescaped(evil in ".{0,30}") {
            let evil = format!("<b>{evil}\"'<script>`<i>`");
            let mut status = status("principal", &[], &evil);
            status["client_url"] = json!(evil);
            status["words"] = json!(evil);
            let partner = json!({ "server": evil, "client_url": evil, "commands": commands(&["failover"], &evil) });
            status["mirroring"]["partners"] = json!([partner.clone(), partner]);
            let admin = visitor(Role::Admin);
            let forced = Refusal::new("DEPOSED", evil.clone(), evil.clone());
            let assessment = json!({ "words": evil, "loss": evil });
            let pages = Action::ALL.map(|action| {
                let asked = confirm::Asked {
                    action,
                    partner: Some(&evil),
                    forced: Some(&forced),
                    assessment: &assessment,
                    status: &status,
                };
                confirm::content(&asked, &admin).into_string()
            });
            for page in pages.into_iter().chain([fragment(&status, &admin).into_string()]) {
                prop_assert!(!page.contains("<b>\"") && !page.contains("<script") && !page.contains("<i>"), "{}", page);
            }
        }
    }
}
