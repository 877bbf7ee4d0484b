//! The console: pages for operators, rendered here, over whatever implements [`Operations`].
//!
//! It can do what the operator API can do, and nothing else; whether something may be done is decided by the operations,
//! and by the role of whoever is signed in. No page takes anything from elsewhere: one style sheet, one script, both from
//! here, and the headers keep it so.
//!
//! It must never show a token that was not made by the same request, nor let the operator API be used with a cookie.

mod action;
mod acts;
mod assets;
mod backups;
mod confirm;
mod databases;
mod form;
mod frame;
mod glyph;
mod guard;
mod live;
mod mirroring;
mod orphans;
mod overview;
mod page;
mod session;
mod sign_in;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{MethodRouter, any, get, post},
};
use counterpart_node::Operations;
use maud::{Markup, html};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use crate::{origin, problem::Problem};
use guard::{Guard, Shown, Visitor};
use live::Part;
use page::Page;
use session::Sessions;

/// Where somebody signs out.
const SIGN_OUT: &str = "/console/sign-out";

/// Where there is no page.
const OTHERS: &str = "/console/{*rest}";

/// What the pages share.
struct Console<O> {
    ops: Arc<O>,
    sessions: Mutex<Sessions>,
    /// What the forms of visitors without a session carry: of this process, so that no page of another site knows it.
    csrf: Arc<str>,
    /// Closed when the server ends.
    ending: watch::Receiver<()>,
    /// What is left of [`live::MOST`].
    streams: Arc<Semaphore>,
}

impl<O> Console<O> {
    fn lock_sessions(&self) -> MutexGuard<'_, Sessions> {
        // No holder leaves it half changed.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All routes of the console: `/console/…`, and `/` for whoever does not come with a WebSocket, which `sockets` answers.
/// Pages that follow the state end their streams when the sender of `ending` is dropped.
pub fn console<O: Operations>(
    ops: Arc<O>,
    ending: watch::Receiver<()>,
    sockets: MethodRouter,
) -> Router {
    let sessions = Mutex::default();
    let streams = Arc::new(Semaphore::new(live::MOST));
    let csrf = session::secret().into();
    let console = Arc::new(Console { ops, sessions, csrf, ending, streams });
    let guarded = |page, path, route: MethodRouter<Arc<Console<O>>>| {
        let guard = Guard { console: Arc::clone(&console), page, path };
        route.layer(middleware::from_fn_with_state(guard, guard::check::<O>))
    };
    let mut router = Router::new()
        .route("/console", get(|| async { Redirect::to("/") }))
        .route(sign_in::PATH, get(sign_in::show::<O>).post(sign_in::enter::<O>))
        .route(SIGN_OUT, guarded(Page::Overview, SIGN_OUT, post(sign_in::leave::<O>)))
        .route(OTHERS, guarded(Page::Overview, OTHERS, any(nothing_here)));
    for (page, path, route) in routes::<O>() {
        router = router.route(path, guarded(page, path, route));
    }
    let front = middleware::from_fn_with_state(Arc::clone(&console), page_unless_socket::<O>);
    assets::routes(router)
        .layer(middleware::from_fn(origin::refuse_other_sites))
        .layer(middleware::map_response(harden))
        .with_state(console)
        .route("/", sockets.layer(front))
}

/// A page, where it or something of it is, and what answers there.
type Route<O> = (Page, &'static str, MethodRouter<Arc<Console<O>>>);

fn routes<O: Operations>() -> Vec<Route<O>> {
    vec![
        (Page::Overview, "/console/live/{part}", get(live::stream::<O>)),
        (Page::Mirroring, "/console/mirroring", get(mirroring::show::<O>)),
        (
            Page::Mirroring,
            "/console/mirroring/{action}",
            get(mirroring::ask::<O>).post(mirroring::carry_out::<O>),
        ),
        (
            Page::Databases,
            "/console/databases",
            get(databases::show::<O>).post(databases::create::<O>),
        ),
        (
            Page::Databases,
            "/console/databases/{name}/content",
            get(databases::export::<O>).put(databases::import::<O>),
        ),
        (
            Page::Databases,
            "/console/databases/{name}/drop",
            get(databases::ask_drop).post(databases::drop_one::<O>),
        ),
        (Page::Backups, "/console/backups", get(backups::show::<O>)),
        (Page::Backups, "/console/backups/content", get(backups::download::<O>)),
        (Page::Orphans, "/console/orphans", get(orphans::list::<O>)),
        (Page::Orphans, "/console/orphans/{set}", get(orphans::show::<O>)),
        (Page::Orphans, "/console/orphans/{set}/content", get(orphans::export::<O>)),
        (
            Page::Orphans,
            "/console/orphans/{set}/drop",
            get(orphans::ask_drop::<O>).post(orphans::drop_set::<O>),
        ),
        (Page::Tokens, "/console/tokens", get(tokens::show::<O>).post(tokens::create::<O>)),
        (Page::Tokens, "/console/tokens/{name}/revoke", post(tokens::revoke::<O>)),
    ]
}

/// The overview, for whoever comes to `/` without a WebSocket.
async fn page_unless_socket<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    request: Request,
    next: Next,
) -> Response {
    if request.headers().contains_key(header::UPGRADE) || !request.method().is_safe() {
        return next.run(request).await;
    }
    harden(match guard::enter(&console, Page::Overview, request.headers()).await {
        Ok(visitor) => overview(&console, &visitor).await,
        Err(why_not) => *why_not,
    })
    .await
}

async fn overview<O: Operations>(console: &Console<O>, visitor: &Visitor) -> Response {
    let status = console.ops.status().await;
    let content = html! {
        h1.unseen { "Overview" }
        (live_part(Part::Overview, &status, visitor))
    };
    frame::page(visitor, Page::Overview, "Overview", &content).into_response()
}

/// A part of a page that the script keeps up to date.
fn live_part(part: Part, status: &Value, visitor: &Visitor) -> Markup {
    html! {
        div.notice.bad #offline role="alert" hidden {}
        noscript { p.hint { "Without scripts this page does not follow by itself: reload it to see what is now." } }
        div #live data-live=(part.path()) { (part.render(status, visitor)) }
    }
}

async fn nothing_here() -> Shown {
    Err(Problem::new("ROUTE_NOT_FOUND", "there is no such page", "choose one of the pages above")
        .into())
}

/// Nothing from elsewhere, nothing inline, no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Forbids the browser what no page of ours needs, and to keep any. Other sites are told no referrer; our own forms have to
/// send one, because with `no-referrer` browsers hide where a form is from, and we refuse what does not say.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
