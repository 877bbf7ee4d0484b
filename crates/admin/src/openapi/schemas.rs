//! The shapes of all bodies, as JSON Schema. Bodies are checked against them by the tests, so that these and the
//! types that are serialized cannot drift apart unseen.

use serde_json::{Value, json};

/// All schemas by name.
pub fn all() -> Value {
    let mut schemas = requests();
    let others = [
        basics(),
        databases(),
        integrity(),
        orphans(),
        tokens(),
        users(),
        audit(),
        alarms(),
        answers(),
    ];
    let known = schemas.as_object_mut().expect("an object was written above");
    for group in others {
        let Value::Object(group) = group else { unreachable!("an object was written below") };
        known.extend(group);
    }
    schemas
}

fn basics() -> Value {
    json!({
        "DatabaseName": { "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$" },
        "ServerId": { "type": "string", "pattern": "^[0-9a-fA-F]{16}$" },
        "SessionId": { "type": "string", "pattern": "^[0-9a-fA-F]{16}$" },
        "Address": { "type": "string", "description": "HOST:PORT" },
        "Nothing": object(&[], &[]),
        "Error": object(&[("error", object(&[
            ("code", json!({ "type": "string", "description": "stable; scripts may rely on it" })),
            ("what", json!({ "type": "string", "description": "what is wrong, one sentence" })),
            ("remedy", json!({ "type": "string", "description": "what to do, one sentence" })),
        ], &[]))], &[]),
    })
}

fn requests() -> Value {
    let boolean = json!({ "type": "boolean" });
    let bytes = json!({ "type": "integer", "minimum": 0 });
    let url = json!({ "type": "string" });
    json!({
        "NewDatabase": object(&[("name", reference("DatabaseName"))], &[]),
        "Probe": object(&[("partner_address", reference("Address"))], &[]),
        "CheckJoin": object(
            &[("replace", boolean.clone()), ("bytes", bytes)],
            &[("principal_partner_address", reference("Address"))],
        ),
        "Join": object(&[
            ("session", reference("SessionId")),
            ("principal", reference("ServerId")),
            ("principal_partner_address", reference("Address")),
            ("principal_client_url", url.clone()),
        ], &[("replace", boolean.clone())]),
        "Partner": object(&[
            ("session", reference("SessionId")),
            ("server", reference("ServerId")),
            ("partner_address", reference("Address")),
            ("client_url", url),
        ], &[("safety", json!({ "enum": ["full", "off", null] }))]),
        "Failover": object(&[], &[("to", reference("ServerId"))]),
        "Promote": object(&[], &[("force", boolean)]),
        "WhichPartner": object(&[], &[("partner", reference("ServerId"))]),
    })
}

fn databases() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let summary = [
        ("name", reference("DatabaseName")),
        ("id", count.clone()),
        ("size_bytes", count.clone()),
        ("last_lsn", count.clone()),
    ];
    let mut details = summary.to_vec();
    for field in ["page_size", "pages", "free_pages", "wal_bytes"] {
        details.push((field, count.clone()));
    }
    details.push(("tables", json!({ "type": "array", "items": { "type": "string" } })));
    let list = json!({ "type": "array", "items": reference("DatabaseSummary") });
    json!({
        "DatabaseSummary": object(&summary, &[]),
        "DatabaseDetails": object(&details, &[]),
        "DatabaseList": object(&[("databases", list)], &[]),
    })
}

fn integrity() -> Value {
    let count = json!({ "type": "integer", "minimum": 0 });
    let digits = json!({ "type": ["string", "null"], "description": "16 hexadecimal digits" });
    let pass = object(
        &[
            ("began", count.clone()),
            ("ended", json!({ "type": ["integer", "null"] })),
            ("bytes", count.clone()),
            ("total", count.clone()),
            ("damaged_pages", count.clone()),
            ("repaired_pages", count.clone()),
            ("damaged_segments", count.clone()),
            ("repaired_segments", count.clone()),
            ("failures", json!({ "type": "array", "items": { "type": "string" } })),
        ],
        &[],
    );
    let pass = json!({ "anyOf": [pass, { "type": "null" }] });
    let checksum = object(
        &[
            ("id", count.clone()),
            ("name", reference("DatabaseName")),
            ("lsn", count.clone()),
            ("checksum", digits.clone()),
        ],
        &[],
    );
    let comparison = object(
        &[
            ("id", count.clone()),
            ("verdict", json!({ "enum": ["equal", "different", "unknown", "missing"] })),
            ("lsn", count),
            ("here", digits.clone()),
            ("there", digits),
        ],
        &[],
    );
    let list =
        |items: Value| object(&[("databases", json!({ "type": "array", "items": items }))], &[]);
    json!({
        "Scrub": object(&[("running", pass.clone()), ("last", pass)], &[]),
        "Checksums": list(checksum),
        "Comparisons": list(comparison),
    })
}

fn orphans() -> Value {
    let (text, boolean) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    let count = json!({ "type": "integer", "minimum": 0 });
    let differences = object(
        &[
            ("present", boolean.clone()),
            ("compared_at", count.clone()),
            ("schema", count.clone()),
            ("inserted", count.clone()),
            ("updated", count.clone()),
            ("deleted", count.clone()),
        ],
        &[],
    );
    let database = object(
        &[
            ("id", count.clone()),
            ("name", reference("DatabaseName")),
            ("events", count.clone()),
            ("copied", boolean),
            ("differences", json!({ "anyOf": [differences, { "type": "null" }] })),
            ("why_not", json!({ "type": ["string", "null"] })),
        ],
        &[],
    );
    let set = object(
        &[
            ("id", text),
            ("saved_at", count.clone()),
            ("epoch", json!({ "type": "object" })),
            ("common", count.clone()),
            ("end", count.clone()),
            ("records_from", count),
            ("last_at", json!({ "type": ["integer", "null"] })),
            ("databases", json!({ "type": "array", "items": database })),
        ],
        &[],
    );
    let sets = json!({ "type": "array", "items": reference("OrphanSet") });
    let rows = json!({ "type": "array", "items": { "type": "object" } });
    json!({
        "OrphanSet": set,
        "OrphanSets": object(&[("sets", sets)], &[]),
        "OrphanRows": object(&[("rows", rows)], &[]),
    })
}

fn tokens() -> Value {
    let text = json!({ "type": "string" });
    let role = json!({ "enum": ["admin", "operator", "writer", "reader"] });
    let seconds = json!({ "type": "integer", "minimum": 0 });
    let names = json!({ "type": "array", "items": text });
    let or_null = |schema: &Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let token = object(
        &[
            ("name", text.clone()),
            ("role", role.clone()),
            ("databases", or_null(&names)),
            ("created", seconds.clone()),
            ("expires", or_null(&seconds)),
        ],
        &[],
    );
    json!({
        "NewToken": object(
            &[("name", text.clone()), ("role", role.clone())],
            &[("databases", names.clone()), ("lifetime_seconds", seconds)],
        ),
        "CreatedToken": object(&[("name", text.clone()), ("token", text.clone())], &[]),
        "Tokens": object(&[("tokens", json!({ "type": "array", "items": token }))], &[]),
        "Identity": object(
            &[("name", text), ("role", role), ("databases", or_null(&names))],
            &[],
        ),
    })
}

fn users() -> Value {
    let text = json!({ "type": "string" });
    let role = json!({ "enum": ["admin", "operator", "writer", "reader"] });
    let seconds = json!({ "type": "integer", "minimum": 0 });
    let names = json!({ "type": "array", "items": text });
    let password = json!({ "type": "string", "description": "8 to 1024 bytes" });
    let databases = json!({ "anyOf": [names, { "type": "null" }] });
    let user = object(
        &[
            ("name", text.clone()),
            ("role", role.clone()),
            ("databases", databases),
            ("created", seconds.clone()),
        ],
        &[],
    );
    json!({
        "NewUser": object(
            &[("name", text.clone()), ("role", role), ("password", password.clone())],
            &[("databases", names)],
        ),
        "NewPassword": object(&[("password", password)], &[]),
        "Users": object(&[("users", json!({ "type": "array", "items": user }))], &[]),
        "Login": object(
            &[("name", text.clone()), ("password", text.clone())],
            &[("lifetime_seconds", seconds.clone())],
        ),
        "LoggedIn": object(
            &[("token", text), ("expires", seconds), ("identity", reference("Identity"))],
            &[],
        ),
    })
}

fn audit() -> Value {
    let text = json!({ "type": "string" });
    let place =
        json!({ "type": ["integer", "null"], "description": "null: it waits on this server" });
    let at = json!({ "type": "integer", "description": "in microseconds of UTC since 1970" });
    let entry = object(
        &[
            ("id", place),
            ("entry", text.clone()),
            ("at", at),
            ("server", reference("ServerId")),
            ("who", text.clone()),
            ("from", text.clone()),
            ("what", text.clone()),
            ("about", text.clone()),
            ("result", text),
        ],
        &[],
    );
    json!({
        "AuditLog": object(&[("entries", json!({ "type": "array", "items": entry }))], &[]),
    })
}

/// Moments are in microseconds since 1970; other times bear their unit in the name.
fn alarms() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "minimum": 0 });
    let or_null = |schema: &Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let known = object(&[("at", number.clone()), ("by", text.clone())], &[]);
    let alarm = object(
        &[
            ("id", number.clone()),
            ("cause", text.clone()),
            ("severity", json!({ "enum": ["warning", "critical"] })),
            ("state", json!({ "enum": ["raised", "acknowledged", "cleared"] })),
            ("partner", or_null(&reference("ServerId"))),
            ("text", text),
            ("raised", number.clone()),
            ("raised_millis", number.clone()),
            ("told", number.clone()),
            ("times", number.clone()),
            ("worst", or_null(&number)),
            ("limit", or_null(&number)),
            ("acknowledged", or_null(&known)),
            ("cleared", or_null(&number)),
        ],
        &[],
    );
    let list = json!({ "type": "array", "items": reference("Alarm") });
    let channel = object(
        &[
            ("channel", json!({ "enum": ["command", "webhook"] })),
            ("told", number.clone()),
            ("waiting", number.clone()),
            ("error", json!({ "type": ["string", "null"] })),
        ],
        &[],
    );
    json!({
        "Alarm": alarm,
        "Alarms": object(
            &[
                ("active", list.clone()),
                ("history", list),
                ("channels", json!({ "type": "array", "items": channel })),
                ("dropped", number.clone()),
            ],
            &[],
        ),
        "Test": object(
            &[("number", number), ("channels", json!({ "type": "array", "items": { "type": "string" } }))],
            &[],
        ),
    })
}

fn answers() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "Done": object(&[("done", json!({ "const": true }))], &[]),
        "Health": object(&[("healthy", json!({ "const": true }))], &[("role", text.clone())]),
        "PeerIdentity": object(&[
            ("server", reference("ServerId")),
            ("version", text.clone()),
            ("role", text.clone()),
            ("client_url", text),
        ], &[]),
        "Outcome": { "type": "object", "description": "facts in numbers and words" },
        "OpenApi": { "type": "object", "required": ["openapi", "info", "paths", "components"] },
        "Status": status(),
    })
}

/// Open to further fields, as everything in it: a newer server may tell more.
fn status() -> Value {
    let (boolean, text) = (json!({ "type": "boolean" }), json!({ "type": "string" }));
    let count = json!({ "type": "integer", "minimum": 0 });
    json!({
        "type": "object",
        "description": "Moments are in microseconds since 1970; other times bear their unit in the name.",
        "required": ["version", "server", "role"],
        "properties": {
            "version": text,
            "server": reference("ServerId"),
            "role": { "enum": ["standalone", "principal", "mirror"] },
            "words": { "type": "string", "description": "role and state, for people" },
            "uptime_seconds": { "type": "number" },
            "client_url": text,
            "partner_address": text,
            "tls": tls(),
            "data_dir": text,
            "admits_writes": boolean,
            "serves_reads": boolean,
            "databases": count,
            "journal": { "type": "object" },
            "applied": count,
            "readers": { "type": "array", "items": { "type": "object" } },
            "integrity": { "type": "object" },
            "storage_error": { "type": ["object", "null"] },
            "copies": { "type": "array", "items": { "type": "object" } },
            "mirroring": mirroring(),
        },
    })
}

/// The certificate that clients are shown.
fn tls() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "null without TLS; fingerprints are SHA-256",
        "properties": {
            "fingerprint": { "type": "string", "description": "of the key" },
            "certificate_fingerprint": { "type": "string" },
            "self_signed": { "type": "boolean" },
        },
    })
}

fn mirroring() -> Value {
    let boolean = json!({ "type": "boolean" });
    let object = json!({ "type": ["object", "null"] });
    let unknown = json!({ "type": ["integer", "null"], "minimum": 0 });
    json!({
        "type": "object",
        "properties": {
            "session": { "type": ["string", "null"] },
            "epoch": { "type": "object" },
            "safety": { "type": "string" },
            "require_mirror": boolean,
            "writes": { "description": "open, held, or an object {refused}" },
            "exposed_since": unknown,
            "exposed_millis": unknown,
            "in_doubt": boolean,
            "parked": object,
            "saving_orphans": object,
            "rejoining": object,
            "rolled_back": object,
            "differs": { "type": "array", "items": { "type": "object" } },
            "replay_stopped": { "type": ["string", "null"] },
            "partners": { "type": "array", "items": partner() },
            "last_error": object,
            "failover_now": { "type": "string" },
            "promotion": object,
            "commands": { "type": "array", "items": { "type": "object" } },
        },
    })
}

fn partner() -> Value {
    let text = json!({ "type": "string" });
    let unknown = json!({ "type": ["integer", "null"], "minimum": 0 });
    json!({
        "type": "object",
        "description": "A principal's mirror, or a mirror's principal. Null is what is not known, or not the role's.",
        "properties": {
            "server": reference("ServerId"),
            "role": { "enum": ["principal", "mirror"] },
            "client_url": text,
            "partner_address": text,
            "state": text,
            "words": text,
            "connected": { "type": "boolean" },
            "last_heard": unknown,
            "silent_millis": unknown,
            "commits_wait": { "type": ["boolean", "null"] },
            "hardened": unknown,
            "applied": unknown,
            "behind": unknown,
            "send_queue": unknown,
            "send_queue_bytes": unknown,
            "redo_queue": unknown,
            "redo_queue_bytes": unknown,
            "lag_millis": unknown,
            "way": { "enum": ["journal", "pages", "compare", "seed", "switching", "heal", null] },
            "progress": { "type": ["object", "null"] },
            "differs": { "type": ["array", "null"], "items": { "type": "string" } },
            "replay_stopped": { "type": ["string", "null"] },
            "last_error": { "type": ["object", "null"] },
            "commands": { "type": "array", "items": { "type": "object" } },
        },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object with exactly these fields.
fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let fields = required.iter().chain(optional);
    let properties: serde_json::Map<String, Value> =
        fields.map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}
