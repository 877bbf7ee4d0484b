//! Whom this server lets in: the one who shows its own token, and whoever its own database knows.
//!
//! The server's own token is in a file which only whoever owns the data directory can read. It lets an operator on the machine
//! in, whatever state the server is in, and before there is anybody else.
//!
//! Whoever asks is judged by a [`Directory`] in memory. It is read again when the database has changed, so a token or login that
//! was revoked on the principal is refused from then on, and on a mirror as soon as it applies that.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use counterpart_access::{
    Claimed, Credential, Directory, Fingerprint, Guesses, Identity, JwtKeys, Login, Refused, Token,
};
use counterpart_journal as journal;
use lru::LruCache;

use super::{SystemView, hashing::Hashing};
use crate::{clock, node::Node, refusal::Refusal, settings::Settings};

/// The server's own token is in this file of the data directory.
const OWN: &str = "admin.token";

/// Logins that are good on this server alone; the oldest go.
const HERE: usize = 1000;

/// Signed tokens that are not verified anew each time.
const SEEN: NonZeroUsize = NonZeroUsize::new(1000).expect("it is not 0");

/// Whom this server lets in.
#[derive(Debug)]
pub(crate) enum SignIn {
    /// Everybody, as this one.
    NotAsked(Arc<Identity>),
    /// Who shows a token.
    Required(Box<Required>),
}

/// What it takes to know who shows a token.
#[derive(Debug)]
pub(crate) struct Required {
    /// That of the server itself.
    own: Fingerprint,
    /// Who shows that.
    admin: Arc<Identity>,
    /// The others, as of a moment.
    known: Mutex<Option<(SystemView, Arc<Directory>)>>,
    /// Who logged in while the server's own database could not be written.
    here: Mutex<HashMap<Fingerprint, Login>>,
    guesses: Mutex<Guesses>,
    pub(super) hashing: Hashing,
    signed: Option<Signed>,
}

/// Tokens that others have signed.
#[derive(Debug)]
struct Signed {
    keys: JwtKeys,
    /// What was verified lately: each request shows its token, and a signature takes long to verify.
    seen: Mutex<LruCache<Fingerprint, Claimed>>,
}

impl Signed {
    fn who(&self, text: &str, shown: Fingerprint) -> Result<Arc<Identity>, Refused> {
        let mut seen = lock(&self.seen);
        if let Some(claimed) = seen.get(&shown) {
            return claimed.who(now()).cloned();
        }
        drop(seen);
        let claimed = self.keys.verify(text)?;
        let who = claimed.who(now()).cloned();
        lock(&self.seen).put(shown, claimed);
        who
    }
}

impl SignIn {
    /// That of a server with this data directory; its own token is made if it has none.
    ///
    /// # Errors
    /// What the system says of the file.
    pub(crate) fn new(settings: &Settings) -> io::Result<SignIn> {
        if !settings.require_token {
            return Ok(SignIn::NotAsked(Identity::admin("anybody", Credential::Nothing)));
        }
        let path = settings.data.join(OWN);
        let own = match own_token(&path)? {
            Some(fingerprint) => fingerprint,
            None => make_own_token(&path)?,
        };
        Ok(SignIn::Required(Box::new(Required {
            own,
            admin: Identity::admin("admin of this machine", Credential::OwnToken),
            known: Mutex::default(),
            here: Mutex::default(),
            guesses: Mutex::default(),
            hashing: Hashing::default(),
            signed: settings
                .jwt_keys
                .clone()
                .map(|keys| Signed { keys, seen: Mutex::new(LruCache::new(SEEN)) }),
        })))
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Required {
    /// The guesses that were made lately.
    pub(super) fn guesses(&self) -> MutexGuard<'_, Guesses> {
        lock(&self.guesses)
    }

    /// Keeps a login that is good on this server, as long as it runs.
    pub(super) fn keep_here(&self, fingerprint: Fingerprint, login: Login) {
        let mut here = lock(&self.here);
        here.retain(|_, login| login.expires > now());
        if here.len() >= HERE {
            let oldest = here.iter().min_by_key(|(_, login)| login.expires);
            if let Some(oldest) = oldest.map(|(fingerprint, _)| *fingerprint) {
                here.remove(&oldest);
            }
        }
        here.insert(fingerprint, login);
    }

    fn who(&self, directory: &Directory, shown: Fingerprint) -> Result<Arc<Identity>, Refused> {
        let found = match directory.who(Some(shown), now()) {
            Err(Refused::Unknown) => match lock(&self.here).get(&shown) {
                Some(login) => directory.logged_in(login, now()),
                None => Err(Refused::Unknown),
            },
            found => found,
        };
        found.cloned()
    }
}

impl Node {
    /// Who shows this token, or nothing. Where no token is required, everybody is an admin.
    ///
    /// # Errors
    /// `NOT_SIGNED_IN`, or why it can't be told now.
    pub async fn who(&self, shown: Option<&str>) -> Result<Arc<Identity>, Refusal> {
        let required = match &self.sign_in {
            SignIn::NotAsked(anybody) => return Ok(Arc::clone(anybody)),
            SignIn::Required(required) => required,
        };
        let Some(text) = shown else {
            return Err(not_signed_in(Refused::NothingShown));
        };
        let shown = Fingerprint::of(text);
        if shown == required.own {
            return Ok(Arc::clone(&required.admin));
        }
        if let Some(signed) = required.signed.as_ref().filter(|_| JwtKeys::is_one(text)) {
            return signed.who(text, shown).map_err(not_signed_in);
        }
        let directory = self.directory(required).await?;
        required.who(&directory, shown).map_err(not_signed_in)
    }

    /// Everybody whom the server's own database knows.
    pub(super) async fn directory(&self, required: &Required) -> Result<Arc<Directory>, Refusal> {
        if let Some((view, directory)) = &*lock(&required.known)
            && self.is_current(view)
        {
            return Ok(Arc::clone(directory));
        }
        let view = self.view_system();
        let mut directory = Directory::default();
        self.read_tokens_into(&mut directory).await?;
        self.read_users_into(&mut directory).await?;
        let directory = Arc::new(directory);
        *lock(&required.known) = Some((view, Arc::clone(&directory)));
        Ok(directory)
    }
}

/// This second of UTC, since 1970.
pub(super) fn now() -> u64 {
    clock::unix_now().0 / 1_000_000
}

fn not_signed_in(why: Refused) -> Refusal {
    Refusal::new(
        "NOT_SIGNED_IN",
        why.to_string(),
        "log in (`counterpart login`), or show a token that `counterpart token create` made, as `authorization: Bearer …` or the client's authToken",
    )
}
