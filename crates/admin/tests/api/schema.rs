//! As much of JSON Schema as the API's own document uses. A keyword that is not known here fails the test, so that
//! the document cannot promise something that nobody checks.

use serde_json::Value;

/// Why `value` does not have the shape `schema`; `root` holds what is referred to.
pub fn mismatch(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    let fields = schema.as_object().expect("a schema is an object");
    for (keyword, rule) in fields {
        let failed = match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target =
                    root.pointer(pointer).unwrap_or_else(|| panic!("{rule} leads nowhere"));
                mismatch(root, target, value)
            }
            "type" => (!has_type(rule, value)).then(|| format!("{value} is not {rule}")),
            "const" => (rule != value).then(|| format!("{value} is not {rule}")),
            "enum" => (!rule.as_array().unwrap().contains(value))
                .then(|| format!("{value} not in {rule}")),
            "required" => missing(rule, value),
            "properties" => wrong_property(root, rule, value),
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false));
                unknown_property(&schema["properties"], value)
            }
            "items" => value.as_array()?.iter().find_map(|item| mismatch(root, rule, item)),
            "minimum" => {
                (value.as_f64()? < rule.as_f64().unwrap()).then(|| format!("{value} < {rule}"))
            }
            "anyOf" => {
                let why: Vec<_> =
                    rule.as_array()?.iter().map(|one| mismatch(root, one, value)).collect();
                (!why.iter().any(Option::is_none)).then(|| format!("{value} is none of {why:?}"))
            }
            // Names and identities are types with parsers of their own, which have their own tests.
            "pattern" | "description" => None,
            other => panic!("the keyword {other} is not checked by anybody"),
        };
        if failed.is_some() {
            return failed;
        }
    }
    None
}

fn has_type(rule: &Value, value: &Value) -> bool {
    if let Some(any) = rule.as_array() {
        return any.iter().any(|one| has_type(one, value));
    }
    match rule.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("no such type: {other}"),
    }
}

fn missing(required: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    let mut names = required.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    names
        .find(|name| !fields.contains_key(*name))
        .map(|name| format!("{name} is missing in {value}"))
}

fn wrong_property(root: &Value, properties: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    fields.iter().find_map(|(name, field)| {
        let why = mismatch(root, properties.get(name)?, field)?;
        Some(format!("{name}: {why}"))
    })
}

fn unknown_property(properties: &Value, value: &Value) -> Option<String> {
    let fields = value.as_object()?;
    fields
        .keys()
        .find(|name| properties.get(name).is_none())
        .map(|name| format!("{name} is unknown"))
}
