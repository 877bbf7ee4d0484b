//! What the OpenAPI document says is what is served, and nothing else is.

use crate::{schema, wire::Api};
use counterpart_node::Refusal;
use serde_json::{Value, json};

/// A request that each endpoint takes: path parameters filled in, and a body.
fn sample(operation: &str) -> (&'static str, Value) {
    let (a, b) = ("00000000000000aa", "00000000000000bb");
    match operation {
        "CreateDatabase" => ("", json!({ "name": "sales" })),
        "Probe" => ("", json!({ "partner_address": "b:6481" })),
        "CheckJoin" => ("", json!({ "replace": false, "bytes": 4096 })),
        "Join" => (
            "",
            json!({ "session": b, "principal": a, "principal_partner_address": "a:6481",
                    "principal_client_url": "http://a:6480", "replace": true }),
        ),
        "AddPartner" => (
            "",
            json!({ "session": b, "server": b, "partner_address": "b:6481",
                    "client_url": "http://b:6480", "safety": "off" }),
        ),
        "CompareChecksums" => {
            let one = json!({ "id": 1, "name": "main", "lsn": 7, "checksum": "00000000000000ff" });
            ("", json!({ "databases": [one] }))
        }
        "Failover" => ("", json!({ "to": b })),
        "CreateToken" => ("", json!({ "name": "shop", "role": "reader", "databases": ["main"] })),
        "CreateUser" => {
            ("", json!({ "name": "anna", "role": "operator", "password": "correct horse" }))
        }
        "SetPassword" => ("", json!({ "password": "correct horse" })),
        "Login" => ("", json!({ "name": "anna", "password": "correct horse" })),
        "Suspend" | "Resume" => ("", json!({ "partner": b })),
        "ExportOrphans" => ("?form=sql&database=main", Value::Null),
        "OrphanRows" => ("?limit=5", Value::Null),
        "Audit" => ("?limit=5&before=7", Value::Null),
        "StopMirroring" => ("?partner=00000000000000bb", Value::Null),
        _ => ("", Value::Null),
    }
}

pub struct Call {
    pub operation: String,
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    pub described: Value,
}

pub fn all_calls(document: &Value) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let operation = described["operationId"].as_str().unwrap().to_owned();
            let (query, body) = sample(&operation);
            let body = if ["ImportDatabase", "TakeBackup"].contains(&operation.as_str()) {
                b"SQLite format 3\0".to_vec()
            } else if body.is_null() {
                Vec::new()
            } else {
                body.to_string().into_bytes()
            };
            calls.push(Call {
                operation,
                method: method.to_uppercase(),
                path: path
                    .replace("{name}", "main")
                    .replace("{set}", "1.2-5-6")
                    .replace("{id}", "3")
                    .replace("{file}", "main.db")
                    .replace("{token}", "shop")
                    .replace("{user}", "anna")
                    + query,
                body,
                described: described.clone(),
            });
        }
    }
    assert_eq!(calls.len(), 48);
    calls
}

#[test]
fn the_served_document_is_the_one_that_the_crate_gives() {
    let api = Api::start();
    let reply = api.call("GET", "/api/v1/openapi.json", "");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json(), counterpart_admin::openapi_document());
}

#[test]
fn every_documented_route_answers_with_the_documented_status_and_shape() {
    let api = Api::start();
    let document = counterpart_admin::openapi_document();
    for call in all_calls(&document) {
        if call.operation == "HealthMirror" {
            api.fake.set_status(json!({ "role": "mirror", "serves_reads": true }));
        }
        let reply = api.call(&call.method, &call.path, &call.body);
        let success = call.described["responses"].as_object().unwrap();
        let (status, response) = success.iter().find(|(code, _)| code.starts_with('2')).unwrap();
        assert_eq!(reply.status.to_string(), *status, "{}: {reply:?}", call.operation);
        if let Some(content) = response["content"].get("application/json") {
            let why = schema::mismatch(&document, &content["schema"], &reply.json());
            assert_eq!(why, None, "{}", call.operation);
        } else {
            assert!(
                reply.head.contains("content-type: application/vnd.sqlite3")
                    || reply.head.contains("content-type: application/sql")
                    || reply.head.contains("content-type: application/octet-stream")
                    || reply.head.contains("content-type: text/plain; version=0.0.4"),
                "{}",
                call.operation
            );
        }
        if call.operation == "HealthMirror" {
            let role = json!({ "version": "0.1.0", "server": "00000000000000aa", "role": "principal",
                               "admits_writes": true });
            api.fake.set_status(role);
        }
    }
}

#[test]
fn every_sample_body_has_its_documented_shape_and_an_unknown_field_in_it_is_refused() {
    let api = Api::start();
    let document = counterpart_admin::openapi_document();
    let mut checked = 0;
    for call in all_calls(&document) {
        let Some(content) = call.described["requestBody"]["content"].get("application/json") else {
            continue;
        };
        let mut body: Value = serde_json::from_slice(&call.body).unwrap_or_else(|_| json!({}));
        assert_eq!(
            schema::mismatch(&document, &content["schema"], &body),
            None,
            "{}",
            call.operation
        );
        body["surprise"] = json!(1);
        let reply = api.call(&call.method, &call.path, body.to_string());
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "INVALID_BODY"),
            "{}",
            call.operation
        );
        checked += 1;
    }
    assert_eq!(checked, 18);
}

#[test]
fn methods_that_are_not_documented_are_refused_and_the_allowed_ones_named() {
    let api = Api::start();
    let document = counterpart_admin::openapi_document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "main");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            if methods.get(method.to_lowercase()).is_some() {
                continue;
            }
            let reply = api.call(method, &path, "");
            let expected = (405, "METHOD_NOT_ALLOWED");
            assert_eq!((reply.status, reply.code().as_str()), expected, "{method} {path}");
            assert!(reply.head.contains("\r\nallow: "), "{}", reply.head);
        }
    }
}

#[test]
fn what_is_not_documented_is_not_there() {
    let api = Api::start();
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/status",
        "/api/v1/status/",
        "/api/v1/status/x",
        "/api/v1/databases/main/content/x",
        "/api/v1/mirroring/partners/1",
        "/api//v1/status",
    ] {
        let reply = api.call("GET", path, "");
        assert_eq!((reply.status, reply.code().as_str()), (404, "ROUTE_NOT_FOUND"), "{path}");
    }
    assert_eq!(api.fake.calls(), Vec::<String>::new());
}

#[test]
fn every_operation_that_can_be_refused_passes_the_refusal_on() {
    let api = Api::start();
    api.fake.refuse(Refusal::new("DISK_FULL", "the disk is full", "free some space"));
    let mut refused = 0;
    for call in all_calls(&counterpart_admin::openapi_document()) {
        let always = [
            "Status",
            "OpenApi",
            "Health",
            "HealthPrincipal",
            "HealthMirror",
            "ListDatabases",
            "Scrub",
            "StartScrub",
            "Checksums",
            "WhoAmI",
        ];
        if always.contains(&call.operation.as_str()) {
            continue;
        }
        let reply = api.call(&call.method, &call.path, &call.body);
        assert_eq!((reply.status, reply.code().as_str()), (507, "DISK_FULL"), "{}", call.operation);
        assert_eq!(reply.json()["error"]["remedy"], "free some space");
        refused += 1;
    }
    assert_eq!(refused, 38);
}

#[test]
fn documented_refusals_have_the_statuses_that_are_served() {
    let api = Api::start();
    for call in all_calls(&counterpart_admin::openapi_document()) {
        if !call.path.starts_with("/api/v1/databases/main") || call.method == "PUT" {
            continue;
        }
        for (status, response) in call.described["responses"].as_object().unwrap() {
            let Ok(status) = status.parse::<u16>() else { continue };
            for code in response["description"].as_str().unwrap().split(", ") {
                if status < 300 || code == "CROSS_ORIGIN" {
                    continue;
                }
                api.fake.refuse(Refusal::new(code, "what", "remedy"));
                assert_eq!(api.call(&call.method, &call.path, "").status, status, "{code}");
            }
        }
    }
}
