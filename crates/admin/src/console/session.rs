//! Who is signed in: sessions in memory, by the fingerprint of what their cookie holds.
//!
//! - A session holds a token and decides nothing: with each request the server is asked anew whose token that is.
//! - It ends [`LIFETIME`] after it began, however busy it is, and with the process.
//! - There are at most [`MOST`]; the oldest makes room.

use std::{collections::HashMap, sync::Arc, time::Duration};

use counterpart_access::Fingerprint;

/// How long one is signed in: a long shift.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3_600);

/// Sessions at a time. Each takes some hundred bytes; more than this is nobody's team.
const MOST: usize = 1_000;

/// A secret of 32 random bytes, as 64 hexadecimal digits.
///
/// # Panics
/// If the system has no random numbers, without which no secret can be made.
pub fn secret() -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One browser that is signed in.
#[derive(Clone)]
pub struct Session {
    /// What it signed in with.
    pub token: Arc<str>,
    /// What each of its forms carries.
    pub csrf: Arc<str>,
    began: Duration,
}

/// All of them. `now` is the time since the process began.
#[derive(Default)]
pub struct Sessions(HashMap<Fingerprint, Session>);

impl Sessions {
    /// Begins one; what its cookie is to hold.
    pub fn begin(&mut self, token: &str, now: Duration) -> String {
        self.0.retain(|_, session| now.saturating_sub(session.began) < LIFETIME);
        while self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.began);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            self.0.remove(&oldest);
        }
        let cookie = secret();
        let session = Session { token: token.into(), csrf: secret().into(), began: now };
        self.0.insert(Fingerprint::of(&cookie), session);
        cookie
    }

    /// The session of a cookie, while it lasts.
    pub fn get(&self, cookie: &str, now: Duration) -> Option<Session> {
        let found = self.0.get(&Fingerprint::of(cookie))?;
        (now.saturating_sub(found.began) < LIFETIME).then(|| found.clone())
    }

    /// Ends one.
    pub fn end(&mut self, cookie: &str) {
        self.0.remove(&Fingerprint::of(cookie));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_is_found_by_its_cookie_alone_until_its_time_is_over_or_it_is_ended() {
        let mut sessions = Sessions::default();
        let (one, other) = (sessions.begin("a", SECOND), sessions.begin("b", SECOND));
        let token = |sessions: &Sessions, cookie: &str, now| {
            sessions.get(cookie, now).map(|session| session.token.to_string())
        };
        assert_eq!(token(&sessions, &one, SECOND).as_deref(), Some("a"));
        assert_eq!(token(&sessions, &other, LIFETIME).as_deref(), Some("b"));
        assert_eq!(token(&sessions, &one, LIFETIME + SECOND), None);
        assert_eq!(token(&sessions, "", SECOND), None);
        sessions.end(&one);
        assert_eq!(token(&sessions, &one, SECOND), None);
        assert_eq!(token(&sessions, &other, SECOND).as_deref(), Some("b"));
    }

    #[test]
    fn the_oldest_makes_room_and_no_two_share_a_secret() {
        let mut sessions = Sessions::default();
        let began = |number: usize| SECOND * u32::try_from(number).unwrap();
        let cookies: Vec<String> = (0..=MOST).map(|n| sessions.begin("t", began(n))).collect();
        assert_eq!(sessions.0.len(), MOST);
        let now = began(MOST);
        assert!(sessions.get(&cookies[0], now).is_none());
        let forms: std::collections::HashSet<_> = cookies[1..]
            .iter()
            .map(|cookie| sessions.get(cookie, now).expect("it lasts").csrf)
            .collect();
        assert_eq!(forms.len(), MOST);
        assert!(!forms.contains(cookies[1].as_str()));
    }
}
