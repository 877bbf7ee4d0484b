//! What reaches the driver, and the handle through which it does.

use counterpart_core::{
    Lsn,
    message::{Envelope, SeedDatabase},
    record::Record,
    session::{Command, CommandError, DialId, Event, LinkId, Outcome},
    status::Status,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use std::time::Duration;

use super::roles::Changed;

/// One thing for the driver to handle.
pub enum Input {
    /// Something that the core is told as it is.
    Event(Event),
    /// Records of one epoch arrived.
    Records(LinkId, Vec<Record>),
    /// A dial ended.
    Dialed(DialId, Result<TcpStream, String>),
    /// A partner connected.
    Accepted(TcpStream),
    /// An operator's command.
    Command(Command, oneshot::Sender<Result<Outcome, CommandError>>),
    /// Somebody wants to see how things are.
    Look(oneshot::Sender<View>),
    /// The change of role with this number is done.
    Changed(u64, Changed),
    /// A seed had nothing to redo: its databases are open at this position.
    Whole(Lsn),
    /// Saving orphans has ended; the core is told how.
    OrphansDone(Event),
    /// Redo starts later from now on.
    RedoAdvanced,
    /// The server ends.
    Stop(oneshot::Sender<()>),
}

/// How things are.
pub struct View {
    /// The core's view.
    pub status: Status,
    /// Why the mirror does not apply, if it does not.
    pub apply_failure: Option<String>,
    /// Mirror: what the seed that it receives consists of, as the principal announced it.
    pub announced: Vec<SeedDatabase>,
    /// The uptime at which the newest seed began.
    pub seed_began: Option<Duration>,
}

/// The way to the driver; cheap to clone. What is sent after the driver has ended is dropped.
#[derive(Clone)]
pub struct Inputs(mpsc::UnboundedSender<Input>);

impl Inputs {
    /// A way to a driver, and its other end.
    #[must_use]
    pub fn new() -> (Inputs, mpsc::UnboundedReceiver<Input>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Inputs(sender), receiver)
    }

    /// Gives the driver something to handle.
    pub fn send(&self, input: Input) {
        if self.0.send(input).is_err() {
            tracing::trace!("an event after the driver's end");
        }
    }

    /// An event that the core is told as it is.
    pub fn event(&self, event: Event) {
        self.send(Input::Event(event));
    }

    /// The local journal is hardened up to here.
    pub fn hardened(&self, lsn: Lsn) {
        self.event(Event::Hardened(lsn));
    }

    /// The journal failed for good.
    pub fn journal_failed(&self, why: String) {
        self.event(Event::JournalFailed(why));
    }

    pub(crate) fn link_down(&self, link: LinkId, why: String) {
        self.event(Event::LinkDown(link, why));
    }

    pub(crate) fn heard(&self, link: LinkId) {
        self.event(Event::Heard(link));
    }

    pub(crate) fn received(&self, link: LinkId, envelope: Envelope) {
        self.event(Event::Received(link, envelope));
    }

    pub(crate) fn records(&self, link: LinkId, records: Vec<Record>) {
        self.send(Input::Records(link, records));
    }

    pub(crate) fn redo_advanced(&self) {
        self.send(Input::RedoAdvanced);
    }
}
