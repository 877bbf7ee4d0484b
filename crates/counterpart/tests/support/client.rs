//! A plain Hrana client over HTTP: what the tests need of `POST /v2/pipeline`, and no more.

use std::{io::Read, time::Duration};

use serde_json::{Value, json};

/// What a statement gave, or the code and sentence of its error.
pub type Outcome = Result<Value, Failure>;

/// A refusal as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The Hrana error code, or `HTTP_<status>`, or `TRANSPORT`.
    pub code: String,
    pub message: String,
}

impl Failure {
    /// Whether the request certainly had no effect: the server said so.
    pub fn is_refusal(&self) -> bool {
        self.code != "TRANSPORT"
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

pub fn get_json(url: &str) -> Result<Value, String> {
    let mut response = agent().get(url).call().map_err(|e| e.to_string())?;
    response.body_mut().read_json().map_err(|e| e.to_string())
}

pub fn get_status(url: &str) -> u16 {
    agent().get(url).call().unwrap().status().as_u16()
}

pub fn get_bytes(url: &str) -> Vec<u8> {
    let mut response = agent().get(url).call().unwrap_or_else(|e| panic!("GET {url}: {e}"));
    assert_eq!(
        response.status().as_u16(),
        200,
        "GET {url}: {:?}",
        response.body_mut().read_to_string()
    );
    let mut bytes = Vec::new();
    response
        .body_mut()
        .as_reader()
        .read_to_end(&mut bytes)
        .unwrap_or_else(|e| panic!("GET {url}: {e}"));
    bytes
}

pub fn send_json(method: &str, url: &str, body: &Value) -> (u16, Value) {
    let agent = agent();
    let response = match method {
        "POST" => agent.post(url).send_json(body),
        "PUT" => agent.put(url).send_json(body),
        "DELETE" => agent.delete(url).call(),
        other => panic!("no method {other}"),
    };
    let mut response = response.unwrap_or_else(|e| panic!("{method} {url}: {e}"));
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A client of one database.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// A client of `main`.
    pub fn new(url: &str) -> Client {
        Client { agent: agent(), base: url.to_owned() }
    }

    /// A client of the database `name`.
    pub fn database(&self, name: &str) -> Client {
        Client { agent: self.agent.clone(), base: format!("{}/db/{name}", self.base) }
    }

    /// Posts a body to a path below the database; the status and the body as JSON (or as a string).
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), Failure> {
        let transport = |e: &dyn std::fmt::Display| Failure {
            code: "TRANSPORT".into(),
            message: e.to_string(),
        };
        let mut response = self
            .agent
            .post(format!("{}{path}", self.base))
            .send_json(body)
            .map_err(|e| transport(&e))?;
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 31)
            .read_to_string()
            .map_err(|e| transport(&e))?;
        Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// One pipeline; the results of its requests and the next baton.
    pub fn pipeline(
        &self,
        baton: Option<&str>,
        requests: &Value,
    ) -> Result<(Vec<Outcome>, Option<String>), Failure> {
        let (status, body) =
            self.post("/v2/pipeline", &json!({"baton": baton, "requests": requests}))?;
        if status != 200 {
            return Err(failure_of(&body, status));
        }
        let results = body["results"].as_array().expect("a pipeline has results").iter();
        let outcomes = results.map(|result| match result["type"].as_str() {
            Some("ok") => Ok(result["response"].clone()),
            _ => Err(failure_of(&result["error"], 200)),
        });
        Ok((outcomes.collect(), body["baton"].as_str().map(str::to_owned)))
    }

    /// One autocommit statement; its `result`.
    pub fn execute(&self, sql: &str, args: &[Value]) -> Outcome {
        let requests = json!([
            {"type": "execute", "stmt": {"sql": sql, "args": args.iter().map(to_hrana).collect::<Vec<_>>()}},
            {"type": "close"}
        ]);
        let (mut outcomes, _baton) = self.pipeline(None, &requests)?;
        outcomes.swap_remove(0).map(|response| response["result"].clone())
    }

    /// One autocommit statement that must succeed.
    #[track_caller]
    pub fn run(&self, sql: &str) -> Value {
        self.execute(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {}: {}", e.code, e.message))
    }

    /// A script of several statements that must succeed.
    #[track_caller]
    pub fn script(&self, sql: &str) {
        let (outcomes, _baton) = self
            .pipeline(None, &json!([{"type": "sequence", "sql": sql}, {"type": "close"}]))
            .unwrap();
        if let Err(e) = &outcomes[0] {
            panic!("{sql}: {}: {}", e.code, e.message);
        }
    }

    /// The rows of a query that must succeed, as plain JSON values.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        rows_of(&self.run(sql))
    }

    /// The only value of a query that must succeed.
    #[track_caller]
    pub fn value(&self, sql: &str) -> Value {
        self.rows(sql).remove(0).remove(0)
    }
}

/// A refusal from an error of the protocol, or from the body of a response with another status than 200.
pub fn failure_of(error: &Value, status: u16) -> Failure {
    let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
    let code = error["code"].as_str().map_or_else(|| format!("HTTP_{status}"), str::to_owned);
    Failure { code, message }
}

/// A plain JSON value as an argument; an object is one already.
pub fn to_hrana(value: &Value) -> Value {
    match value {
        Value::Null => json!({"type": "null"}),
        Value::Number(n) if n.is_i64() => json!({"type": "integer", "value": n.to_string()}),
        Value::Number(n) => json!({"type": "float", "value": n}),
        Value::String(s) => json!({"type": "text", "value": s}),
        other => other.clone(),
    }
}

/// The rows of a result, as plain JSON values (blobs as their base64 text).
pub fn rows_of(result: &Value) -> Vec<Vec<Value>> {
    let rows = result["rows"].as_array().expect("a result has rows");
    rows.iter()
        .map(|row| row.as_array().expect("a row is an array").iter().map(from_hrana).collect())
        .collect()
}

fn from_hrana(value: &Value) -> Value {
    match value["type"].as_str() {
        Some("null") => Value::Null,
        Some("integer") => json!(value["value"].as_str().unwrap().parse::<i64>().unwrap()),
        Some("blob") => value["base64"].clone(),
        _ => value["value"].clone(),
    }
}
