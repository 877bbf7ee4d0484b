//! The list of rows as SQL: statements that make another database's rows what the orphans' are.
//!
//! For an operator to read, choose from and run on the principal; nothing runs them by itself. Changed definitions are
//! comments, because running them unread could destroy what the new principal has; so is what lies behind a virtual
//! table, which would be damaged by it. A table that only the orphans have is made: that takes nothing away.

use std::io::{self, BufRead, Write};

use serde_json::{Map, Value};

/// What stands before the statements. An action of a foreign key would change rows that are not listed.
const HEAD: &str = "\
-- Makes the rows what the orphans' are. Read it, and delete what you do not want, before you run it.
-- What triggers wrote is listed like everything else: have them not fire, or delete what they will write. In the sqlite3
-- shell, that is `.dbconfig enable_trigger off`; and `.bail on` has it stop at the first error.
PRAGMA foreign_keys = OFF;
BEGIN IMMEDIATE;
";

/// Writes all statements, in one transaction.
pub(super) fn write_statements(rows: impl BufRead, to: &mut impl Write) -> io::Result<()> {
    to.write_all(HEAD.as_bytes())?;
    for line in rows.lines() {
        let row: Value = serde_json::from_str(&line?).map_err(io::Error::other)?;
        let statement = statement(&row).ok_or_else(|| {
            io::Error::other("a line of the list of rows has not the fields that it should have")
        })?;
        writeln!(to, "{statement}")?;
    }
    to.write_all(b"COMMIT;\n")
}

fn statement(row: &Value) -> Option<String> {
    let change = row.get("change")?.as_str()?;
    if change == "schema" {
        return schema(row);
    }
    let statement = of_row(row, change)?;
    Some(if row.get("shadow") == Some(&Value::Bool(true)) {
        commented(&format!("behind a virtual table: {statement}"))
    } else {
        statement
    })
}

fn schema(row: &Value) -> Option<String> {
    let name = row.get("name")?.as_str()?;
    let was = row.get("orphans").and_then(Value::as_str);
    let is = row.get("here").and_then(Value::as_str);
    if let (Some(definition), Some(Value::Bool(true))) = (was, row.get("new_table")) {
        // A comment at its end would make the semicolon one.
        return Some(format!("{definition}\n;"));
    }
    let (was, is) = (was.unwrap_or("not there"), is.unwrap_or("not there"));
    Some(commented(&format!("{name}: the orphans have {was}; this server has {is}")))
}

/// Line by line, or the second line would be run.
fn commented(text: &str) -> String {
    text.split(['\n', '\r']).map(|line| format!("-- {line}")).collect::<Vec<_>>().join("\n")
}

fn of_row(row: &Value, change: &str) -> Option<String> {
    let object = |name: &str| row.get(name)?.as_object();
    let table = quoted(row.get("table")?.as_str()?);
    Some(match change {
        "inserted" => {
            let mut values = object("orphans")?.clone();
            // A rowid that is no column is part of what the row was.
            values.extend(object("key")?.clone());
            let names = values.keys().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
            let values = values.values().map(literal).collect::<Option<Vec<_>>>()?.join(", ");
            format!("INSERT INTO {table}({names}) VALUES ({values});")
        }
        "updated" => {
            let (file, here) = (object("orphans")?, object("here")?);
            let changed = file.iter().filter(|(name, value)| here.get(*name) != Some(value));
            let set = changed
                .map(|(name, value)| Some(format!("{} = {}", quoted(name), literal(value)?)))
                .collect::<Option<Vec<_>>>()?;
            format!("UPDATE {table} SET {} WHERE {};", set.join(", "), is(object("key")?)?)
        }
        "deleted" => format!("DELETE FROM {table} WHERE {};", is(object("key")?)?),
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
            let parts = text.split('\0').map(|part| format!("'{}'", part.replace('\'', "''")));
            format!("({})", parts.collect::<Vec<_>>().join(" || char(0) || "))
        }
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Object(one) => match (one.get("blob"), one.get("real")) {
            (Some(hex), None) => format!("x'{}'", hex.as_str()?),
            // Shortest digits that mean this number, and always a point or an exponent.
            (None, Some(Value::Number(number))) => format!("{:?}", number.as_f64()?),
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
        let mut text = Vec::new();
        write_statements(line.as_bytes(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let statements = text.strip_prefix(HEAD).unwrap().strip_suffix("COMMIT;\n").unwrap();
        statements.trim_end().to_owned()
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
    fn what_lies_behind_a_virtual_table_is_only_a_comment() {
        let row = r#"{"change":"deleted","table":"f_data","shadow":true,"key":{"id":"a\nb\rc"},"orphans":null,"here":{}}"#;
        assert!(one(row).split(['\n', '\r']).all(|line| line.starts_with("-- ")), "{}", one(row));
    }

    #[test]
    fn a_table_that_only_the_orphans_have_is_made() {
        let schema = r#"{"change":"schema","name":"t","new_table":true,"orphans":"CREATE TABLE t(a) -- mine","here":null}"#;
        assert_eq!(one(schema), "CREATE TABLE t(a) -- mine\n;");
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        let refused = |line: &str| write_statements(line.as_bytes(), &mut Vec::new()).is_err();
        assert!(refused("{\"change\":\"inserted\"}"));
        assert!(refused("nonsense"));
    }
}
