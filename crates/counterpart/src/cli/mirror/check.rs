//! All that can be known before anything changes: who the servers are, whether they fit, whether they reach each
//! other, whether the mirror has room.

use counterpart_core::{ServerId, SessionId};
use serde_json::{Value, json};

use super::{
    super::{client::Client, view},
    steps::Steps,
};
use crate::exit::{Exit, Failure};

/// One of the two servers, as it described itself.
pub struct Side {
    pub client: Client,
    pub server: ServerId,
    pub partner_address: String,
    pub client_url: String,
    pub status: Value,
}

/// Asks a server who it is.
pub fn reach(client: Client) -> Result<Side, Failure> {
    let status = client.status()?;
    let part = |name: &str, value: Option<&str>| {
        value.map(str::to_owned).ok_or_else(|| incomplete(&client, name))
    };
    let server = part("server", view::server(&status))?;
    let server = server.parse().map_err(|_| incomplete(&client, "server"))?;
    let partner_address = part("partner_address", view::partner_address(&status))?;
    let client_url = view::client_url(&status).unwrap_or(client.url()).to_owned();
    Ok(Side { client, server, partner_address, client_url, status })
}

fn incomplete(client: &Client, field: &str) -> Failure {
    Failure::new(
        Exit::NotAServer,
        "NOT_A_SERVER",
        format!("the status of {} has no usable {field}", client.url()),
        "check the URL, and that the server's version is this program's",
    )
}

/// Checks both; nothing has changed afterwards, whatever the outcome.
pub fn both(
    steps: &mut Steps<'_>,
    principal: Client,
    mirror: Client,
    replace: bool,
) -> Result<(Side, Side), Failure> {
    let principal = steps.step("reach principal", |_| reach(principal))?;
    let mirror = steps.step("reach mirror", |_| reach(mirror))?;
    steps.step("versions compatible", |_| versions(&principal, &mirror))?;
    steps.step("not the same server", |_| not_the_same(&principal, &mirror))?;
    steps.step("roles free", |_| roles(&principal, &mirror, replace))?;
    steps.step("mirror reaches principal's partner port", |_| probe(&mirror, &principal))?;
    steps.step("principal reaches mirror's partner port", |_| probe(&principal, &mirror))?;
    steps.step("mirror is empty or replaceable, with disk space", |_| {
        room(&principal, &mirror, replace)
    })?;
    Ok((principal, mirror))
}

/// Two servers one minor version apart mirror each other, no others.
fn versions(principal: &Side, mirror: &Side) -> Result<(), Failure> {
    let of = |side: &Side| view::text(&side.status, "/version").unwrap_or("unknown").to_owned();
    let (ours, theirs) = (of(principal), of(mirror));
    let fits = match (numbers(&ours), numbers(&theirs)) {
        (Some((major, minor)), Some((other, minor_other))) => {
            major == other && minor.abs_diff(minor_other) <= 1
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "VERSION_MISMATCH",
        format!("the principal has version {ours} and the mirror {theirs}"),
        "upgrade the older one; they may be one minor version apart",
    ))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn not_the_same(principal: &Side, mirror: &Side) -> Result<(), Failure> {
    if principal.server != mirror.server {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "PARTNER_IS_SELF",
        format!(
            "{} and {} are the same server, {}",
            principal.client.url(),
            mirror.client.url(),
            mirror.server
        ),
        "give the URLs of two servers; a copied data directory must not run beside its original",
    ))
}

fn roles(principal: &Side, mirror: &Side, replace: bool) -> Result<(), Failure> {
    let taken =
        |what: String, remedy: String| Failure::new(Exit::Refused, "ROLE_TAKEN", what, remedy);
    let role = view::role(&principal.status);
    if !matches!(role, "standalone" | "principal") {
        return Err(taken(
            format!("{} cannot be the principal: it is {role}", principal.client.url()),
            "give its principal's URL with --principal, or stop mirroring there first".to_owned(),
        ));
    }
    let role = view::role(&mirror.status);
    let mirrored = view::partner(&principal.status, &mirror.server.to_string()).is_some();
    if role == "mirror" && mirrored && !replace {
        return Err(taken(
            format!("{} mirrors this principal already", mirror.client.url()),
            "see `counterpart status`; --replace seeds it anew".to_owned(),
        ));
    }
    // With --replace a mirror that was parked, or a deposed principal, may rejoin; it says itself whether it does.
    if role != "standalone" && !replace {
        return Err(taken(
            format!("{} cannot be a mirror: it is {role}", mirror.client.url()),
            format!(
                "run `counterpart mirror stop --server {}` first, or add --replace to give up its data",
                mirror.client.url()
            ),
        ));
    }
    Ok(())
}

/// Lets `from` dial `to`'s partner port, and makes sure who answers.
fn probe(from: &Side, to: &Side) -> Result<(), Failure> {
    let body = json!({ "partner_address": to.partner_address });
    let answer = from.client.post("/api/v1/mirroring/probe", &body)?;
    if view::server(&answer) == Some(to.server.to_string().as_str()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        "WRONG_SERVER",
        format!(
            "{} finds another server at {} than {}",
            from.client.url(),
            to.partner_address,
            to.client.url()
        ),
        format!("correct --partner-advertise of {}", to.client.url()),
    ))
}

/// Asks the mirror whether it could join, for as many bytes as the principal's databases take.
fn room(principal: &Side, mirror: &Side, replace: bool) -> Result<(), Failure> {
    let list = principal.client.get("/api/v1/databases")?;
    let sizes = list["databases"].as_array().into_iter().flatten();
    let bytes: u64 = sizes.filter_map(|database| view::number(database, "/size_bytes")).sum();
    let body = json!({
        "replace": replace,
        "bytes": bytes,
        "principal_partner_address": principal.partner_address,
    });
    mirror.client.post("/api/v1/mirroring/check-join", &body).map(|_done| ())
}

/// The session of a principal that has one, else a new one.
pub fn session(principal: &Side) -> Result<SessionId, Failure> {
    if let Some(session) = view::session(&principal.status).and_then(|id| id.parse().ok()) {
        return Ok(session);
    }
    let random = getrandom::u64().map_err(|error| {
        Failure::new(
            Exit::Fault,
            "NO_RANDOM_NUMBERS",
            format!("the system gives no random numbers: {error}"),
            "run the command on another machine",
        )
    })?;
    // 0 stands for "none".
    Ok(SessionId(random.max(1)))
}
