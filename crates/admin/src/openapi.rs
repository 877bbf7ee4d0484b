//! The OpenAPI 3.1 document, made from the table of routes and the schemas.

mod schemas;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    endpoint::{Content, Endpoint, Method, Needs, Route},
    problem::status_of,
};

/// The whole document, as `GET /api/v1/openapi.json` gives it.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in Endpoint::ROUTES {
        let methods = paths.entry(route.path).or_default();
        methods.insert(route.method.key().to_owned(), operation(route));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Counterpart operator API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every refusal is {\"error\":{\"code\",\"what\",\"remedy\"}}; codes are stable.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": format!("{:?}", route.endpoint),
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if route.endpoint.needs() != Needs::Nothing {
        operation["security"] = json!([{ "token": [] }]);
    }
    if route.request != Content::Nothing {
        let required = matches!(route.request, Content::SqliteFile | Content::BackupFile);
        operation["requestBody"] =
            json!({ "required": required, "content": content(route.request) });
    }
    operation
}

fn parameters(route: &Route) -> Value {
    if route.path.contains("{name}") {
        let schema = json!({ "$ref": "#/components/schemas/DatabaseName" });
        return json!([{ "name": "name", "in": "path", "required": true, "schema": schema }]);
    }
    if route.endpoint == Endpoint::Audit {
        let query = |name: &str, schema: Value| json!({ "name": name, "in": "query", "required": false, "schema": schema });
        let limit = json!({ "type": "integer", "minimum": 0, "maximum": 1000, "default": 100 });
        let before = json!({ "type": "integer", "minimum": 0, "description": "the smallest id of the page before" });
        return json!([query("limit", limit), query("before", before)]);
    }
    if route.endpoint == Endpoint::StopMirroring {
        let schema = json!({ "$ref": "#/components/schemas/ServerId" });
        return json!([{ "name": "partner", "in": "query", "required": false, "schema": schema }]);
    }
    if route.path.contains("{token}") {
        let text = json!({ "type": "string", "description": "the token's name" });
        return json!([{ "name": "token", "in": "path", "required": true, "schema": text }]);
    }
    if route.path.contains("{user}") {
        let text = json!({ "type": "string", "description": "the user's name" });
        return json!([{ "name": "user", "in": "path", "required": true, "schema": text }]);
    }
    if route.path.contains("{id}") {
        let number = json!({ "type": "integer", "minimum": 0 });
        return json!([{ "name": "id", "in": "path", "required": true, "schema": number }]);
    }
    if route.path.contains("{file}") {
        let text = json!({ "type": "string", "description": "the file's name" });
        return json!([{ "name": "file", "in": "path", "required": true, "schema": text }]);
    }
    if route.path.contains("{set}") {
        let text = json!({ "type": "string" });
        let query = |name: &str, required: bool, schema: Value| json!({ "name": name, "in": "query", "required": required, "schema": schema });
        let mut all =
            vec![json!({ "name": "set", "in": "path", "required": true, "schema": text })];
        let database = json!({ "$ref": "#/components/schemas/DatabaseName" });
        match route.endpoint {
            Endpoint::OrphanRows => {
                let limit = json!({ "type": "integer", "minimum": 0, "default": 100 });
                all.extend([query("database", false, database), query("limit", false, limit)]);
            }
            Endpoint::ExportOrphans => {
                let form = json!({ "enum": ["sqlite", "sql", "rows"], "default": "sqlite" });
                all.extend([query("database", false, database), query("form", false, form)]);
            }
            _ => {}
        }
        return json!(all);
    }
    json!([])
}

/// The success, then the refusals by status: those of this endpoint, and those of every endpoint of its kind.
fn responses(route: &Route) -> Value {
    let mut codes: Vec<&str> = route.refusals.to_vec();
    match route.endpoint.needs() {
        Needs::Nothing => {}
        Needs::SignedIn => codes.push("NOT_SIGNED_IN"),
        _ => codes.extend(["NOT_SIGNED_IN", "FORBIDDEN"]),
    }
    if matches!(route.request, Content::Json(_)) {
        codes.extend(["INVALID_BODY", "REQUEST_TOO_LARGE"]);
    }
    if route.method != Method::Get {
        codes.extend(["CROSS_ORIGIN", "SERVER_FAULT", "SERVER_STOPPING"]);
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(status_of(code).as_u16()).or_default().push(code);
    }
    let mut responses = Map::new();
    let (status, body) = route.success;
    let success = json!({ "description": "Done", "content": content(body) });
    responses.insert(status.to_string(), success);
    for (status, codes) in by_status {
        responses.insert(status.to_string(), refused(&codes.join(", ")));
    }
    responses.insert("default".to_owned(), refused("Any other refusal"));
    Value::Object(responses)
}

fn refused(description: &str) -> Value {
    json!({ "description": description, "content": content(Content::Json("Error")) })
}

fn content(content: Content) -> Value {
    match content {
        Content::Nothing => json!({}),
        Content::Json(schema) => {
            let reference = format!("#/components/schemas/{schema}");
            json!({ "application/json": { "schema": { "$ref": reference } } })
        }
        Content::SqliteFile => json!({ "application/vnd.sqlite3": {} }),
        Content::Metrics => json!({ "text/plain": {} }),
        Content::File | Content::BackupFile => json!({ "application/octet-stream": {} }),
    }
}
