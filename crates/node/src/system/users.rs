//! Users with passwords, and who of them is logged in: kept in the server's own database, as tokens are.
//!
//! A login is a token that is bound to the password it was got with. It names that by a stamp, so when the password is changed, or the
//! user dropped, all logins of that user end in that same transaction, on this server and on its mirror.

use std::{net::IpAddr, sync::Arc, time::Duration};

use counterpart_access::{
    Credential, Databases, Directory, Fingerprint, Grant, GrantError, Identity, Login, Password,
    PasswordHash, Source, Token, User, is_password,
};
use counterpart_engine::Value;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Kept, execute, hashing::too_many, integer, make, open_table, run, said, sign_in::Required,
    sign_in::SignIn, sign_in::now, tokens::check_name, unreadable,
};
use crate::{
    audit::{Act, Ending},
    clock,
    node::Node,
    refusal::Refusal,
};

const USERS: &str = "CREATE TABLE IF NOT EXISTS user (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    databases TEXT,
    password TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT";

const LOGINS: &str = "CREATE TABLE IF NOT EXISTS login (
    fingerprint BLOB PRIMARY KEY,
    user TEXT NOT NULL,
    stamp BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT";

/// Forgets logins that have ended, and of one user all but the newest.
const FORGET_LOGINS: &str =
    "DELETE FROM login WHERE expires <= ?1 OR user NOT IN (SELECT name FROM user)
    OR (user = ?2 AND fingerprint NOT IN
        (SELECT fingerprint FROM login WHERE user = ?2 ORDER BY created DESC LIMIT ?3))";

/// Logins that one user has at a time; the oldest go.
const EACH: u64 = 100;

/// How long a login is good, in seconds, when nobody says otherwise: a day's work.
const LIFETIME: u64 = 12 * 3600;

/// And at most.
const LONGEST: u64 = 7 * 24 * 3600;

/// A login is written into the server's own database for so long; then it is good on this server alone.
const PATIENCE: Duration = Duration::from_secs(2);

/// A user, as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserSummary {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The databases that it is limited to; all without.
    pub databases: Option<Vec<String>>,
    /// When it was made, in seconds of UTC since 1970.
    pub created: u64,
}

/// What a new user is to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Its name: 1 to 63 of a-z, 0-9, `_`, `-` and `.`.
    pub name: String,
    /// What it may do.
    pub grant: Grant,
    /// Its password.
    pub password: Password,
}

/// Somebody who wants to log in.
#[derive(Clone)]
pub struct Attempt {
    /// The user's name, or what was given for one.
    pub name: String,
    /// The password, likewise.
    pub password: String,
    /// From where.
    pub from: Option<IpAddr>,
    /// How long the login is to be good, in seconds; 12 hours without.
    pub lifetime: Option<u64>,
}

/// Somebody who has.
#[derive(Debug)]
pub struct LoggedIn {
    /// What to show from now on.
    pub token: Token,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// When the token ends, in seconds of UTC since 1970.
    pub expires: u64,
}

impl Node {
    /// All users, by name.
    ///
    /// # Errors
    /// Why nothing can be read now.
    pub async fn users(&self) -> Result<Vec<UserSummary>, Refusal> {
        let Some(mut stream) = open_table(&self.shared, "user").await? else {
            return Ok(Vec::new());
        };
        let sql = "SELECT name, role, databases, created FROM user ORDER BY name";
        let summary = |row: &Vec<Value>| {
            let kept = Kept(row);
            Ok(UserSummary {
                name: kept.text(0)?.to_owned(),
                role: kept.text(1)?.to_owned(),
                databases: kept.databases(2)?,
                created: kept.number(3)?.unwrap_or_default(),
            })
        };
        run(&mut stream, sql, Vec::new()).await?.iter().map(summary).collect()
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `USER_INVALID`, `USER_EXISTS`, and what every write can meet.
    pub async fn create_user(&self, new: NewUser) -> Result<(), Refusal> {
        check_name(&new.name, "USER_INVALID")?;
        let required = self.required()?;
        let mut stream = make(&self.shared).await?;
        run(&mut stream, USERS, Vec::new()).await?;
        let password = new.password;
        let hash = required.hashing.run(move || password.hash()).await?;
        let row = vec![
            Value::Text(new.name.clone()),
            Value::Text(new.grant.role().name().to_owned()),
            limits(new.grant.databases()),
            Value::Text(hash.as_str().to_owned()),
            integer(now()),
        ];
        match execute(&mut stream, "INSERT INTO user VALUES (?, ?, ?, ?, ?)", row).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == "SQLITE_CONSTRAINT_PRIMARYKEY" => Err(Refusal::new(
                "USER_EXISTS",
                format!("there is a user called {:?} already", new.name),
                "choose another name, or drop that one first",
            )),
            Err(error) => Err(said(error)),
        }
    }

    /// Gives a user another password; all its logins end.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`, and what every write can meet.
    pub async fn set_password(&self, name: &str, password: Password) -> Result<(), Refusal> {
        let required = self.required()?;
        self.shared.admission.pass().await?;
        let hash = required.hashing.run(move || password.hash()).await?;
        let values = vec![Value::Text(hash.as_str().to_owned()), Value::Text(name.to_owned())];
        let sql = "UPDATE user SET password = ? WHERE name = ? RETURNING name";
        self.change_user(name, sql, values).await
    }

    /// Drops a user; all its logins end.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`, and what every write can meet.
    pub async fn drop_user(&self, name: &str) -> Result<(), Refusal> {
        self.shared.admission.pass().await?;
        let sql = "DELETE FROM user WHERE name = ? RETURNING name";
        self.change_user(name, sql, vec![Value::Text(name.to_owned())]).await
    }

    async fn change_user(&self, name: &str, sql: &str, values: Vec<Value>) -> Result<(), Refusal> {
        let changed = match open_table(&self.shared, "user").await? {
            Some(mut stream) => run(&mut stream, sql, values).await?,
            None => Vec::new(),
        };
        if !changed.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            "USER_NOT_FOUND",
            format!("there is no user called {name:?}"),
            "`counterpart user list` shows those that there are",
        ))
    }

    /// Lets a user in who knows the password.
    ///
    /// Where it can, it writes the login into the server's own database, so that it is good on all partners. Where it can't (on a
    /// mirror, on a full disk), the login is good on this server as long as it runs: whoever is to promote a mirror must get in.
    ///
    /// # Errors
    /// `LOGIN_REFUSED`, whether it is the name or the password that is wrong; `TOO_MANY_ATTEMPTS`; `LOGIN_INVALID`.
    pub async fn login(&self, attempt: Attempt) -> Result<LoggedIn, Refusal> {
        let required = self.required()?;
        let lifetime = attempt.lifetime.unwrap_or(LIFETIME);
        if !(1..=LONGEST).contains(&lifetime) {
            return Err(Refusal::new(
                "LOGIN_INVALID",
                format!("a login can't be good for {lifetime} s"),
                format!(
                    "ask for 1 to {LONGEST} s, or make a token with `counterpart token create`"
                ),
            ));
        }
        let (source, name) = (Source::of(attempt.from), attempt.name);
        let directory = self.directory(required).await?;
        let user = directory.user(&name).cloned();
        // What is no user's name may be a password that went into the wrong field.
        let told = match &user {
            Some(user) => user.identity.to_string(),
            None => "a user who is not known".to_owned(),
        };
        let taken = required.guesses().take(source, &name, clock::uptime());
        if let Err(wait) = taken {
            self.note_refused(attempt.from, &told, "TOO_MANY_ATTEMPTS").await;
            return Err(too_many(wait.as_secs() + 1));
        }
        let (compared, tried) = (user.clone(), attempt.password);
        let compare = move || is_password(compared.as_ref().map(|user| &user.password), &tried);
        let is_right = required.hashing.run(compare).await?;
        let Some(user) = user.filter(|_| is_right) else {
            self.note_refused(attempt.from, &told, "LOGIN_REFUSED").await;
            return Err(Refusal::new(
                "LOGIN_REFUSED",
                "the name or the password is wrong",
                "try again; an admin can set another password (`counterpart user password`)",
            ));
        };
        required.guesses().was_right(source, &name);
        let (token, expires) = (Token::generate(), now().saturating_add(lifetime));
        let login = Login { user: name, stamp: user.stamp(), expires };
        let written = timeout(PATIENCE, self.write_login(token.fingerprint(), &login)).await;
        if !matches!(written, Ok(Ok(()))) {
            required.keep_here(token.fingerprint(), login);
        }
        let (who, from) = (Some(Arc::clone(&user.identity)), attempt.from);
        let (what, about) = ("Login", String::new());
        self.note(Act { who, from, what, about, ending: Ending::Done }).await;
        Ok(LoggedIn { token, identity: user.identity, expires })
    }

    async fn write_login(&self, fingerprint: Fingerprint, login: &Login) -> Result<(), Refusal> {
        let mut stream = make(&self.shared).await?;
        run(&mut stream, LOGINS, Vec::new()).await?;
        let row = vec![
            Value::Blob(fingerprint.as_bytes().to_vec()),
            Value::Text(login.user.clone()),
            Value::Blob(login.stamp.as_bytes().to_vec()),
            integer(now()),
            integer(login.expires),
        ];
        run(&mut stream, "INSERT INTO login VALUES (?, ?, ?, ?, ?)", row).await?;
        let values = vec![integer(now()), Value::Text(login.user.clone()), integer(EACH)];
        run(&mut stream, FORGET_LOGINS, values).await.map(drop)
    }

    fn required(&self) -> Result<&Required, Refusal> {
        match &self.sign_in {
            SignIn::Required(required) => Ok(required),
            SignIn::NotAsked(_) => Err(Refusal::new(
                "NOBODY_IS_ASKED",
                "this server lets everybody in, and has no use for users",
                "start it with --require-token",
            )),
        }
    }

    /// Adds all users and logins.
    pub(super) async fn read_users_into(&self, directory: &mut Directory) -> Result<(), Refusal> {
        let Some(mut stream) = open_table(&self.shared, "user").await? else { return Ok(()) };
        let sql = "SELECT name, role, databases, password FROM user";
        for row in run(&mut stream, sql, Vec::new()).await? {
            let kept = Kept(&row);
            let (name, role, databases) = (kept.text(0)?, kept.text(1)?, kept.databases(2)?);
            let grant = role.parse().and_then(|role| Grant::new(role, databases.as_deref()));
            let grant = grant.map_err(|error: GrantError| unreadable(&error))?;
            let password = PasswordHash::from_kept(kept.text(3)?)
                .ok_or_else(|| unreadable(&"a password's hash of another form"))?;
            let (name, by) = (name.to_owned(), Credential::User);
            directory
                .insert_user(User { identity: Arc::new(Identity { name, by, grant }), password });
        }
        let Some(mut stream) = open_table(&self.shared, "login").await? else { return Ok(()) };
        let sql = "SELECT user, expires, stamp, fingerprint FROM login";
        for row in run(&mut stream, sql, Vec::new()).await? {
            let kept = Kept(&row);
            let (user, expires) = (kept.text(0)?.to_owned(), kept.number(1)?.unwrap_or_default());
            let login = Login { user, stamp: kept.fingerprint(2)?, expires };
            directory.insert_login(kept.fingerprint(3)?, login);
        }
        Ok(())
    }
}

/// The databases of a grant, as they are kept.
pub(super) fn limits(databases: &Databases) -> Value {
    match databases {
        Databases::All => Value::Null,
        Databases::These(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            Value::Text(names.join(" "))
        }
    }
}
