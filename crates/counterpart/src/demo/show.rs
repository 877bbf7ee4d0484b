//! How the demonstration looks: a page that refreshes in place, plain lines, or JSON. It only arranges what a view
//! says; it must never ask a server itself.

use std::path::Path;

use serde_json::{Value, json};

use super::{server::Server, watch::View, workload::DATABASE};
use crate::cli::{
    human,
    screen::{Screen, Tone},
    view,
};

/// The whole page of a terminal.
pub fn page(
    servers: &[Server; 2],
    view: &View,
    news: &[String],
    directory: &Path,
    screen: &Screen,
) -> String {
    let mut lines = vec![
        screen.toned(Tone::Strong, "Counterpart: two servers on this machine"),
        format!("in {}, which is removed at the end", directory.display()),
        String::new(),
    ];
    for (index, server) in servers.iter().enumerate() {
        let words = if server.ended.is_some() { "ended" } else { view.words(index) };
        let tone = match view.statuses[index] {
            Some(_) if words.ends_with(", synchronized") => Tone::Good,
            Some(_) => Tone::Warning,
            None => Tone::Bad,
        };
        lines.push(format!("{}   {}", server.name, screen.toned(tone, words)));
        lines.extend(addresses(server).map(|line| format!("    {line}")));
        lines.push(String::new());
    }
    lines.extend(figures(view).into_iter().map(|(name, value)| format!("  {name:<24}{value}")));
    lines.extend(view.failover_now().map(|words| format!("\n  {}", words.trim_end_matches('.'))));
    for item in news.iter().rev().take(2).rev() {
        lines.push(format!("\n{}", screen.toned(Tone::Strong, item)));
    }
    lines.push(String::new());
    lines.extend(hints(servers, view));
    lines.join("\n")
}

/// The addresses, and what to try, once.
pub fn introduction(servers: &[Server; 2], view: &View, directory: &Path) -> String {
    let mut lines = vec![String::new(), format!("directory  {}", directory.display())];
    for (index, server) in servers.iter().enumerate() {
        lines.push(format!("server {}   {}", server.name, view.words(index)));
        lines.extend(addresses(server).map(|line| format!("           {line}")));
    }
    lines.push(format!("database   {DATABASE}, at …/db/{DATABASE} of each server\n"));
    lines.extend(hints(servers, view));
    lines.push(String::new());
    lines.join("\n")
}

fn addresses(server: &Server) -> impl Iterator<Item = String> {
    [
        format!("clients and operators  {}", server.url),
        format!("partners               {}", server.partner_address),
        format!("process                {}", server.pid),
    ]
    .into_iter()
}

/// One line for where nothing can be repainted.
pub fn status_line(servers: &[Server; 2], view: &View) -> String {
    let words = |index: usize| {
        let server = &servers[index];
        let words = if server.ended.is_some() { "ended" } else { view.words(index) };
        format!("{}: {words}", server.name)
    };
    let figures = figures(view).into_iter().map(|(name, value)| format!("{name} {value}"));
    format!("{} | {} | {}", words(0), words(1), figures.collect::<Vec<_>>().join(", "))
}

fn figures(view: &View) -> Vec<(&'static str, String)> {
    let progress = &view.progress;
    let queue = |name: &str| {
        let events = view.partner().and_then(|partner| view::number(partner, name));
        events.map_or("unknown".to_owned(), human::events)
    };
    let lag = progress.lag.map(|lag| human::seconds(lag.as_secs_f64()));
    let mut figures = vec![
        ("rows written", human::count(progress.written)),
        ("confirmed", human::count(progress.confirmed)),
        ("visible on the mirror", human::count(progress.visible)),
        ("lag", lag.unwrap_or("unknown".to_owned())),
        ("send queue", queue("/send_queue")),
        ("redo queue", queue("/redo_queue")),
        ("longest wait", human::seconds(progress.slowest.as_secs_f64())),
        ("confirmed and lost", view.lost.map_or("unknown".to_owned(), human::count)),
    ];
    if let Some(trouble) = &progress.trouble {
        figures.push(("the client hears", trouble.clone()));
    }
    figures
}

/// What to try in a second terminal, as commands that can be pasted.
fn hints(servers: &[Server; 2], view: &View) -> Vec<String> {
    let me = program();
    let Some(index) = view.principal() else {
        let alive = servers.iter().find(|server| server.ended.is_none());
        let status = alive.map(|server| format!("{me} status --server {}", server.url));
        return status.into_iter().map(|command| format!("  look       {command}")).collect();
    };
    let (principal, mirror) = (&servers[index], &servers[1 - index]);
    let mut lines = vec![
        format!("In a browser, the console: {}/ and {}/", principal.url, mirror.url),
        "In a second terminal:".to_owned(),
    ];
    let mut hint = |name: &str, command: String| lines.push(format!("  {name:<11}{command}"));
    hint("look", format!("{me} status --watch --server {}", principal.url));
    if view.is_parked(1 - index) {
        let (p, m) = (&principal.url, &mirror.url);
        hint("rejoin", format!("{me} mirror start --principal {p} --mirror {m} --replace"));
    } else if mirror.ended.is_none() {
        hint("swap", format!("{me} failover --server {}", principal.url));
        hint("disaster", format!("kill -9 {}", principal.pid));
        hint("  then", format!("{me} promote --server {}", mirror.url));
    }
    lines.push("Ctrl-C ends the demonstration.".to_owned());
    lines
}

/// What to type to call this program again.
fn program() -> String {
    let Ok(me) = std::env::current_exe() else { return "counterpart".to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("counterpart")).find(|f| f.exists());
    let same = found.and_then(|found| found.canonicalize().ok()) == me.canonicalize().ok();
    if same { "counterpart".to_owned() } else { me.display().to_string() }
}

/// What is said about a server that has just ended, and what to do.
pub fn advice(servers: &[Server; 2], ended: usize, how: &str, view: &View) -> String {
    let (gone, other) = (&servers[ended], &servers[1 - ended]);
    let start = format!("Server {} (pid {}) has ended: {how}.", gone.name, gone.pid);
    if other.ended.is_some() {
        return start;
    }
    if view.principal() == Some(1 - ended) {
        return format!(
            "{start} It was the mirror; the principal {} goes on without it, exposed. It is started again in 10 s.",
            other.name
        );
    }
    let status = view.statuses[1 - ended].as_ref();
    let words = status.and_then(|status| view::text(status, "/mirroring/promotion/words"));
    let words = words.map(|words| format!(" It says: {words}")).unwrap_or_default();
    format!(
        "{start} It was the principal. Make {} the principal:\n  {} promote --server {}\n{}",
        other.name,
        program(),
        other.url,
        words.trim_start()
    )
}

/// The last words.
pub fn farewell(view: &View, directory: &Path) -> String {
    let progress = &view.progress;
    let lost = view.lost.map_or("; there was no principal to ask".to_owned(), |lost| {
        format!(", {} of them lost", human::count(lost))
    });
    format!(
        "\n{} rows confirmed{lost}; {} visible on the mirror. Both servers have ended, and {} is removed.",
        human::count(progress.confirmed),
        human::count(progress.visible),
        directory.display()
    )
}

/// The first value of the stream.
pub fn started(servers: &[Server; 2], directory: &Path) -> Value {
    let server = |server: &Server| {
        json!({
            "name": server.name,
            "client_url": server.url,
            "partner_address": server.partner_address,
            "pid": server.pid,
        })
    };
    json!({
        "event": "started",
        "directory": directory,
        "database": DATABASE,
        "principal": server(&servers[0]),
        "mirror": server(&servers[1]),
    })
}

/// One value of the stream.
pub fn status_value(servers: &[Server; 2], view: &View) -> Value {
    let server = |index: usize| {
        let status = view.statuses[index].as_ref();
        json!({
            "name": servers[index].name,
            "pid": servers[index].pid,
            "running": servers[index].ended.is_none(),
            "role": status.map(view::role),
            "words": view.words(index),
        })
    };
    let mut value = json!({ "event": "status", "servers": [server(0), server(1)] });
    value["figures"] = figures_value(view);
    value
}

/// The last value of the stream.
pub fn ended(view: &View) -> Value {
    json!({ "event": "ended", "figures": figures_value(view) })
}

fn figures_value(view: &View) -> Value {
    let progress = &view.progress;
    let queue = |name: &str| view.partner().and_then(|partner| view::number(partner, name));
    json!({
        "written": progress.written,
        "confirmed": progress.confirmed,
        "visible_on_mirror": progress.visible,
        "lag_ms": progress.lag.map(|lag| lag.as_secs_f64() * 1000.0),
        "longest_wait_ms": progress.slowest.as_secs_f64() * 1000.0,
        "lost": view.lost,
        "state": view.partner().and_then(|partner| view::text(partner, "/state")),
        "send_queue": queue("/send_queue"),
        "redo_queue": queue("/redo_queue"),
        "trouble": progress.trouble,
    })
}
