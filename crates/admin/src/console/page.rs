//! The pages of the console: where each is, what it is called, and what it takes to see it. A page that is added here is in
//! the navigation by itself.

use counterpart_access::Need;

/// A page of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Overview,
    Mirroring,
    Databases,
    Backups,
    Orphans,
    Tokens,
}

impl Page {
    /// All, in the order of the navigation.
    pub const ALL: [Page; 6] = [
        Page::Overview,
        Page::Mirroring,
        Page::Databases,
        Page::Backups,
        Page::Orphans,
        Page::Tokens,
    ];

    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Page::Overview => "/",
            Page::Mirroring => "/console/mirroring",
            Page::Databases => "/console/databases",
            Page::Backups => "/console/backups",
            Page::Orphans => "/console/orphans",
            Page::Tokens => "/console/tokens",
        }
    }

    /// Its name.
    pub fn title(self) -> &'static str {
        match self {
            Page::Overview => "Overview",
            Page::Mirroring => "Mirroring",
            Page::Databases => "Databases",
            Page::Backups => "Backups",
            Page::Orphans => "Orphans",
            Page::Tokens => "Tokens",
        }
    }

    /// What it takes to see it: what the same question takes in the operator API.
    pub fn need(self) -> Need<'static> {
        match self {
            Page::Overview | Page::Mirroring => Need::SignedIn,
            Page::Databases | Page::Backups | Page::Orphans => Need::Operate,
            Page::Tokens => Need::Administer,
        }
    }
}
