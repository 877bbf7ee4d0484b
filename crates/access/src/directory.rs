//! Everybody whom a server knows, as of one moment: who shows this token, and is it still good?

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{Fingerprint, Grant, PasswordHash};

/// What somebody is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: the server does not ask.
    Nothing,
    /// The server's own token.
    OwnToken,
    /// A token that was made for them.
    Token,
    /// A password, for which they got a token.
    User,
    /// A token that somebody else has signed, whose key the server knows.
    Jwt,
}

/// Somebody whom the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name, for logs and people.
    pub name: String,
    /// What they are known by. Two may have the same name and differ in this.
    pub by: Credential,
    /// What it allows.
    pub grant: Grant,
}

impl Identity {
    /// Somebody who may do everything.
    #[must_use]
    pub fn admin(name: &str, by: Credential) -> Arc<Identity> {
        Arc::new(Identity { name: name.to_owned(), by, grant: Grant::ADMIN })
    }
}

/// As the audit log names them: no two alike.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Credential::Nothing | Credential::OwnToken => f.write_str(&self.name),
            Credential::Token => write!(f, "token {}", self.name),
            Credential::User => write!(f, "user {}", self.name),
            Credential::Jwt => write!(f, "jwt {}", self.name),
        }
    }
}

/// A token as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who shows it.
    pub identity: Arc<Identity>,
    /// The first second (of UTC, since 1970) in which it is no longer good; nothing if it is until it is revoked.
    pub expires: Option<u64>,
}

/// A user as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What is kept of the password.
    pub password: PasswordHash,
}

impl User {
    /// What the user's logins are bound to: another one for each password, and after a password was set anew.
    #[must_use]
    pub fn stamp(&self) -> Fingerprint {
        Fingerprint::of(self.password.as_str())
    }
}

/// A token that a user got for a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The [stamp](User::stamp) of that user then.
    pub stamp: Fingerprint,
    /// The first second (of UTC, since 1970) in which it is no longer good.
    pub expires: u64,
}

/// Why somebody is not let in. Deliberately little: who tries tokens learns nothing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It shows no token.
    #[error("this server wants to know who asks")]
    NothingShown,
    /// It shows one that is unknown: never made, or revoked.
    #[error("the token is not known here, or was revoked")]
    Unknown,
    /// It shows one that was good once.
    #[error("the token has expired")]
    Expired,
    /// It shows one that will be good.
    #[error("the token is not good yet")]
    Early,
}

/// All tokens, users and logins of a server.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    entries: HashMap<Fingerprint, Entry>,
    users: HashMap<String, User>,
    logins: HashMap<Fingerprint, Login>,
}

impl Directory {
    /// Adds a token.
    pub fn insert(&mut self, fingerprint: Fingerprint, entry: Entry) {
        self.entries.insert(fingerprint, entry);
    }

    /// Adds a user.
    pub fn insert_user(&mut self, user: User) {
        self.users.insert(user.identity.name.clone(), user);
    }

    /// Adds a login.
    pub fn insert_login(&mut self, fingerprint: Fingerprint, login: Login) {
        self.logins.insert(fingerprint, login);
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// Whose login this is, at this second of UTC since 1970: nobody's once the user is gone or has another password.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn logged_in(&self, login: &Login, now: u64) -> Result<&Arc<Identity>, Refused> {
        let user = self.users.get(&login.user).filter(|user| user.stamp() == login.stamp);
        let user = user.ok_or(Refused::Unknown)?;
        if now >= login.expires { Err(Refused::Expired) } else { Ok(&user.identity) }
    }

    /// Who shows the token of this fingerprint, at this second of UTC since 1970.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn who(&self, shown: Option<Fingerprint>, now: u64) -> Result<&Arc<Identity>, Refused> {
        let shown = shown.ok_or(Refused::NothingShown)?;
        let Some(entry) = self.entries.get(&shown) else {
            let login = self.logins.get(&shown).ok_or(Refused::Unknown)?;
            return self.logged_in(login, now);
        };
        match entry.expires {
            Some(end) if now >= end => Err(Refused::Expired),
            _ => Ok(&entry.identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Role, Token};

    fn entry(name: &str, expires: Option<u64>) -> Entry {
        let grant = Grant::new(Role::Reader, Some(&["main"])).unwrap();
        let by = Credential::Token;
        Entry { identity: Arc::new(Identity { name: name.to_owned(), by, grant }), expires }
    }

    #[test]
    fn a_login_is_good_until_it_expires_or_its_user_is_gone_or_has_another_password() {
        let user = |text: &str| User {
            identity: entry("anna", None).identity,
            // What it is made of does not matter here.
            password: PasswordHash::from_kept(text).unwrap(),
        };
        let (first, second) = (user("$argon2id$v=19$m=8"), user("$argon2id$v=19$m=16"));
        assert_ne!(first.stamp(), second.stamp());
        let token = Token::generate();
        let login = Login { user: "anna".to_owned(), stamp: first.stamp(), expires: 100 };
        let mut directory = Directory::default();
        directory.insert_login(token.fingerprint(), login.clone());
        let who = |directory: &Directory, now| {
            directory.who(Some(token.fingerprint()), now).map(|identity| identity.name.clone())
        };
        assert_eq!(who(&directory, 0), Err(Refused::Unknown));
        directory.insert_user(first);
        assert_eq!(who(&directory, 99), Ok("anna".to_owned()));
        assert_eq!(who(&directory, 100), Err(Refused::Expired));
        assert!(directory.logged_in(&login, 99).is_ok());
        directory.insert_user(second);
        assert_eq!(who(&directory, 99), Err(Refused::Unknown));
        assert!(directory.logged_in(&login, 99).is_err());
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_gone() {
        let (lasting, short, gone) = (Token::generate(), Token::generate(), Token::generate());
        let mut directory = Directory::default();
        directory.insert(lasting.fingerprint(), entry("lasting", None));
        directory.insert(short.fingerprint(), entry("short", Some(100)));
        let who = |token: &Token, now| {
            directory.who(Some(token.fingerprint()), now).map(|identity| identity.name.as_str())
        };
        assert_eq!(who(&lasting, u64::MAX), Ok("lasting"));
        assert_eq!(who(&short, 99), Ok("short"));
        assert_eq!(who(&short, 100), Err(Refused::Expired));
        assert_eq!(who(&gone, 0), Err(Refused::Unknown));
        assert_eq!(directory.who(None, 0), Err(Refused::NothingShown));
        assert_eq!(directory.who(Some(Fingerprint::of("")), 0), Err(Refused::Unknown));
    }
}
