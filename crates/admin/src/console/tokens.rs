//! Tokens: listed, made and shown this once, revoked.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect},
};
use counterpart_access::{Grant, GrantError, Role};
use counterpart_node::{
    Operations,
    system::{NewToken, TokenSummary},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Console,
    form::Form,
    frame,
    guard::{Shown, Visitor},
    page::Page,
};
use crate::{body::to_the_end, clock, human, note::Note, problem::Problem};

const DAY: u64 = 86_400;

/// What the query of the list may say.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: Option<String>,
}

/// The list.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<Done>,
) -> Shown {
    let tokens = console.ops.tokens().await?;
    let content = html! {
        h1 { "Tokens" }
        @if query.done.as_deref() == Some("revoked") {
            div.notice.good role="status" { p { "The token is revoked; it lets nobody in any more." } }
        }
        (list(&tokens, &visitor, clock::unix_seconds()))
        (make(&visitor))
    };
    Ok(frame::page(&visitor, Page::Tokens, "Tokens", &content).into_response())
}

fn list(tokens: &[TokenSummary], visitor: &Visitor, now: u64) -> Markup {
    html! {
        @if tokens.is_empty() {
            p.calm { "There are none: only the admin token of each server lets anybody in." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="All tokens" {
                table {
                    thead { tr {
                        th scope="col" { "Name" }
                        th scope="col" { "Role" }
                        th scope="col" { "Databases" }
                        th scope="col" { "Good" }
                        th scope="col" { span.unseen { "What can be done" } }
                    } }
                    tbody {
                        @for token in tokens {
                            tr {
                                th scope="row" { (token.name) }
                                td { (token.role) }
                                td { (token.databases.as_ref().map_or("all".to_owned(), |names| names.join(", "))) }
                                td { (good(token, now)) }
                                td.does {
                                    form method="post" action=(revocation(&token.name)) {
                                        (frame::csrf(visitor))
                                        button.danger type="submit" aria-label=(format!("Revoke {}", token.name)) { "Revoke" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn revocation(name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("/console/tokens/{name}/revoke")
}

/// How long it is good.
fn good(token: &TokenSummary, now: u64) -> String {
    match token.expires {
        None => "until it is revoked".to_owned(),
        Some(end) if end <= now => "no longer: it has expired".to_owned(),
        Some(end) => format!("for {}", human::seconds((end - now) as f64)),
    }
}

fn make(visitor: &Visitor) -> Markup {
    html! {
        section {
            h2 { "Make a token" }
            form.stack method="post" action="/console/tokens" {
                (frame::csrf(visitor))
                label for="name" { "Name" }
                input #name type="text" name="name" required pattern="[a-z0-9_.\\-]{1,63}" autocomplete="off" spellcheck="false"
                    autocapitalize="off" aria-describedby="name-rule";
                p.hint #name-rule { "For lists and logs: 1 to 63 of a-z, 0-9, '_', '-' and '.'" }
                label for="role" { "Role" }
                select #role name="role" {
                    @for role in Role::ALL.into_iter().rev() { option value=(role.name()) { (role.name()) ": " (allows(role)) } }
                }
                label for="databases" { "Databases" }
                input #databases type="text" name="databases" autocomplete="off" spellcheck="false" autocapitalize="off"
                    aria-describedby="databases-rule";
                p.hint #databases-rule { "For writers and readers, with commas between; empty for all." }
                label for="days" { "Days that it is good" }
                input #days type="number" name="days" min="1" max="36500" aria-describedby="days-rule";
                p.hint #days-rule { "Empty: until it is revoked." }
                button.strong type="submit" { "Make it" }
            }
        }
    }
}

fn allows(role: Role) -> &'static str {
    match role {
        Role::Admin => "everything",
        Role::Operator => "mirroring, failover, backups, orphans; reads all databases",
        Role::Writer => "reads and writes databases",
        Role::Reader => "reads databases",
    }
}

/// What a form asks for.
fn asked(form: &Form) -> Result<NewToken, Problem> {
    let invalid =
        |what: String| Problem::new("TOKEN_INVALID", what, "go back and correct what you entered");
    let names: Vec<&str> =
        form.text("databases").split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let limits = (!names.is_empty()).then_some(names.as_slice());
    let grant = form.text("role").parse().and_then(|role| Grant::new(role, limits));
    let grant = grant.map_err(|error: GrantError| invalid(error.to_string()))?;
    let lifetime = match form.text("days") {
        "" => None,
        days => match days.parse::<u64>() {
            Ok(days @ 1..=36_500) => Some(days * DAY),
            _ => return Err(invalid(format!("{days:?} is no number of days from 1 to 36500"))),
        },
    };
    Ok(NewToken { name: form.text("name").to_owned(), grant, lifetime })
}

/// Makes one, and shows it.
pub async fn create<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Shown {
    let form = Form::read(body, &visitor.csrf).await?;
    note.about(format!("{} ({})", form.text("name"), form.text("role")));
    let new = asked(&form)?;
    let name = new.name.clone();
    let ops = Arc::clone(&console.ops);
    let token = to_the_end(async move { Ok(ops.create_token(new).await?) }).await?;
    let content = html! {
        h1 { "The token " (name) }
        div.notice.good role="status" {
            p { "Copy it now: it is shown this once, and kept nowhere." }
        }
        pre.token tabindex="0" { code { (token.reveal()) } }
        p { a.button href="/console/tokens" { "Done" } }
    };
    Ok(frame::page(&visitor, Page::Tokens, "A new token", &content).into_response())
}

/// Revokes one.
pub async fn revoke<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    body: Body,
) -> Shown {
    Form::read(body, &visitor.csrf).await?;
    let ops = Arc::clone(&console.ops);
    to_the_end(async move { Ok(ops.revoke_token(name).await?) }).await?;
    Ok(Redirect::to("/console/tokens?done=revoked").into_response())
}
