//! Orphans: the sets that are kept here, the rows that differ, exported and deleted.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Redirect},
};
use counterpart_node::{
    Operations,
    orphans::{Differences, Form as Kind, OrphanDatabase, OrphanSet},
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Console, confirm,
    form::Form,
    frame,
    guard::{Shown, Visitor},
    page::Page,
};
use crate::{
    body::{database_name, to_the_end},
    download, human,
    problem::Problem,
    view::text,
};

/// Rows that a page shows of each database; the export has all.
const ROWS: usize = 100;

/// What the queries of these pages may say.
#[derive(Deserialize)]
pub struct Which {
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    form: Option<String>,
    #[serde(default)]
    done: Option<String>,
}

/// The list.
pub async fn list<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Query(which): Query<Which>,
) -> Shown {
    let sets = console.ops.orphans().await?;
    let content = html! {
        h1 { "Orphans" }
        @if which.done.is_some() { div.notice.good role="status" { p { "The set is deleted." } } }
        p { "Events that only this server had when another one had become principal. Nothing of them is lost until it is deleted here." }
        @if sets.is_empty() {
            p.calm { "There are none: nothing that this server ever confirmed is missing in its session." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="All sets" {
                table {
                    thead { tr {
                        th scope="col" { "Set" }
                        th.number scope="col" { "Events" }
                        th scope="col" { "Databases" }
                        th scope="col" { "Compared" }
                    } }
                    tbody { @for set in &sets { tr {
                        th scope="row" { a href=(path(&set.id)) { (set.id) } }
                        td.number { (human::count(events(set))) }
                        td { (names(set)) }
                        td { (compared(set)) }
                    } } }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Page::Orphans, "Orphans", &content).into_response())
}

fn path(set: &str) -> String {
    let set: String = form_urlencoded::byte_serialize(set.as_bytes()).collect();
    format!("/console/orphans/{set}")
}

fn events(set: &OrphanSet) -> u64 {
    set.end.0.saturating_sub(set.common.0)
}

fn names(set: &OrphanSet) -> String {
    let names: Vec<&str> = set.databases.iter().map(|database| database.name.as_str()).collect();
    names.join(", ")
}

fn compared(set: &OrphanSet) -> String {
    let all = set.databases.len();
    match set.databases.iter().filter(|database| database.differences.is_some()).count() {
        compared if compared == all => "yes".to_owned(),
        compared => format!("{compared} of {all}"),
    }
}

/// One set.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Path(set): Path<String>,
) -> Shown {
    let set = console.ops.orphan_set(set).await?;
    let mut parts = Vec::new();
    for database in &set.databases {
        let rows = match &database.differences {
            Some(differences) if differences.present => {
                let name = Some(database.name.clone());
                console.ops.orphan_rows(set.id.clone(), name, ROWS).await?
            }
            _ => Vec::new(),
        };
        parts.push(part(&set.id, database, &rows));
    }
    let content = html! {
        h1 { "Orphans " (set.id) }
        p { (human::events(events(&set))) " after LSN " (human::count(set.common.0)) ", which only this server had." }
        @for part in &parts { (part) }
        section {
            h2 { "Delete the set" }
            p { "Once what matters in it is where it belongs." }
            p { a.button.danger href=(format!("{}/drop", path(&set.id))) { "Delete…" } }
        }
    };
    Ok(frame::page(&visitor, Page::Orphans, "Orphans", &content).into_response())
}

fn part(set: &str, database: &OrphanDatabase, rows: &[Value]) -> Markup {
    let name = database.name.as_str();
    let compared = database.differences.as_ref().filter(|differences| differences.present);
    let file = |form: &str| format!("{}/content?database={name}&form={form}", path(set));
    html! {
        section {
            h2 { (name) }
            p { (state(database)) }
            p.does {
                @if database.copied { a href=(file("sqlite")) { "As it was, SQLite" } }
                @if compared.is_some() {
                    a href=(file("sql")) { "What differs, SQL" }
                    a href=(file("rows")) { "What differs, rows" }
                }
            }
            @if !rows.is_empty() { (differing(name, rows)) }
        }
    }
}

fn state(database: &OrphanDatabase) -> String {
    match (&database.why_not, &database.differences) {
        (Some(why), _) => format!("It can't be compared: {why}."),
        (None, None) => {
            "Not compared yet; it is when this server has joined the new principal.".to_owned()
        }
        (None, Some(Differences { present: false, .. })) => {
            "It does not exist any more, so there is nothing to compare with.".to_owned()
        }
        (None, Some(found)) => format!(
            "{} rows only in the orphans, {} with other values, {} only on the new principal, {} definitions.",
            human::count(found.inserted),
            human::count(found.updated),
            human::count(found.deleted),
            human::count(found.schema),
        ),
    }
}

fn differing(name: &str, rows: &[Value]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Rows of {name} that differ")) {
            table {
                thead { tr { @for title in ["Change", "Table", "Key", "Orphans", "Here"] { th scope="col" { (title) } } } }
                tbody { @for row in rows { tr {
                    td { (text(row, "/change").unwrap_or("?")) }
                    td { (text(row, "/table").or_else(|| text(row, "/name")).unwrap_or("?")) }
                    td { (brief(&row["key"])) }
                    td { (brief(&row["orphans"])) }
                    td { (brief(&row["here"])) }
                } } }
            }
        }
        @if rows.len() >= ROWS { p.hint { "The first " (ROWS) "; the files have all." } }
    }
}

/// A value as it fits a cell.
fn brief(value: &Value) -> String {
    const MOST: usize = 120;
    let text = match value {
        Value::Null => "–".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
            fields.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}

/// A database of a set as a file.
pub async fn export<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Path(set): Path<String>,
    Query(which): Query<Which>,
) -> Shown {
    let (form, ending) = match which.form.as_deref() {
        Some("sqlite") => (Kind::Sqlite, "sqlite"),
        Some("sql") => (Kind::Sql, "sql"),
        Some("rows") => (Kind::Rows, "jsonl"),
        _ => {
            let what = "that is no form of a file";
            return Err(Problem::new("INVALID_QUERY", what, "choose one of the page").into());
        }
    };
    let name = which.database.as_deref().map(database_name).transpose()?;
    let file = name.as_ref().map_or("orphans", |name| name.as_str()).to_owned();
    let export = console.ops.export_orphans(set, name, form).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file}.{ending}\"")),
    ];
    Ok((headers, download::body(export)).into_response())
}

/// Asks before a set is deleted.
pub async fn ask_drop<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Path(set): Path<String>,
) -> Shown {
    let set = console.ops.orphan_set(set).await?;
    let content = html! {
        h1 { "Delete the set " (set.id) "?" }
        div.notice.bad { p { (human::events(events(&set))) " in " (names(&set)) " are lost for good; nobody else has them." } }
        form.stack method="post" action=(format!("{}/drop", path(&set.id))) {
            (frame::csrf(&visitor))
            (confirm::typing(&set.id))
            div.buttons {
                button.danger type="submit" { "Delete it" }
                a.button href=(path(&set.id)) { "Cancel" }
            }
        }
    };
    Ok(frame::page(&visitor, Page::Orphans, "Delete orphans", &content).into_response())
}

/// Deletes it.
pub async fn drop_set<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    Path(set): Path<String>,
    body: Body,
) -> Shown {
    let form = Form::read(body, &visitor.csrf).await?;
    let found = console.ops.orphan_set(set).await?;
    confirm::typed(Some(&found.id), form.text("typed"))?;
    let ops = Arc::clone(&console.ops);
    to_the_end(async move { Ok(ops.drop_orphans(found.id).await?) }).await?;
    Ok(Redirect::to("/console/orphans?done=deleted").into_response())
}
