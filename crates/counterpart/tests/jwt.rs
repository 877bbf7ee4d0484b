//! JWTs as libSQL's server takes them, shown by a real client: who signed them is known, and nobody else is let in.
#![allow(missing_docs)]

mod support;

use std::fs;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ed25519_dalek::{Signer, SigningKey};
use hyper014::client::HttpConnector;
use serde_json::{Value, json};
use support::{
    people::{REQUIRED, execute, refused, send},
    server::Server,
};

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The file that `openssl pkey -pubout` writes.
fn pem() -> String {
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = STANDARD.encode([&head[..], signer().verifying_key().as_bytes()].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

fn token_by(signer: &SigningKey, algorithm: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({ "alg": algorithm })), part(claims));
    let signature = signer.sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token(claims: &Value) -> String {
    token_by(&signer(), "EdDSA", claims)
}

/// A server that takes what [`signer`] signs, with a database `shop` beside `main`.
fn server() -> Server {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), pem()).unwrap();
    let server =
        Server::start_with(&[REQUIRED, &["--jwt-key", key.path().to_str().unwrap()]].concat());
    let own = fs::read_to_string(server.data().join("admin.token")).unwrap();
    let new = json!({ "name": "shop" });
    assert_eq!(send("POST", &server, "/api/v1/databases", Some(own.trim()), Some(&new)).0, 201);
    server
}

#[test]
fn the_rust_client_shows_a_jwt_and_may_do_what_it_says() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connect = async |claims: &Value| {
            let database = libsql::Builder::new_remote(server.url(), token(claims))
                .connector(HttpConnector::new())
                .build();
            database.await.unwrap().connect().unwrap()
        };
        let writer = connect(&json!({ "sub": "app", "a": "rw" })).await;
        writer.execute("create table t(n)", ()).await.unwrap();
        writer.execute("insert into t values (?)", [7]).await.unwrap();
        let reader = connect(&json!({ "a": "ro" })).await;
        let mut rows = reader.query("select n from t", ()).await.unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().get::<i64>(0).unwrap(), 7);
        let refused = reader.execute("insert into t values (8)", ()).await.unwrap_err();
        assert!(refused.to_string().contains("may not write in main"), "{refused}");
        let stranger = connect(&json!({ "exp": 1 })).await;
        let refused = stranger.execute("select 1", ()).await.unwrap_err();
        assert!(refused.to_string().contains("NOT_SIGNED_IN"), "{refused}");
    });
}

#[test]
fn rights_are_those_of_each_namespace_and_never_an_operators() {
    let server = server();
    let mixed = token(&json!({ "p": { "ro": { "ns": ["main"] }, "rw": { "ns": ["shop"] } } }));
    execute(&server, "shop", &mixed, "create table t(n)").unwrap();
    execute(&server, "main", &mixed, "select 1").unwrap();
    refused(execute(&server, "main", &mixed, "create table t(n)"), "FORBIDDEN");
    let only = token(&json!({ "id": "shop", "sub": "till" }));
    refused(execute(&server, "main", &only, "select 1"), "FORBIDDEN");
    let (status, identity) = send("GET", &server, "/api/v1/whoami", Some(&only), None);
    assert_eq!(status, 200);
    assert_eq!(identity, json!({ "name": "till", "role": "writer", "databases": ["shop"] }));
    for path in ["/api/v1/databases", "/api/v1/tokens", "/api/v1/backup", "/api/v1/audit"] {
        assert_eq!(send("GET", &server, path, Some(&token(&json!({}))), None).0, 403, "{path}");
    }
}

#[test]
fn what_somebody_else_signed_or_nobody_lets_nobody_in() {
    let server = server();
    let claims = json!({ "a": "rw" });
    execute(&server, "main", &token(&claims), "select 1").unwrap();
    let other = SigningKey::from_bytes(&[8; 32]);
    let good = token(&claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for forged in [
        token_by(&other, "EdDSA", &claims),
        token_by(&signer(), "none", &claims),
        token_by(&signer(), "HS256", &claims),
        format!("{signed}."),
        token(&json!({ "a": "rw", "exp": 1 })),
        token(&json!({ "a": "rw", "nbf": 99_999_999_999_u64 })),
        token(&json!({ "p": {} })),
    ] {
        refused(execute(&server, "main", &forged, "select 1"), "NOT_SIGNED_IN");
    }
    // Nor does a good one where nobody knows the key.
    let server = Server::start_with(REQUIRED);
    refused(execute(&server, "main", &good, "select 1"), "NOT_SIGNED_IN");
}

#[test]
fn a_key_that_is_none_or_keeps_nobody_out_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, pem().replace("PUBLIC", "PRIVATE")).unwrap();
    for (arguments, told) in [
        (vec!["--require-token", "--jwt-key", file.to_str().unwrap()], "JWT_KEY_INVALID"),
        (vec!["--require-token", "--jwt-key", "/no/such/file"], "LOCAL_FILE"),
        (vec!["--jwt-key", file.to_str().unwrap()], "CONFIG_INVALID"),
    ] {
        let mut server = Server::prepare(&arguments);
        assert!(server.launch_or_end().is_err(), "{arguments:?}");
        assert!(server.log().contains(told), "{arguments:?}: {}", server.log());
    }
}
