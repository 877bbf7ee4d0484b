//! Databases: listed, made, dropped, imported and exported.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use counterpart_access::Need;
use counterpart_node::{
    Operations,
    operations::{DatabaseDetails, DatabaseSummary},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Console, confirm,
    form::{CSRF_HEADER, Form, foreign},
    frame,
    guard::{Shown, Visitor},
    page::Page,
};
use crate::{
    body::{database_name, to_the_end},
    handlers::{
        content,
        databases::{NamePart, named},
    },
    human,
    note::Note,
    problem::Problem,
};

/// Tables that are named in the list; the rest is a number.
const TABLES: usize = 6;

/// What the query of the list may say.
#[derive(Deserialize)]
pub struct Done {
    #[serde(default)]
    done: Option<String>,
}

/// A database, and its details if it can be opened.
struct Row {
    summary: DatabaseSummary,
    details: Result<DatabaseDetails, String>,
}

/// The list.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<Done>,
) -> Response {
    let mut rows = Vec::new();
    for summary in console.ops.databases() {
        let details = console.ops.database(summary.name.clone()).await;
        let details = details.map_err(|refusal| refusal.what().to_owned());
        rows.push(Row { summary, details });
    }
    let done = match query.done.as_deref() {
        Some("created") => Some("The database is there."),
        Some("dropped") => Some("The database is gone."),
        Some("imported") => Some("The database is there, with all its content."),
        _ => None,
    };
    let content = html! {
        h1 { "Databases" }
        @if let Some(done) = done { div.notice.good role="status" { p { (done) } } }
        (list(&rows, &visitor))
        (make(&visitor))
    };
    frame::page(&visitor, Page::Databases, "Databases", &content).into_response()
}

fn list(rows: &[Row], visitor: &Visitor) -> Markup {
    let may_drop = visitor.may(Need::Administer, "drop databases");
    html! {
        div.scroll tabindex="0" role="region" aria-label="All databases" {
            table {
                thead { tr {
                    th scope="col" { "Name" }
                    th.number scope="col" { "Size" }
                    th.number.spare scope="col" { "Last LSN" }
                    th scope="col" { "Tables" }
                    th scope="col" { span.unseen { "What can be done" } }
                } }
                tbody {
                    @for Row { summary, details } in rows {
                        @let name = summary.name.as_str();
                        tr {
                            th scope="row" { (name) }
                            td.number { (human::bytes(summary.size_bytes)) }
                            td.number.spare { (human::count(summary.last_lsn.0)) }
                            td { (tables(details)) }
                            td.does {
                                @if let Err(why) = visitor.may(Need::Read(&summary.name), "read this database") {
                                    span.off title=(why.what()) { "Export" span.unseen { " (" (why.what()) ")" } }
                                } @else {
                                    a href=(format!("/console/databases/{name}/content")) download aria-label=(format!("Export {name}")) { "Export" }
                                }
                                @match &may_drop {
                                    Ok(()) => a.danger href=(format!("/console/databases/{name}/drop")) aria-label=(format!("Drop {name}")) { "Drop…" },
                                    Err(why) => span.off title=(why.what()) { "Drop" span.unseen { " (" (why.what()) ")" } },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tables(details: &Result<DatabaseDetails, String>) -> Markup {
    match details {
        Ok(details) if details.tables.is_empty() => html! { span.calm { "none" } },
        Ok(details) => {
            let more = details.tables.len().saturating_sub(TABLES);
            let named: Vec<&str> = details.tables.iter().take(TABLES).map(String::as_str).collect();
            html! { (named.join(", ")) @if more > 0 { " and " (more) " more" } }
        }
        Err(why) => html! { span.calm { (frame::sentence(why)) } },
    }
}

fn make(visitor: &Visitor) -> Markup {
    let refused = visitor.may(Need::Administer, "make databases").err();
    let off = refused.is_some();
    html! {
        section {
            h2 { "Make a database" }
            @if let Some(why) = &refused { p.why #why-make { (frame::sentence(why.what())) } }
            form.line method="post" action="/console/databases" {
                (frame::csrf(visitor))
                label for="name" { "Name" }
                input #name type="text" name="name" required pattern="[a-z0-9][a-z0-9_\\-]{0,62}" autocomplete="off"
                    spellcheck="false" autocapitalize="off" disabled[off] aria-describedby="rule";
                button.strong type="submit" disabled[off] { "Make it, empty" }
            }
            form.line data-upload="/console/databases" data-csrf=(visitor.csrf) {
                label for="upload-name" { "Import as" }
                input #upload-name type="text" name="name" required pattern="[a-z0-9][a-z0-9_\\-]{0,62}" autocomplete="off"
                    spellcheck="false" autocapitalize="off" disabled[off] aria-describedby="rule";
                label for="file" { "SQLite file" }
                input #file type="file" name="file" required disabled[off];
                button.strong type="submit" disabled[off] { "Import" }
                p.said role="status" {}
                progress hidden aria-label="Sent" max="100" value="0" {}
            }
            p.hint #rule { "1 to 63 of a-z, 0-9, '_' and '-', beginning with a letter or digit." }
            noscript { p.hint { "Importing takes scripts; " code { "counterpart db import" } " does not." } }
        }
    }
}

/// Makes an empty one.
pub async fn create<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Extension(note): Extension<Note>,
    body: Body,
) -> Shown {
    let form = Form::read(body, &visitor.csrf).await?;
    note.about(form.text("name"));
    visitor.may(Need::Administer, "make databases")?;
    let name = database_name(form.text("name"))?;
    let ops = Arc::clone(&console.ops);
    to_the_end(async move { Ok(ops.create_database(name).await?) }).await?;
    Ok(Redirect::to("/console/databases?done=created").into_response())
}

/// Asks for the name of what is to be dropped.
pub async fn ask_drop(Extension(visitor): Extension<Visitor>, part: NamePart) -> Shown {
    visitor.may(Need::Administer, "drop databases")?;
    let name = named(part)?;
    let content = html! {
        h1 { "Drop " (name) "?" }
        div.notice.bad {
            p { "The database " b { (name) } " and all its content is deleted, here and on every mirror. Only a backup brings it back." }
        }
        form.stack method="post" action=(format!("/console/databases/{name}/drop")) {
            (frame::csrf(&visitor))
            (confirm::typing(name.as_str()))
            div.buttons {
                button.danger type="submit" { "Drop it" }
                a.button href="/console/databases" { "Cancel" }
            }
        }
    };
    Ok(frame::page(&visitor, Page::Databases, "Drop a database", &content).into_response())
}

/// Drops it.
pub async fn drop_one<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    part: NamePart,
    body: Body,
) -> Shown {
    let form = Form::read(body, &visitor.csrf).await?;
    visitor.may(Need::Administer, "drop databases")?;
    let name = named(part)?;
    confirm::typed(Some(name.as_str()), form.text("typed"))?;
    let ops = Arc::clone(&console.ops);
    to_the_end(async move { Ok(ops.drop_database(name).await?) }).await?;
    Ok(Redirect::to("/console/databases?done=dropped").into_response())
}

/// Takes a file that the script sends. Its answer is for the script: nothing, or the refusal as the operator API words it.
pub async fn import<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    part: NamePart,
    body: Body,
) -> Result<StatusCode, Problem> {
    let shown = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
    if shown != Some(visitor.csrf.as_ref()) {
        return Err(foreign());
    }
    visitor.may(Need::Administer, "import databases")?;
    content::import(State(Arc::clone(&console.ops)), part, body).await.map(|(status, _)| status)
}

/// Sends one as a plain SQLite file.
pub async fn export<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    part: NamePart,
) -> Shown {
    let name = named(part)?;
    visitor.may(Need::Read(&name), "read this database")?;
    let path = Ok(axum::extract::Path(name.to_string()));
    Ok(content::export(State(Arc::clone(&console.ops)), path).await?)
}
