//! A form as a browser sends it: bounded, and only from a page of this server.

use axum::body::Body;

use crate::{body::next_piece, problem::Problem};

/// The most that a form may hold, in bytes; the largest is a token's list of databases.
const LIMIT: usize = 64 << 10;

/// The field that says which page a form is from.
pub const CSRF: &str = "csrf";

/// The header with which the script says the same.
pub const CSRF_HEADER: &str = "x-csrf";

/// The fields of a form, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form from a page whose forms carry this `csrf`.
    ///
    /// # Errors
    /// If it is too large, breaks off, or is from another page.
    pub async fn read(body: Body, csrf: &str) -> Result<Form, Problem> {
        let form = Form::parse(&whole(body).await?);
        if form.text(CSRF) == csrf {
            return Ok(form);
        }
        Err(foreign())
    }

    fn parse(bytes: &[u8]) -> Form {
        let pairs = form_urlencoded::parse(bytes);
        Form(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// What a field holds, without the space around it; nothing if there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }
}

/// What answers a form that is from another page than this server's, or from one of before.
pub fn foreign() -> Problem {
    Problem::new(
        "CROSS_ORIGIN",
        "this form is not from a page that the server gave you in this session",
        "open the page again, and repeat what you did",
    )
}

async fn whole(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = next_piece(&mut body).await {
        let piece = piece.map_err(|error| {
            let what = format!("the form broke off: {error}");
            Problem::new("INVALID_BODY", what, "send it again")
        })?;
        if bytes.len() + piece.len() > LIMIT {
            let what = format!("the form is larger than {LIMIT} bytes");
            return Err(Problem::new("REQUEST_TOO_LARGE", what, "enter less"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let form = Form::parse(&bytes);
            prop_assert!(form.0.len() <= bytes.len());
        }

        #[test]
        fn what_a_browser_encodes_is_read_back(fields in proptest::collection::vec((".{0,20}", ".{0,40}"), 0..5)) {
            let mut out = form_urlencoded::Serializer::new(String::new());
            for (name, value) in &fields {
                out.append_pair(name, value);
            }
            prop_assert_eq!(Form::parse(out.finish().as_bytes()), Form(fields));
        }
    }
}
