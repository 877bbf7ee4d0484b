//! The tokens that a server knows: kept in its own database, so that they are good on its partners, too, and after a takeover.
//!
//! One token is not kept there: that of the server itself, in a file which only whoever owns the data directory can read. It
//! lets an operator on the machine in, whatever state the server is in, and before there is any other.
//!
//! Whoever asks is judged by a [`Directory`] in memory. It is read again when the database has changed, so a token that
//! was revoked on the principal is refused from then on, and on a mirror as soon as it applies that.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use counterpart_access::{
    Credential, Databases, Directory, Entry, Fingerprint, Grant, GrantError, Identity, Refused,
    Token,
};
use counterpart_engine::Value;
use counterpart_journal as journal;
use serde::Serialize;

use super::{Kept, SystemView, execute, integer, make, open_table, run, said, unreadable};
use crate::{clock, node::Node, refusal::Refusal};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS token (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    databases TEXT,
    fingerprint BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT";

/// A token, as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenSummary {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// The databases that it is limited to; all without.
    pub databases: Option<Vec<String>>,
    /// When it was made, in seconds of UTC since 1970.
    pub created: u64,
    /// When it ends, likewise; nothing if it is good until it is revoked.
    pub expires: Option<u64>,
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name: 1 to 63 of a-z, 0-9, `_`, `-` and `.`.
    pub name: String,
    /// What it allows.
    pub grant: Grant,
    /// How long it is good, in seconds; nothing if until it is revoked.
    pub lifetime: Option<u64>,
}

/// Whom this server lets in.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// Everybody, as this one.
    NotAsked(Arc<Identity>),
    /// Who shows a token.
    Required {
        /// That of the server itself.
        own: Fingerprint,
        /// Who shows that.
        admin: Arc<Identity>,
        /// The others, as of a moment.
        known: Mutex<Option<(SystemView, Arc<Directory>)>>,
    },
}

/// The server's own token is in this file of the data directory.
const OWN: &str = "admin.token";

impl SignIn {
    /// That of a server with this data directory; its own token is made if it has none.
    ///
    /// # Errors
    /// What the system says of the file.
    pub(crate) fn new(data: &Path, require_token: bool) -> io::Result<SignIn> {
        if !require_token {
            return Ok(SignIn::NotAsked(Identity::admin("anybody", Credential::Nothing)));
        }
        let path = data.join(OWN);
        let own = match own_token(&path)? {
            Some(fingerprint) => fingerprint,
            None => make_own_token(&path)?,
        };
        let admin = Identity::admin("admin of this machine", Credential::OwnToken);
        Ok(SignIn::Required { own, admin, known: Mutex::default() })
    }
}

/// That of the token in a file; nothing if there is none, or a crash left less than one.
fn own_token(path: &Path) -> io::Result<Option<Fingerprint>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| Token::is_whole(text)).map(Fingerprint::of)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn make_own_token(path: &Path) -> io::Result<Fingerprint> {
    let token = Token::generate();
    journal::write_private(path, format!("{}\n", token.reveal()).as_bytes())?;
    tracing::info!(file = %path.display(), "this server's admin token was made");
    Ok(token.fingerprint())
}

impl Node {
    /// Who shows this token, or nothing. Where no token is required, everybody is an admin.
    ///
    /// # Errors
    /// `NOT_SIGNED_IN`, or why it can't be told now.
    pub async fn who(&self, shown: Option<&str>) -> Result<Arc<Identity>, Refusal> {
        let (own, admin, known) = match &self.sign_in {
            SignIn::NotAsked(anybody) => return Ok(Arc::clone(anybody)),
            SignIn::Required { own, admin, known } => (own, admin, known),
        };
        let shown = shown.map(Fingerprint::of);
        if shown == Some(*own) {
            return Ok(Arc::clone(admin));
        }
        if shown.is_none() {
            return Err(not_signed_in(Refused::NothingShown));
        }
        let directory = self.directory(known).await?;
        directory.who(shown, now()).cloned().map_err(not_signed_in)
    }

    async fn directory(
        &self,
        known: &Mutex<Option<(SystemView, Arc<Directory>)>>,
    ) -> Result<Arc<Directory>, Refusal> {
        let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((view, directory)) = &*lock()
            && self.is_current(view)
        {
            return Ok(Arc::clone(directory));
        }
        let view = self.view_system();
        let directory = Arc::new(self.read_directory().await?);
        *lock() = Some((view, Arc::clone(&directory)));
        Ok(directory)
    }

    async fn read_directory(&self) -> Result<Directory, Refusal> {
        let mut directory = Directory::default();
        let sql = "SELECT name, role, databases, expires, fingerprint FROM token";
        for row in self.read_tokens(sql).await? {
            let kept = Kept(&row);
            let (name, role, databases) = (kept.text(0)?, kept.text(1)?, kept.databases(2)?);
            let grant = role.parse().and_then(|role| Grant::new(role, databases.as_deref()));
            let grant = grant.map_err(|error: GrantError| unreadable(&error))?;
            let entry = Entry {
                identity: Arc::new(Identity {
                    name: name.to_owned(),
                    by: Credential::Token,
                    grant,
                }),
                expires: kept.number(3)?,
            };
            directory.insert(kept.fingerprint(4)?, entry);
        }
        Ok(directory)
    }

    /// The rows of a question about tokens; none where no token was ever made.
    async fn read_tokens(&self, sql: &str) -> Result<Vec<Vec<Value>>, Refusal> {
        match open_table(&self.shared, "token").await? {
            Some(mut stream) => run(&mut stream, sql, Vec::new()).await,
            None => Ok(Vec::new()),
        }
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// Why nothing can be read now.
    pub async fn tokens(&self) -> Result<Vec<TokenSummary>, Refusal> {
        let sql = "SELECT name, role, databases, created, expires FROM token ORDER BY name";
        let rows = self.read_tokens(sql).await?;
        let summary = |row: &Vec<Value>| {
            let kept = Kept(row);
            Ok(TokenSummary {
                name: kept.text(0)?.to_owned(),
                role: kept.text(1)?.to_owned(),
                databases: kept.databases(2)?,
                created: kept.number(3)?.unwrap_or_default(),
                expires: kept.number(4)?,
            })
        };
        rows.iter().map(summary).collect()
    }

    /// Makes a token. It is nowhere but in the answer.
    ///
    /// # Errors
    /// `TOKEN_INVALID`, `TOKEN_EXISTS`, and what every write can meet.
    pub async fn create_token(&self, new: NewToken) -> Result<Token, Refusal> {
        check_name(&new.name)?;
        let mut stream = make(&self.shared).await?;
        run(&mut stream, TABLE, Vec::new()).await?;
        let token = Token::generate();
        let databases = match new.grant.databases() {
            Databases::All => Value::Null,
            Databases::These(names) => {
                let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
                Value::Text(names.join(" "))
            }
        };
        let now = now();
        let expires = new.lifetime.map(|seconds| integer(now.saturating_add(seconds)));
        let row = vec![
            Value::Text(new.name.clone()),
            Value::Text(new.grant.role().name().to_owned()),
            databases,
            Value::Blob(token.fingerprint().as_bytes().to_vec()),
            integer(now),
            expires.unwrap_or(Value::Null),
        ];
        match execute(&mut stream, "INSERT INTO token VALUES (?, ?, ?, ?, ?, ?)", row).await {
            Ok(_) => Ok(token),
            Err(error) if error.code == "SQLITE_CONSTRAINT_PRIMARYKEY" => Err(Refusal::new(
                "TOKEN_EXISTS",
                format!("there is a token called {:?} already", new.name),
                "choose another name, or revoke that one first",
            )),
            Err(error) => Err(said(error)),
        }
    }

    /// Revokes a token: nobody who shows it is let in from now on.
    ///
    /// # Errors
    /// `TOKEN_NOT_FOUND`, and what every write can meet.
    pub async fn revoke_token(&self, name: &str) -> Result<(), Refusal> {
        // A mirror says where the principal is, and a failover is waited out.
        self.shared.admission.pass().await?;
        let gone = match open_table(&self.shared, "token").await? {
            Some(mut stream) => {
                let named = vec![Value::Text(name.to_owned())];
                run(&mut stream, "DELETE FROM token WHERE name = ? RETURNING name", named).await?
            }
            None => Vec::new(),
        };
        if !gone.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(
            "TOKEN_NOT_FOUND",
            format!("there is no token called {name:?}"),
            "`counterpart token list` shows those that there are",
        ))
    }
}

fn now() -> u64 {
    clock::unix_now().0 / 1_000_000
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if (1..=63).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(Refusal::new(
        "TOKEN_INVALID",
        format!("{name:?} is not a name for a token"),
        "use 1 to 63 of a-z, 0-9, '_', '-' and '.'",
    ))
}

fn not_signed_in(why: Refused) -> Refusal {
    Refusal::new(
        "NOT_SIGNED_IN",
        why.to_string(),
        "show a token that `counterpart token create` made, as `authorization: Bearer …` or the client's authToken",
    )
}

impl Kept<'_> {
    fn databases(&self, column: usize) -> Result<Option<Vec<String>>, Refusal> {
        if self.0[column] == Value::Null {
            return Ok(None);
        }
        Ok(Some(self.text(column)?.split(' ').map(str::to_owned).collect()))
    }

    fn fingerprint(&self, column: usize) -> Result<Fingerprint, Refusal> {
        let Value::Blob(bytes) = &self.0[column] else {
            return Err(unreadable(&"a fingerprint that is no blob"));
        };
        Fingerprint::from_bytes(bytes).ok_or_else(|| unreadable(&"a fingerprint of another length"))
    }
}
