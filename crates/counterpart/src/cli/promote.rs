//! `counterpart promote`: a disconnected mirror becomes the principal. Shows what may be lost before it asks.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Connection,
    screen::{Screen, Tone},
    view,
};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct PromoteArgs {
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

const PROMOTION: &str = "/api/v1/mirroring/promotion";

/// Asks the mirror what it would mean, then the operator, then the mirror to do it.
pub fn run(args: &PromoteArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let assessment = client.get(PROMOTION)?;
    for line in describe(&assessment) {
        let line = screen.toned(Tone::Warning, &line);
        screen.line(line)?;
    }
    let question = format!("Make the mirror at {} the principal?", client.url());
    screen.confirm(&question, args.yes)?;
    let outcome = client.post(PROMOTION, &json!({}))?;
    let words = view::text(&outcome, &["/words", "/what"]);
    screen.line(words.unwrap_or("this server is now the principal"))?;
    screen.value(&json!({ "assessment": assessment, "outcome": outcome }))
}

/// The assessment's own words; without them, its figures.
fn describe(assessment: &Value) -> Vec<String> {
    if let Some(words) = view::text(assessment, &["/words", "/what"]) {
        return vec![words.to_owned()];
    }
    let fields = assessment.as_object().into_iter().flatten();
    fields.map(|(name, value)| format!("{}: {value}", name.replace('_', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assessment_speaks_in_words_or_in_figures() {
        let words = json!({ "words": "0 lost", "events": 0 });
        assert_eq!(describe(&words), ["0 lost"]);
        assert_eq!(describe(&json!({ "lost_events": 3 })), ["lost events: 3"]);
        assert!(describe(&json!(null)).is_empty());
    }
}
