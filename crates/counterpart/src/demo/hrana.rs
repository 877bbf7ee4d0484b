//! What the demonstration's workload says to a server: single statements over `POST /v2/pipeline`, as any client of
//! that protocol sends them, and the server's status. It must never use a way into a server that clients do not have.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// How long an answer may take. A server that was stopped (SIGSTOP) must not hold up the status for long.
const ANSWER: Duration = Duration::from_secs(2);

/// Why a request has no result.
pub enum Unanswered {
    /// The server refused, with this code and sentence.
    Refused(String, String),
    /// Nobody answered; whether the request took effect is not known.
    Unreachable(String),
}

impl Unanswered {
    /// In words.
    pub fn words(&self) -> String {
        match self {
            Unanswered::Refused(code, what) => format!("{what} ({code})"),
            Unanswered::Unreachable(why) => format!("no answer: {why}"),
        }
    }
}

/// A client of one server's database.
pub struct Client {
    agent: Agent,
    url: String,
    database: &'static str,
}

impl Client {
    /// A client of `database` on the server at `url`.
    pub fn new(url: &str, database: &'static str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .proxy(None);
        Client { agent: Agent::new_with_config(config.build()), url: url.to_owned(), database }
    }

    /// One statement with integer arguments; the first value of its first row, if it has one.
    pub fn run(&self, sql: &str, args: &[u64]) -> Result<Option<u64>, Unanswered> {
        let args: Vec<Value> =
            args.iter().map(|n| json!({ "type": "integer", "value": n.to_string() })).collect();
        let requests = json!([
            { "type": "execute", "stmt": { "sql": sql, "args": args } },
            { "type": "close" },
        ]);
        let url = format!("{}/db/{}/v2/pipeline", self.url, self.database);
        let answer = self.agent.post(url).send_json(json!({ "requests": requests }));
        let body = self.json(answer)?;
        let result = &body["results"][0];
        let error = if result["type"] == "ok" { &Value::Null } else { &result["error"] };
        let error = if body["results"].is_array() { error } else { &body };
        if !error.is_null() {
            let part = |name: &str| error[name].as_str().unwrap_or("unknown").to_owned();
            return Err(Unanswered::Refused(part("code"), part("message")));
        }
        let value = result["response"]["result"]["rows"][0][0]["value"].as_str();
        Ok(value.and_then(|text| text.parse().ok()))
    }

    /// `GET /api/v1/status`, if the server answers.
    pub fn status(&self) -> Option<Value> {
        self.json(self.agent.get(format!("{}/api/v1/status", self.url)).call()).ok()
    }

    fn json(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Unanswered> {
        let read = answer.and_then(|mut answer| answer.body_mut().read_json());
        read.map_err(|error| Unanswered::Unreachable(error.to_string()))
    }
}
