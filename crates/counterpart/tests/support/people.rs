//! Operators and clients of servers that ask who they are.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    client::rows_of,
    pair::partner_states,
    server::{BINARY, CliOutcome, Server},
    wait_for,
};

/// What a server that asks is started with.
pub const REQUIRED: &[&str] = &["--require-token"];

/// An operator, with a place of their own for tokens.
pub struct Operator(TempDir);

impl Operator {
    pub fn new() -> Operator {
        Operator(tempfile::tempdir().unwrap())
    }

    /// Where this operator keeps files.
    pub fn place(&self) -> &Path {
        self.0.path()
    }

    pub fn cli(&self, server: &Server, args: &[&str]) -> CliOutcome {
        let mut command = Command::new(BINARY);
        command.args(args).env("COUNTERPART_SERVER", server.url()).stdin(Stdio::null());
        command.env("XDG_CONFIG_HOME", self.0.path()).env_remove("COUNTERPART_TOKEN");
        CliOutcome::of(command.env_remove("COUNTERPART_TOKEN_FILE"))
    }

    pub fn cli_ok(&self, server: &Server, args: &[&str]) -> String {
        self.cli(server, args).expect_ok(args)
    }

    /// Logs in with the server's own token.
    pub fn of(servers: &[&Server]) -> Operator {
        let operator = Operator::new();
        for server in servers {
            let file = server.data().join("admin.token");
            let told = operator.cli_ok(server, &["login", "--token-file", file.to_str().unwrap()]);
            assert!(told.contains("(admin)"), "{told}");
        }
        operator
    }

    pub fn token(&self, server: &Server, args: &[&str]) -> String {
        let args: Vec<&str> = ["token", "create"].iter().chain(args).copied().collect();
        let token = self.cli_ok(server, &args).trim().to_owned();
        assert!(token.starts_with("cpt_"), "{token}");
        token
    }
}

/// A request of a client that shows a token, or none: the status, and the body.
pub fn post(server: &Server, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    send("POST", server, path, token, Some(body))
}

pub fn send(
    method: &str,
    server: &Server,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{}{path}", server.url()))
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map_or(String::new(), Value::to_string);
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A statement by itself: its rows, or the code of its refusal.
pub fn execute(
    server: &Server,
    database: &str,
    token: &str,
    sql: &str,
) -> Result<Vec<Vec<Value>>, String> {
    let body =
        json!({ "requests": [{ "type": "execute", "stmt": { "sql": sql } }, { "type": "close" }] });
    let path = format!("/db/{database}/v2/pipeline");
    let (status, answer) = post(server, &path, Some(token), &body);
    if status != 200 {
        return Err(answer["code"].as_str().unwrap_or("?").to_owned());
    }
    let result = &answer["results"][0];
    match result["type"].as_str() {
        Some("ok") => Ok(rows_of(&result["response"]["result"])),
        _ => Err(result["error"]["code"].as_str().unwrap_or("?").to_owned()),
    }
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, String>, code: &str) {
    assert_eq!(outcome.unwrap_err(), code);
}

impl Server {
    /// The status, as somebody who shows this token is told it.
    pub fn status_as(&self, token: &str) -> Value {
        send("GET", self, "/api/v1/status", Some(token), None).1
    }
}

/// Waits until all mirrors of a principal are synchronized.
pub fn wait_synchronized(operator: &Operator, principal: &Server) {
    wait_for("the mirror to be synchronized", || {
        let status = operator.cli(principal, &["status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).ok()?;
        let states = partner_states(&status);
        (!states.is_empty() && states.iter().all(|state| state == "SYNCHRONIZED")).then_some(())
    });
}
