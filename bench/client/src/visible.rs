//! From a confirmed commit to the moment in which a reader of the mirror sees it.
//!
//! The reader asks again as soon as it is answered, so a time is longer than the truth by up to one read.

use std::{io, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{Failure, clock, http::Connection, latencies::Latencies};

/// A mirror that shows nothing for so long is not behind, but broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it takes.
#[derive(Args)]
pub struct VisibleArgs {
    #[arg(long)]
    principal: String,
    #[arg(long)]
    mirror: String,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

fn ask(connection: &mut Connection, sql: &str, answer: &mut Vec<u8>) -> Result<(), Failure> {
    let body = json!({"requests": [{"type": "execute", "stmt": {"sql": sql}}, {"type": "close"}]});
    let status = connection.post("/v3/pipeline", body.to_string().as_bytes(), answer)?;
    let text = String::from_utf8_lossy(answer);
    if status == 200 && !text.contains("\"type\":\"error\"") {
        return Ok(());
    }
    Err(Failure::Refused(text.into_owned()))
}

/// Measures, commit after commit.
///
/// # Errors
/// A refusal, or a commit that never becomes visible.
pub fn run(args: &VisibleArgs) -> Result<Value, Failure> {
    let (mut principal, mut mirror) =
        (Connection::open(&args.principal)?, Connection::open(&args.mirror)?);
    let (mut answer, mut latencies, mut nth) = (Vec::new(), Latencies::default(), 0u64);
    ask(&mut principal, "create table if not exists probe(n)", &mut answer)?;
    ask(&mut principal, "delete from probe", &mut answer)?;
    ask(&mut principal, "insert into probe values('n0.')", &mut answer)?;
    let end = clock::now() + Duration::from_secs_f64(args.seconds);
    while clock::now() < end {
        nth += 1;
        ask(&mut principal, &format!("update probe set n='n{nth}.'"), &mut answer)?;
        let (confirmed, wanted) = (clock::now(), format!("\"n{nth}.\""));
        loop {
            ask(&mut mirror, "select n from probe", &mut answer)?;
            if String::from_utf8_lossy(&answer).contains(&wanted) {
                break;
            }
            if confirmed.elapsed() > PATIENCE {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
        latencies.push(confirmed.elapsed());
    }
    Ok(json!({ "count": latencies.count(), "ms": latencies.show() }))
}
