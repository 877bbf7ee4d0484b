//! Watching a new mirror until it is synchronized: first until it connects, for a limited time, then for as long as
//! the copy takes, unless the mirror is lost meanwhile.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{
    super::{screen::Screen, status::progress_line, view},
    check::Side,
};
use crate::{
    clock,
    exit::{Exit, Failure},
};

/// How long one waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub poll: Duration,
    /// For the mirror to connect to the principal.
    pub connect: Duration,
    /// For a principal that does not answer.
    pub unreachable: Duration,
    /// For a mirror that was lost to come back.
    pub lost: Duration,
    /// Between two lines of progress, without a terminal.
    pub report: Duration,
}

impl Patience {
    /// An operator's.
    pub const USUAL: Patience = Patience {
        poll: Duration::from_millis(250),
        connect: Duration::from_secs(60),
        unreachable: Duration::from_secs(60),
        lost: Duration::from_secs(60),
        report: Duration::from_secs(5),
    };
}

/// The mirror as the principal sees it; an error when that cannot be known any more.
fn look(principal: &Side, mirror: &Side, patience: Patience) -> Result<Value, Failure> {
    let since = clock::uptime();
    loop {
        match principal.client.status() {
            Ok(status) => {
                let partner = view::partner(&status, &mirror.server.to_string());
                return partner.cloned().ok_or_else(stopped);
            }
            Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
            Err(failure) if clock::uptime() - since > patience.unreachable => {
                let remedy = "mirroring is enabled and goes on by itself; see `counterpart status`";
                return Err(Failure { remedy: remedy.to_owned(), ..failure });
            }
            Err(_again) => clock::pause(patience.poll),
        }
    }
}

fn stopped() -> Failure {
    Failure::new(
        Exit::Refused,
        "MIRRORING_STOPPED",
        "the principal does not know the mirror any more: somebody stopped mirroring meanwhile",
        "run the command again if that was not meant",
    )
}

/// What is known about a mirror that does not connect.
fn cause(partner: &Value) -> (String, String) {
    view::last_error(partner).unwrap_or_else(|| {
        let remedy = "look into the mirror's log and check its connection to the principal";
        ("the mirror does not connect to the principal".to_owned(), remedy.to_owned())
    })
}

/// Waits until the mirror has connected: it is being seeded, or synchronized already.
pub fn connected(principal: &Side, mirror: &Side, patience: Patience) -> Result<(), Failure> {
    let since = clock::uptime();
    loop {
        let partner = look(principal, mirror, patience)?;
        match view::text(&partner, "/state") {
            Some("DISCONNECTED") | None => {}
            Some(_) => return Ok(()),
        }
        if clock::uptime() - since > patience.connect {
            let (what, remedy) = cause(&partner);
            return Err(Failure::new(Exit::Refused, "MIRROR_NOT_CONNECTED", what, remedy));
        }
        clock::pause(patience.poll);
    }
}

/// Waits until the mirror is synchronized, and shows how far it has come. A mirror that is restarted goes on; one
/// that stays away ends the wait.
pub fn synchronized(
    principal: &Side,
    mirror: &Side,
    patience: Patience,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let bar = bar(screen);
    let mut reported = clock::uptime();
    let mut lost_since = None;
    loop {
        let partner = look(principal, mirror, patience)?;
        match view::text(&partner, "/state") {
            Some("SYNCHRONIZED") => {
                bar.finish_and_clear();
                return Ok(());
            }
            Some("SUSPENDED") => {
                bar.finish_and_clear();
                return Err(suspended(&partner));
            }
            Some("DISCONNECTED") => {
                let since = *lost_since.get_or_insert_with(clock::uptime);
                if clock::uptime() - since > patience.lost {
                    bar.finish_and_clear();
                    return Err(lost(mirror, &partner));
                }
            }
            _ => lost_since = None,
        }
        show(&bar, &partner);
        if !screen.interactive && clock::uptime() - reported >= patience.report {
            reported = clock::uptime();
            screen.line(format!("  ..  {}", progress_line(&partner).unwrap_or_default()))?;
        }
        clock::pause(patience.poll);
    }
}

/// What was sent is there, and mirroring stays enabled: nothing is undone, unlike for a mirror that never came.
fn lost(mirror: &Side, partner: &Value) -> Failure {
    let why = view::last_error(partner).map(|(what, _)| format!(": {what}")).unwrap_or_default();
    Failure::new(
        Exit::Refused,
        "MIRROR_LOST",
        format!("the mirror {} was lost before it was synchronized{why}", mirror.client.url()),
        "start it again, or mend its connection: it goes on where it stopped, and `counterpart status --watch` shows it; \
         to give it up, run `counterpart mirror stop` on the principal",
    )
}

fn suspended(partner: &Value) -> Failure {
    let (what, remedy) = view::last_error(partner)
        .unwrap_or_else(|| ("somebody suspended it".to_owned(), String::new()));
    let remedy = if remedy.is_empty() { "then".to_owned() } else { format!("{remedy}; then") };
    Failure::new(
        Exit::Refused,
        "MIRRORING_SUSPENDED",
        format!("the mirror is suspended: {what}"),
        format!("{remedy} run `counterpart resume`; what was sent already is not sent again"),
    )
}

fn bar(screen: &Screen) -> ProgressBar {
    if !screen.interactive {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  ..  {wide_bar} {msg}");
    ProgressBar::new(0).with_style(style.expect("the template is well-formed"))
}

/// Rate and time left are the server's own figures: it knows what is compressed and what is left.
fn show(bar: &ProgressBar, partner: &Value) {
    let done = view::number(partner, "/progress/done");
    let total = view::number(partner, "/progress/total");
    bar.set_length(total.unwrap_or(0));
    bar.set_position(done.unwrap_or(0));
    bar.set_message(progress_line(partner).unwrap_or_default());
}
