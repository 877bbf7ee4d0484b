//! A SQLite value.
//!
//! ```text
//! {"type":"null"}
//! {"type":"integer","value":"-9223372036854775808"}   decimal string
//! {"type":"float","value":0.5}                        also 1e999 and -1e999
//! {"type":"text","value":"…"}
//! {"type":"blob","base64":"AQI="}                     standard alphabet
//! ```
//!
//! **Floats.** JSON has no infinity, and the protocol names no substitute. An infinity is written as
//! the number `1e999` or `-1e999`: valid JSON, read as infinity by every reader that rounds to the
//! nearest double (JavaScript, Python, Go's and C's `strtod`), and what SQLite itself writes.
//! A reader that refuses out-of-range numbers (Rust's serde_json) reports an error, as it would for
//! the `null` that others send; but nobody reads a wrong value. SQLite has no NaN: it stores NULL,
//! and so a NaN is written as `{"type":"null"}`.
//!
//! **Blobs** are written with padding, which every reader accepts, and read with or without.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error as _, Unexpected};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{field, text_int};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A value of one of SQLite's five storage classes.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// NULL
    Null,
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float, infinities included. A NaN is written as NULL.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// About the bytes that it takes in an answer, 8 at least.
    pub(crate) fn size(&self) -> u64 {
        let length = match self {
            Self::Null | Self::Integer(_) | Self::Float(_) => 8,
            Self::Text(value) => value.len().max(8),
            Self::Blob(value) => value.len().max(8),
        };
        length as u64
    }
}

impl fmt::Debug for Value {
    /// Long texts and blobs are shortened: a value ends up in logs only for its shape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) if value.len() > 80 => write!(f, "text of {} bytes", value.len()),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Blob(value) => write!(f, "blob of {} bytes", value.len()),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = match self {
            Self::Null => "null",
            Self::Float(value) if value.is_nan() => "null",
            Self::Integer(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        };
        let fields = if kind == "null" { 1 } else { 2 };
        let mut object = serializer.serialize_struct("Value", fields)?;
        object.serialize_field("type", kind)?;
        match self {
            Self::Null => {}
            Self::Integer(value) => object.serialize_field("value", &value.to_string())?,
            Self::Float(value) if value.is_nan() => {}
            Self::Float(value) if value.is_infinite() => {
                let literal = if *value > 0.0 { "1e999" } else { "-1e999" };
                let raw: &RawValue = serde_json::from_str(literal).expect("a number is JSON");
                object.serialize_field("value", raw)?;
            }
            Self::Float(value) => object.serialize_field("value", value)?,
            Self::Text(value) => object.serialize_field("value", value)?,
            Self::Blob(value) => object.serialize_field("base64", &BASE64.encode(value))?,
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Null,
            Integer,
            Float,
            Text,
            Blob,
        }

        // `value` stays as written until the type is known: what `1` means depends on it, and a
        // number beyond the range of a double must reach `float` below unread.
        #[derive(Deserialize)]
        struct Flat<'a> {
            #[serde(rename = "type")]
            kind: Kind,
            #[serde(borrow, default)]
            value: Option<&'a RawValue>,
            #[serde(default)]
            base64: Option<String>,
        }

        let flat = Flat::deserialize(deserializer)?;
        match flat.kind {
            Kind::Null => Ok(Self::Null),
            Kind::Integer => {
                text(flat.value).and_then(|text| text_int::parse(&text)).map(Self::Integer)
            }
            Kind::Float => float(field(flat.value, "value")?.get()).map(Self::Float),
            Kind::Text => text(flat.value).map(Self::Text),
            Kind::Blob => {
                let base64: String = field(flat.base64, "base64")?;
                BASE64.decode(&base64).map(Self::Blob).map_err(|error| {
                    D::Error::custom(format_args!("a blob's base64 is not valid: {error}"))
                })
            }
        }
    }
}

/// A JSON string.
fn text<E: serde::de::Error>(value: Option<&RawValue>) -> Result<String, E> {
    let raw = field(value, "value")?.get();
    serde_json::from_str(raw).map_err(|error| {
        if raw.starts_with('"') {
            // Half of a surrogate pair, say.
            return E::custom(format_args!("a value's string is not valid: {error}"));
        }
        E::invalid_type(Unexpected::Other(shape(raw)), &"a string as the value")
    })
}

/// A JSON number, rounded to the nearest double, which beyond the range of doubles is an infinity.
fn float<E: serde::de::Error>(raw: &str) -> Result<f64, E> {
    let is_number = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match raw.parse() {
        Ok(value) if is_number => Ok(value),
        _ => {
            let expected = "a number as the value (1e999 and -1e999 stand for the infinities)";
            Err(E::invalid_type(Unexpected::Other(shape(raw)), &expected))
        }
    }
}

/// What a piece of JSON is, without its content, which may be long or secret.
fn shape(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Value, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn write(value: Value) -> String {
        serde_json::to_string(&value).expect("a value is always JSON")
    }

    #[test]
    fn integers_are_decimal_strings_over_the_whole_range() {
        for value in [0, -1, 1 << 53, (1 << 53) + 1, i64::MIN, i64::MAX] {
            let json = format!(r#"{{"type":"integer","value":"{value}"}}"#);
            assert_eq!(write(Value::Integer(value)), json);
            assert_eq!(read(&json), Ok(Value::Integer(value)));
        }
        for wrong in [r#""9223372036854775808""#, r#""1.0""#, r#""""#, "1", "null", r#""0x1""#] {
            let error = read(&format!(r#"{{"type":"integer","value":{wrong}}}"#));
            assert!(error.is_err(), "{wrong} was read as {error:?}");
        }
    }

    #[test]
    fn infinities_are_numbers_beyond_the_range_of_doubles() {
        for (value, json) in [
            (f64::INFINITY, r#"{"type":"float","value":1e999}"#),
            (f64::NEG_INFINITY, r#"{"type":"float","value":-1e999}"#),
        ] {
            assert_eq!(write(Value::Float(value)), json);
            assert_eq!(read(json), Ok(Value::Float(value)));
        }
    }

    #[test]
    fn nan_is_written_as_null_as_sqlite_stores_it() {
        assert_eq!(write(Value::Float(f64::NAN)), r#"{"type":"null"}"#);
    }

    #[test]
    fn float_is_a_number_and_nothing_else() {
        assert_eq!(read(r#"{"type":"float","value":1}"#), Ok(Value::Float(1.0)));
        assert!(read(r#"{"type":"float","value":null}"#).unwrap_err().contains("`value`"));
        for wrong in [r#""1""#, r#""inf""#, "true", "[]"] {
            let error = read(&format!(r#"{{"type":"float","value":{wrong}}}"#)).unwrap_err();
            assert!(error.contains("expected a number"), "{error}");
        }
    }

    #[test]
    fn blobs_are_written_padded_and_read_either_way() {
        assert_eq!(write(Value::Blob(vec![1])), r#"{"type":"blob","base64":"AQ=="}"#);
        for text in ["AQ==", "AQ"] {
            let json = format!(r#"{{"type":"blob","base64":"{text}"}}"#);
            assert_eq!(read(&json), Ok(Value::Blob(vec![1])));
        }
        assert!(read(r#"{"type":"blob","base64":"A*=="}"#).unwrap_err().contains("not valid"));
        assert!(read(r#"{"type":"blob","value":"AQ=="}"#).unwrap_err().contains("`base64`"));
    }

    #[test]
    fn the_order_of_fields_and_unknown_fields_do_not_matter() {
        let json = r#"{"extra":[1,{"a":2}],"value":"x\u00e9\n","type":"text"}"#;
        assert_eq!(read(json), Ok(Value::Text("xé\n".into())));
    }

    #[test]
    fn a_string_that_is_no_text_is_told_from_what_is_no_string() {
        let error = read(r#"{"type":"text","value":"\ud800"}"#).unwrap_err();
        assert!(error.contains("string is not valid"), "{error}");
        let error = read(r#"{"type":"text","value":5}"#).unwrap_err();
        assert!(error.contains("expected a string"), "{error}");
    }

    #[test]
    fn a_type_that_is_unknown_or_missing_is_named() {
        assert!(read(r#"{"type":"date","value":"x"}"#).unwrap_err().contains("`date`"));
        assert!(read(r#"{"value":"x"}"#).unwrap_err().contains("`type`"));
        assert!(read(r#"{"type":"text"}"#).unwrap_err().contains("`value`"));
    }
}
