//! The parts of pages that change by themselves: rendered anew each second, sent when they differ, as server-sent events.
//!
//! ```text
//! event: fragment
//! data: HTML, line by line
//!
//! event: alive          after some seconds in which nothing has changed
//! data:
//! ```
//!
//! A stream ends with the session of whoever reads it, and with the server; the browser dials again.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Path, State},
    http::{HeaderMap, header},
    response::IntoResponse,
};
use counterpart_node::Operations;
use http_body::Frame;
use maud::Markup;
use serde_json::Value;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use super::{
    Console,
    guard::{Shown, Visitor},
    mirroring, overview,
};
use crate::problem::Problem;

/// Time between two looks at the status.
const EVERY: Duration = Duration::from_secs(1);

/// So many looks without a change are told as well: whoever has gone is noticed, and whoever reads knows that the server
/// is there.
const QUIET: u32 = 4;

/// Streams at a time: each costs a look at the status a second.
pub const MOST: usize = 100;

/// A part of a page that changes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Overview,
    Mirroring,
}

impl Part {
    /// Where its stream is.
    pub fn path(self) -> &'static str {
        match self {
            Part::Overview => "/console/live/overview",
            Part::Mirroring => "/console/live/mirroring",
        }
    }

    fn of_path(text: &str) -> Option<Part> {
        let all = [Part::Overview, Part::Mirroring];
        all.into_iter().find(|part| part.path().ends_with(&format!("/{text}")))
    }

    /// What it shows of a status.
    pub fn render(self, status: &Value, visitor: &Visitor) -> Markup {
        match self {
            Part::Overview => overview::fragment(status),
            Part::Mirroring => mirroring::fragment(status, visitor),
        }
    }
}

/// Streams a part to whoever looks at it.
pub async fn stream<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Path(part): Path<String>,
    headers: HeaderMap,
) -> Shown {
    let part = Part::of_path(&part).ok_or_else(|| {
        Problem::new("ROUTE_NOT_FOUND", "there is no such part of a page", "open the overview")
    })?;
    let place = Arc::clone(&console.streams).try_acquire_owned().map_err(|_| {
        let what = format!("{MOST} pages follow this server already");
        Problem::new("NOT_READY", what, "close some, or reload this one now and then")
    })?;
    let (sender, events) = mpsc::channel(1);
    tokio::spawn(async move {
        follow(console, headers, part, sender).await;
        drop(place);
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Events(events))).into_response())
}

async fn follow<O: Operations>(
    console: Arc<Console<O>>,
    headers: HeaderMap,
    part: Part,
    sender: mpsc::Sender<String>,
) {
    let mut ending = console.ending.clone();
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut shown, mut quiet) = (String::new(), 0);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            // Whoever would say so is gone: that is the end, too.
            _ = ending.changed() => return,
            () = sender.closed() => return,
        }
        let Ok(visitor) = console.visitor(&headers).await else { return };
        let now = part.render(&console.ops.status().await, &visitor).into_string();
        let event = if now != shown {
            (shown, quiet) = (now, 0);
            event("fragment", &shown)
        } else if quiet < QUIET {
            quiet += 1;
            continue;
        } else {
            quiet = 0;
            event("alive", "")
        };
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

/// An event in the form in which browsers read it.
fn event(name: &str, data: &str) -> String {
    let mut text = format!("event: {name}\n");
    // What ends a line for us, and what does for browsers.
    for line in data.split(['\n', '\r']) {
        text += &format!("data: {line}\n");
    }
    text + "\n"
}

/// Events as the body of a response.
struct Events(mpsc::Receiver<String>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event.into()))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_keeps_its_lines() {
        assert_eq!(event("fragment", "a\nb"), "event: fragment\ndata: a\ndata: b\n\n");
    }

    proptest! {
        #[test]
        fn no_data_ends_its_event_early_or_begins_another(data in "(.|\n|\r){0,60}") {
            let text = event("fragment", &data);
            prop_assert!(text.ends_with("\n\n"));
            prop_assert!(!text[..text.len() - 2].contains("\n\n"));
            let lines = text.trim_end_matches('\n').lines().skip(1);
            for line in lines {
                prop_assert!(line.starts_with("data: ") || line == "data:", "{:?}", line);
            }
        }
    }
}
