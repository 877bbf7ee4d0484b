//! Backups: all databases in one file, to keep elsewhere.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use counterpart_node::Operations;
use maud::html;

use super::{
    Console, frame,
    guard::{Shown, Visitor},
    page::Page,
};
use crate::{handlers::content, human};

/// The page.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    let databases = console.ops.databases();
    let bytes = databases.iter().map(|database| database.size_bytes).sum();
    let several = if databases.len() == 1 { "database takes" } else { "databases take" };
    let content = html! {
        h1 { "Backups" }
        section {
            h2 { "All databases in one file" }
            p {
                "It holds everything as of one position, users' tokens with it. It is made while writes go on, and "
                code { "counterpart restore" } " makes a server of it."
            }
            p { (human::count(databases.len() as u64)) " " (several) " " (human::bytes(bytes)) " here; the file is compressed." }
            p.buttons { a.button.strong href="/console/backups/content" download { "Download a backup" } }
            p.hint {
                "A download that broke off leaves a file that " code { "counterpart restore" }
                " refuses. Keep backups where the servers are not."
            }
        }
    };
    frame::page(&visitor, Page::Backups, "Backups", &content).into_response()
}

/// The file.
pub async fn download<O: Operations>(State(console): State<Arc<Console<O>>>) -> Shown {
    Ok(content::backup(State(Arc::clone(&console.ops))).await?)
}
