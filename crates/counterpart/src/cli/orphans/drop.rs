//! `counterpart orphans drop`. Asks first: nobody else has them.

use clap::Args;

use super::super::{Connection, human, screen::Screen};
use crate::exit::Failure;

/// What it takes.
#[derive(Args)]
pub struct DropArgs {
    /// The set, as `orphans list` names it
    pub set: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// Deletes a set.
pub fn run(args: &DropArgs, screen: &mut Screen) -> Result<(), Failure> {
    let client = args.connection.client()?;
    let path = super::path_of(&args.set);
    if !args.yes {
        let set = client.get(&path)?;
        let (events, databases) = (human::events(super::events(&set)), super::database_names(&set));
        let question = format!("Delete {events} that nobody else has, in {databases}?");
        screen.confirm(&question, false)?;
    }
    let answer = client.delete(&path)?;
    screen.line(format!("the set {} is gone", args.set))?;
    screen.value(&answer)
}
