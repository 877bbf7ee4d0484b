//! 64-bit integers travel as decimal strings, because some JSON readers round numbers beyond 2^53.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

pub(super) fn serialize<S: Serializer>(
    value: &Option<i64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(|value| value.to_string()).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    let text = Option::<Text<'de>>::deserialize(deserializer)?;
    text.map(|text| parse(&text.0)).transpose()
}

/// Reads a decimal string in the range of `i64`.
pub(super) fn parse<E: serde::de::Error>(text: &str) -> Result<i64, E> {
    text.parse().map_err(|_| {
        let expected = "a decimal string from -9223372036854775808 to 9223372036854775807";
        E::invalid_value(serde::de::Unexpected::Str(text), &expected)
    })
}
