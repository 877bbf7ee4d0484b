//! Roles, and what each of them allows. The one place where that is decided.
//!
//! ```text
//!                      admin  operator  writer        reader
//! SignedIn               x       x        x             x
//! Read(database)         x       x        its own       its own
//! Write(database)        x                its own
//! Operate                x       x
//! Administer             x
//! ```
//!
//! An operator makes backups, which hold everything, so it may read everything; it changes nothing in them.

use std::{collections::BTreeSet, fmt, str::FromStr};

use counterpart_core::{DatabaseName, DatabaseNameError};

/// What somebody is to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything.
    Admin,
    /// Mirroring, failover, backups, integrity; no tokens, and no changes of what databases hold.
    Operator,
    /// Reads and writes databases.
    Writer,
    /// Reads databases.
    Reader,
}

impl Role {
    /// All roles, the mightiest first.
    pub const ALL: [Role; 4] = [Role::Admin, Role::Operator, Role::Writer, Role::Reader];

    /// Its name in commands, in the API and on the disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
    }

    /// Whether it may be limited to some databases.
    #[must_use]
    pub fn can_be_limited(self) -> bool {
        matches!(self, Role::Writer | Role::Reader)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is not a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// There is no such role.
    #[error("{0:?} is no role: use admin, operator, writer or reader")]
    UnknownRole(String),
    /// An admin or operator is one for the whole server.
    #[error("the role {0} is for the whole server, and cannot be limited to databases")]
    Unlimited(Role),
    /// It is limited to nothing.
    #[error("a limit to databases names at least one")]
    Empty,
    /// What it is limited to is no database.
    #[error(transparent)]
    Database(#[from] DatabaseNameError),
}

impl FromStr for Role {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Role, GrantError> {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| GrantError::UnknownRole(text.to_owned()))
    }
}

/// Which databases a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// All, and those that will be made.
    All,
    /// These; never empty. A database that is dropped and made again under its name is meant, too.
    These(BTreeSet<DatabaseName>),
}

impl Databases {
    fn include(&self, name: &DatabaseName) -> bool {
        match self {
            Databases::All => true,
            Databases::These(names) => names.contains(name),
        }
    }
}

/// What somebody may do.
///
/// - Only a role that can be limited has `databases` other than all.
/// - Only a writer that is limited has databases that it reads besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    role: Role,
    databases: Databases,
    also_reads: BTreeSet<DatabaseName>,
}

/// What a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Anybody whom the server knows.
    SignedIn,
    /// Reading in a database.
    Read(&'a DatabaseName),
    /// Writing in a database.
    Write(&'a DatabaseName),
    /// Looking after the server: mirroring, backups, integrity.
    Operate,
    /// Deciding what there is and who may use it: databases come and go, tokens are made.
    Administer,
}

impl Grant {
    /// Everything.
    pub const ADMIN: Grant = Grant::whole(Role::Admin);

    const fn whole(role: Role) -> Grant {
        Grant { role, databases: Databases::All, also_reads: BTreeSet::new() }
    }

    /// A role, for all databases or limited to some.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn new<N: AsRef<str>>(role: Role, limits: Option<&[N]>) -> Result<Grant, GrantError> {
        let Some(limits) = limits else { return Ok(Grant::whole(role)) };
        let names: Result<BTreeSet<DatabaseName>, _> =
            limits.iter().map(|name| name.as_ref().parse()).collect();
        let names = names?;
        if names.is_empty() {
            return Err(GrantError::Empty);
        }
        if !role.can_be_limited() {
            return Err(GrantError::Unlimited(role));
        }
        Ok(Grant { role, databases: Databases::These(names), also_reads: BTreeSet::new() })
    }

    /// Reading all databases, or writing as well.
    #[must_use]
    pub fn of_all(writes: bool) -> Grant {
        Grant::whole(if writes { Role::Writer } else { Role::Reader })
    }

    /// Reading some databases and writing others, which means reading them as well; nothing if there is none of either.
    #[must_use]
    pub fn of_these(
        reads: BTreeSet<DatabaseName>,
        writes: BTreeSet<DatabaseName>,
    ) -> Option<Grant> {
        let (role, names, also_reads) = match (reads.is_empty(), writes.is_empty()) {
            (true, true) => return None,
            (false, true) => (Role::Reader, reads, BTreeSet::new()),
            (_, false) => (Role::Writer, writes, reads),
        };
        Some(Grant { role, databases: Databases::These(names), also_reads })
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The databases.
    #[must_use]
    pub fn databases(&self) -> &Databases {
        &self.databases
    }

    /// Whether it is enough.
    #[must_use]
    pub fn allows(&self, need: Need<'_>) -> bool {
        match (self.role, need) {
            (Role::Admin, _) | (_, Need::SignedIn) => true,
            (Role::Operator, Need::Operate | Need::Read(_)) => true,
            (Role::Writer, Need::Write(name)) => self.databases.include(name),
            (Role::Writer, Need::Read(name)) => {
                self.databases.include(name) || self.also_reads.contains(name)
            }
            (Role::Reader, Need::Read(name)) => self.databases.include(name),
            (Role::Operator, Need::Write(_) | Need::Administer)
            | (Role::Writer, Need::Operate | Need::Administer)
            | (Role::Reader, Need::Write(_) | Need::Operate | Need::Administer) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_allows_what_the_table_says() {
        let (own, other) = ("own".parse().unwrap(), "other".parse().unwrap());
        let needs = [
            Need::SignedIn,
            Need::Read(&own),
            Need::Read(&other),
            Need::Write(&own),
            Need::Write(&other),
            Need::Operate,
            Need::Administer,
        ];
        for (role, limits, allowed) in [
            (Role::Admin, None, "xxxxxxx"),
            (Role::Operator, None, "xxx--x-"),
            (Role::Writer, None, "xxxxx--"),
            (Role::Writer, Some(&["own"][..]), "xx-x---"),
            (Role::Reader, None, "xxx----"),
            (Role::Reader, Some(&["own"]), "xx-----"),
        ] {
            let grant = Grant::new(role, limits).unwrap();
            let found = needs.map(|need| if grant.allows(need) { 'x' } else { '-' });
            assert_eq!(found.iter().collect::<String>(), allowed, "{role} {limits:?}");
        }
    }

    #[test]
    fn what_is_no_grant_is_refused_by_its_cause() {
        assert_eq!("root".parse::<Role>(), Err(GrantError::UnknownRole("root".to_owned())));
        let limited = Grant::new(Role::Operator, Some(&["main"]));
        assert_eq!(limited, Err(GrantError::Unlimited(Role::Operator)));
        assert!(matches!(Grant::new(Role::Reader, Some(&["A/b"])), Err(GrantError::Database(_))));
        // Limited to nothing is not the same as not limited.
        assert_eq!(Grant::new::<&str>(Role::Reader, Some(&[])), Err(GrantError::Empty));
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
    }
}
