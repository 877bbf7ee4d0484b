//! What a client or operator is told when something cannot be done: a stable code, what is wrong, what to do.

use std::{fmt, sync::Arc, time::Duration};

use counterpart_access::Identity;

/// A refusal: one sentence of what, one of what to do, and a code that scripts may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    code: String,
    what: String,
    remedy: String,
    retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal with its parts. `what` and `remedy` are sentences without the final full stop.
    pub fn new(
        code: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Refusal {
        let (code, what, remedy) = (code.into(), what.into(), remedy.into());
        Refusal(Arc::new(Parts { code, what, remedy, retry_after: None }))
    }

    /// The same, for somebody who is to wait for so many seconds.
    #[must_use]
    pub fn after(self, seconds: u64) -> Refusal {
        let Parts { code, what, remedy, .. } = &*self.0;
        let (code, what, remedy) = (code.clone(), what.clone(), remedy.clone());
        Refusal(Arc::new(Parts { code, what, remedy, retry_after: Some(seconds) }))
    }

    /// For how many seconds whoever is refused is to wait, if that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.0.retry_after
    }

    /// The stable code, for example `READ_ONLY_MIRROR`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// What is wrong.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.0.remedy
    }

    /// The server is shutting down.
    #[must_use]
    pub fn stopping() -> Refusal {
        Refusal::new(
            "SERVER_STOPPING",
            "the server is shutting down",
            "connect again when it is back, or to its partner",
        )
    }

    /// A write reached a mirror.
    #[must_use]
    pub fn read_only_mirror(principal: &str) -> Refusal {
        Refusal::new(
            "READ_ONLY_MIRROR",
            "this server is a mirror and takes no writes",
            format!("write to the principal at {principal}"),
        )
    }

    /// Somebody may not do `what`: that completes "and may not".
    #[must_use]
    pub fn forbidden(identity: &Identity, what: &str) -> Refusal {
        Refusal::new(
            "FORBIDDEN",
            format!("{} is {} here, and may not {what}", identity.name, identity.grant.role()),
            "ask an admin for a token that allows it (`counterpart token create`)",
        )
    }

    /// Whether a transaction is final can't be told here any more; `what` says why.
    #[must_use]
    pub fn not_confirmed(what: impl Into<String>) -> Refusal {
        Refusal::new(
            "NOT_CONFIRMED",
            what,
            "ask the new principal whether the transaction is there before running it again",
        )
    }

    /// The stream or its transaction is gone.
    #[must_use]
    pub fn stream_expired(why: &str) -> Refusal {
        Refusal::new("STREAM_EXPIRED", why, "open a new stream and run the transaction again")
    }

    /// The stream's transaction kept the WAL from beginning anew for longer than `most`.
    #[must_use]
    pub fn open_too_long(most: Duration) -> Refusal {
        let limit = most.as_secs_f32();
        Refusal::stream_expired(&format!(
            "the transaction was open for more than {limit} s and was rolled back, so that the WAL can shrink"
        ))
    }
}

/// The core's sentences begin with a capital; behind a semicolon that would be one too many.
fn uncapitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => sentence.to_owned(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.0.what, uncapitalized(&self.0.remedy))
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_one_sentence() {
        let text = |remedy: &str| Refusal::new("CODE", "this is wrong", remedy).to_string();
        assert_eq!(text("Write to the principal"), "this is wrong; write to the principal");
        assert_eq!(text("WAL files are big"), "this is wrong; WAL files are big");
        assert_eq!(text("`x`"), "this is wrong; `x`");
        assert_eq!(text(""), "this is wrong; ");
    }
}
