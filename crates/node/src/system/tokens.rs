//! The tokens that a server knows: kept in its own database, so that they are good on its partners, too, and after a takeover.

use std::sync::Arc;

use counterpart_access::{Credential, Directory, Entry, Grant, GrantError, Identity, Token};
use counterpart_engine::Value;
use serde::Serialize;

use super::{
    Kept, execute, integer, make, open_table, run, said, sign_in::now, unreadable, users::limits,
};
use crate::{node::Node, refusal::Refusal};

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

impl Node {
    /// Adds all tokens.
    pub(super) async fn read_tokens_into(&self, directory: &mut Directory) -> Result<(), Refusal> {
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
        Ok(())
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
        check_name(&new.name, "TOKEN_INVALID")?;
        let mut stream = make(&self.shared).await?;
        run(&mut stream, TABLE, Vec::new()).await?;
        let token = Token::generate();
        let now = now();
        let expires = new.lifetime.map(|seconds| integer(now.saturating_add(seconds)));
        let row = vec![
            Value::Text(new.name.clone()),
            Value::Text(new.grant.role().name().to_owned()),
            limits(new.grant.databases()),
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

/// Refuses, with this code, what is no name for a token or a user.
pub(super) fn check_name(name: &str, code: &str) -> Result<(), Refusal> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if (1..=63).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(Refusal::new(
        code,
        format!("{name:?} is not a name for a token or a user"),
        "use 1 to 63 of a-z, 0-9, '_', '-' and '.'",
    ))
}
