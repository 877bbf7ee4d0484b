//! Reading the status document. Tolerant: another version of the server may leave fields out or add some, and a
//! status that shows less is better than none.

use serde_json::Value;

/// The text at this pointer.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

/// The whole number at this pointer.
pub fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer)?.as_u64()
}

/// The number at this pointer.
pub fn decimal(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer)?.as_f64()
}

/// A server's or partner's identity.
pub fn server(value: &Value) -> Option<&str> {
    text(value, "/server")
}

/// A server's role.
pub fn role(status: &Value) -> &str {
    text(status, "/role").unwrap_or("unknown")
}

/// Where clients and operators reach a server or partner.
pub fn client_url(value: &Value) -> Option<&str> {
    text(value, "/client_url")
}

/// Where partners reach a server or partner.
pub fn partner_address(value: &Value) -> Option<&str> {
    text(value, "/partner_address")
}

/// The session, if there is one.
pub fn session(status: &Value) -> Option<&str> {
    text(status, "/mirroring/session")
}

/// The partners of a server: its mirrors, or its principal.
pub fn partners(status: &Value) -> &[Value] {
    status.pointer("/mirroring/partners").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The partner with this identity.
pub fn partner<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    partners(status).iter().find(|partner| server(partner) == Some(id))
}

/// A last error in words: what, and what to do.
pub fn last_error(value: &Value) -> Option<(String, String)> {
    let what = text(value, "/last_error/what")?;
    let remedy = text(value, "/last_error/remedy").unwrap_or_default();
    Some((what.to_owned(), remedy.to_owned()))
}
