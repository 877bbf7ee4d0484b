//! Signing in with a token, and out again.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use counterpart_node::{
    Operations,
    audit::{Act, Ending},
};
use maud::{Markup, html};

use super::{
    Console,
    form::{CSRF, Form},
    frame,
    guard::{Outside, Shown, Visitor, cookie, cookie_name},
    session::LIFETIME,
};
use crate::{clock, gate};

/// Where the page is.
pub const PATH: &str = "/console/sign-in";

/// Shows the form; whoever is in already is sent on.
pub async fn show<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    headers: HeaderMap,
) -> Response {
    match console.visitor(&headers).await {
        Ok(_in_already) => Redirect::to("/").into_response(),
        Err(Outside::SignIn) => {
            frame::outside("Sign in", &form(&console.csrf, None)).into_response()
        }
        Err(Outside::Refused(refusal)) => frame::refused_outside(&refusal),
    }
}

/// What the audit log calls it.
const NOTED: &str = "SignIn";

fn form(csrf: &str, why: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in" }
        @if let Some(why) = why {
            div.notice.bad #why role="alert" { p { b { "Not signed in: " } (frame::sentence(why)) } }
        }
        form.stack method="post" action=(PATH) {
            input type="hidden" name=(CSRF) value=(csrf);
            label for="token" { "Token" }
            input #token type="password" name="token" required autofocus
                autocomplete="current-password" spellcheck="false"
                aria-describedby=[why.map(|_| "why")];
            p.hint {
                "The server's own is in " code { "admin.token" } " of its data directory. Others are made with "
                code { "counterpart token create" } "."
            }
            button.strong type="submit" { "Sign in" }
        }
    }
}

/// Begins a session for whoever has a token that is good.
pub async fn enter<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    request: Request,
) -> Response {
    let from = gate::address(&request);
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    if console.visitor(&headers).await.is_ok() {
        return Redirect::to("/").into_response();
    }
    let form_sent = match Form::read(body, &console.csrf).await {
        Ok(form) => form,
        Err(problem) => return frame::refused_outside(&problem.0),
    };
    let token = form_sent.text("token");
    match console.ops.who(Some(token.to_owned())).await {
        Ok(identity) => {
            tracing::info!(name = %identity.name, "signed in at the console");
            let (about, ending) = ("console".to_owned(), Ending::Done);
            let who = Some(identity);
            console.ops.note(Act { who, from, what: NOTED, about, ending }).await;
            let cookie = console.lock_sessions().begin(token, clock::uptime());
            let seconds = LIFETIME.as_secs();
            let set = set_cookie(&console, &headers, &cookie, seconds).await;
            ([(header::SET_COOKIE, set)], Redirect::to("/")).into_response()
        }
        Err(refusal) if refusal.code() == "NOT_SIGNED_IN" => {
            tracing::info!("somebody could not sign in at the console");
            console.ops.note_refused(from, NOTED, refusal.code()).await;
            let page = frame::outside("Sign in", &form(&console.csrf, Some(refusal.what())));
            (StatusCode::UNAUTHORIZED, page).into_response()
        }
        Err(refusal) => frame::refused_outside(&refusal),
    }
}

/// Ends the session.
pub async fn leave<O: Operations>(
    State(console): State<Arc<Console<O>>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    body: Body,
) -> Shown {
    Form::read(body, &visitor.csrf).await?;
    if let Some(cookie) = cookie(&headers) {
        console.lock_sessions().end(cookie);
    }
    let forget = set_cookie(&console, &headers, "", 0).await;
    Ok(([(header::SET_COOKIE, forget)], Redirect::to(PATH)).into_response())
}

/// With TLS the browser is told never to send it without.
async fn set_cookie<O: Operations>(
    console: &Console<O>,
    headers: &HeaderMap,
    value: &str,
    seconds: u64,
) -> HeaderValue {
    let name = cookie_name(headers);
    let secure = if console.ops.status().await["tls"].is_object() { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).expect("names and secrets are of letters and digits")
}
