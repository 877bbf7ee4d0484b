//! Reading the status document. Tolerant: another version of the server may leave fields out or add some, and a
//! status that shows less is better than none.

use serde_json::Value;

/// The text at the first of these pointers that has one.
pub fn text<'a>(value: &'a Value, pointers: &[&str]) -> Option<&'a str> {
    pointers.iter().find_map(|pointer| value.pointer(pointer)?.as_str())
}

/// The whole number at the first of these pointers that has one.
pub fn number(value: &Value, pointers: &[&str]) -> Option<u64> {
    pointers.iter().find_map(|pointer| value.pointer(pointer)?.as_u64())
}

/// The number at the first of these pointers that has one.
pub fn decimal(value: &Value, pointers: &[&str]) -> Option<f64> {
    pointers.iter().find_map(|pointer| value.pointer(pointer)?.as_f64())
}

/// A server's or partner's identity.
pub fn server(value: &Value) -> Option<&str> {
    text(value, &["/server", "/address/server"])
}

/// A server's role.
pub fn role(status: &Value) -> &str {
    text(status, &["/role"]).unwrap_or("unknown")
}

/// Where clients and operators reach a server or partner.
pub fn client_url(value: &Value) -> Option<&str> {
    text(value, &["/client_url", "/address/client_url"])
}

/// Where partners reach a server or partner: what it advertises, else where it listens.
pub fn partner_address(value: &Value) -> Option<&str> {
    text(
        value,
        &[
            "/partner_address",
            "/address/partner_address",
            "/mirroring/partner_address",
            "/partner_listen",
        ],
    )
}

/// The session, if there is one.
pub fn session(status: &Value) -> Option<&str> {
    text(status, &["/mirroring/session"]).filter(|id| id.bytes().any(|b| b != b'0'))
}

/// The partners of a server: its mirrors, or its principal.
pub fn partners(status: &Value) -> &[Value] {
    let listed = ["/mirroring/partners", "/mirroring/mirrors"];
    let found = listed.iter().find_map(|pointer| status.pointer(pointer)?.as_array());
    found.map_or(&[], Vec::as_slice)
}

/// The partner with this identity.
pub fn partner<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    partners(status).iter().find(|partner| server(partner) == Some(id))
}

/// A last error in words: what, and what to do.
pub fn last_error(value: &Value) -> Option<(String, String)> {
    let what = text(value, &["/last_error/what"])?;
    let remedy = text(value, &["/last_error/remedy"]).unwrap_or_default();
    Some((what.to_owned(), remedy.to_owned()))
}
