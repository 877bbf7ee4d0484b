//! The list of rows as SQL: statements that make another database's rows what the orphans' are.
//!
//! For an operator to read, choose from and run on the principal; nothing runs them by itself. Schema differences
//! are comments, because running them unread could destroy what the new principal has.

use std::io::{self, BufRead};

use serde_json::{Map, Value};

/// All statements, in one transaction.
pub(super) fn statements(rows: impl BufRead) -> io::Result<String> {
    let mut text = String::from(
        "-- Makes the rows what the orphans' are. Read it, and delete what you do not want, before you run it.\n\
         BEGIN IMMEDIATE;\n",
    );
    for line in rows.lines() {
        let row: Value = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let statement = statement(&row).ok_or_else(|| {
            io::Error::other("a line of the list of rows has not the fields that it should have")
        })?;
        text += &statement;
        text.push('\n');
    }
    text += "COMMIT;\n";
    Ok(text)
}

fn statement(row: &Value) -> Option<String> {
    let object = |name: &str| row.get(name)?.as_object();
    let table = row.get("table").and_then(Value::as_str).map(quoted);
    Some(match row.get("change")?.as_str()? {
        "schema" => {
            let name = row.get("name")?.as_str()?;
            let was = row.get("orphans").and_then(Value::as_str).unwrap_or("not there");
            let is = row.get("here").and_then(Value::as_str).unwrap_or("not there");
            let told = format!("{name}: the orphans have {was}; this server has {is}");
            // Line by line, or the definition's second line would be run.
            told.lines().map(|line| format!("-- {line}")).collect::<Vec<_>>().join("\n")
        }
        "inserted" => {
            let mut values = object("orphans")?.clone();
            // A rowid that is no column is part of what the row was.
            values.extend(object("key")?.clone());
            let names = values.keys().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let values = values.values().map(literal).collect::<Option<Vec<_>>>()?.join(", ");
            format!("INSERT INTO {}({names}) VALUES ({values});", table?)
        }
        "updated" => {
            let (file, here) = (object("orphans")?, object("here")?);
            let changed = file.iter().filter(|(name, value)| here.get(*name) != Some(value));
            let set = changed
                .map(|(name, value)| Some(format!("{} = {}", quoted(name), literal(value)?)))
                .collect::<Option<Vec<_>>>()?;
            format!("UPDATE {} SET {} WHERE {};", table?, set.join(", "), is(object("key")?)?)
        }
        "deleted" => format!("DELETE FROM {} WHERE {};", table?, is(object("key")?)?),
        _ => return None,
    })
}

fn is(key: &Map<String, Value>) -> Option<String> {
    let parts = key
        .iter()
        .map(|(name, value)| Some(format!("{} IS {}", quoted(name), literal(value)?)))
        .collect::<Option<Vec<_>>>()?;
    Some(parts.join(" AND "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "NULL".to_owned(),
        Value::Number(number) => number.to_string(),
        // SQLite ends a text at a zero byte wherever it parses one.
        Value::String(text) if text.contains('\0') => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("CAST(x'{hex}' AS TEXT)")
        }
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Object(one) => match (one.get("blob"), one.get("real")) {
            (Some(hex), None) => format!("x'{}'", hex.as_str()?),
            (None, Some(Value::Number(number))) => {
                let number = number.as_f64()?;
                if number.fract() == 0.0 { format!("{number:.1}") } else { format!("{number:?}") }
            }
            (None, Some(Value::String(word))) => match word.as_str() {
                "inf" => "9e999".to_owned(),
                "-inf" => "-9e999".to_owned(),
                _ => return None,
            },
            _ => return None,
        },
        Value::Bool(_) | Value::Array(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        let text = statements(line.as_bytes()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        lines[2..lines.len() - 1].join("\n")
    }

    #[test]
    fn rows_become_statements() {
        let inserted = r#"{"change":"inserted","table":"t","key":{"rowid":7},"orphans":{"a":"it's","b":{"real":1.0}},"here":null}"#;
        assert_eq!(
            one(inserted),
            r#"INSERT INTO "t"("a", "b", "rowid") VALUES ('it''s', 1.0, 7);"#
        );
        let updated = r#"{"change":"updated","table":"t","key":{"id":1},"orphans":{"id":1,"v":{"blob":"00ff"}},"here":{"id":1,"v":null}}"#;
        assert_eq!(one(updated), r#"UPDATE "t" SET "v" = x'00ff' WHERE "id" IS 1;"#);
        let deleted = r#"{"change":"deleted","table":"a\"b","key":{"k":null,"l":{"real":"inf"}},"orphans":null,"here":{}}"#;
        assert_eq!(one(deleted), r#"DELETE FROM "a""b" WHERE "k" IS NULL AND "l" IS 9e999;"#);
    }

    #[test]
    fn a_changed_schema_is_only_a_comment() {
        let schema =
            r#"{"change":"schema","name":"t","orphans":"CREATE TABLE t(\n a)","here":null}"#;
        assert!(one(schema).lines().all(|line| line.starts_with("-- ")), "{}", one(schema));
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        assert!(statements(&b"{\"change\":\"inserted\"}"[..]).is_err());
        assert!(statements(&b"nonsense"[..]).is_err());
    }
}
