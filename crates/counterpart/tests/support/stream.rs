//! A Hrana stream over HTTP, kept open from request to request by its baton.

use serde_json::{Value, json};

use super::client::{Client, Failure, Outcome, failure_of, rows_of, to_hrana};

/// An open stream. Nothing is sent before its first request; dropping it leaves it to the server's idle limit.
pub struct Stream {
    client: Client,
    /// What names the stream in its next request; `None` before the first and after the last.
    pub baton: Option<String>,
}

impl Stream {
    /// A stream on the client's database.
    pub fn on(client: &Client) -> Stream {
        Stream { client: client.clone(), baton: None }
    }

    /// One pipeline of version 3; the outcome of each request. A refusal of the whole ends the stream.
    pub fn pipeline(&mut self, requests: &Value) -> Result<Vec<Outcome>, Failure> {
        let body = json!({"baton": self.baton.take(), "requests": requests});
        let (status, body) = self.client.post("/v3/pipeline", &body)?;
        if status != 200 {
            return Err(failure_of(&body, status));
        }
        self.baton = body["baton"].as_str().map(str::to_owned);
        let results = body["results"].as_array().expect("a pipeline has results").iter();
        let outcomes = results.map(|result| match result["type"].as_str() {
            Some("ok") => Ok(result["response"].clone()),
            _ => Err(failure_of(&result["error"], 200)),
        });
        Ok(outcomes.collect())
    }

    /// One request; its response.
    pub fn ask(&mut self, request: &Value) -> Outcome {
        self.pipeline(&json!([request]))?.swap_remove(0)
    }

    /// One statement with positional arguments; its result.
    pub fn execute(&mut self, sql: &str, args: &[Value]) -> Outcome {
        let args: Vec<_> = args.iter().map(to_hrana).collect();
        let request = json!({"type": "execute", "stmt": {"sql": sql, "args": args}});
        self.ask(&request).map(|response| response["result"].clone())
    }

    /// One statement that must succeed.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> Value {
        self.execute(sql, &[]).unwrap_or_else(|e| panic!("{sql}: {}: {}", e.code, e.message))
    }

    /// The code with which a statement fails.
    #[track_caller]
    pub fn code(&mut self, sql: &str) -> String {
        match self.execute(sql, &[]) {
            Err(failure) => failure.code,
            Ok(result) => panic!("{sql} did not fail but gave {result}"),
        }
    }

    /// The rows of a query that must succeed.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Value>> {
        rows_of(&self.run(sql))
    }

    /// The only value of a query that must succeed.
    #[track_caller]
    pub fn value(&mut self, sql: &str) -> Value {
        self.rows(sql).remove(0).remove(0)
    }

    /// Whether it is outside an explicit transaction.
    pub fn autocommit(&mut self) -> bool {
        let response = self.ask(&json!({"type": "get_autocommit"})).unwrap();
        response["is_autocommit"].as_bool().expect("yes or no")
    }

    /// Closes the stream and waits until that is done.
    pub fn close(mut self) {
        self.ask(&json!({"type": "close"})).unwrap();
        assert_eq!(self.baton, None, "a closed stream has no baton");
    }
}
