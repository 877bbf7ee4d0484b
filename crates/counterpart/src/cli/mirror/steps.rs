//! Named steps: what is done is said, what fails is named.

use super::super::screen::{Screen, Tone};
use crate::exit::Failure;

/// The steps of one command.
pub struct Steps<'a> {
    screen: &'a mut Screen,
    done: Vec<&'static str>,
}

impl<'a> Steps<'a> {
    /// None yet.
    pub fn new(screen: &'a mut Screen) -> Steps<'a> {
        Steps { screen, done: Vec::new() }
    }

    /// Does one. Its failure carries its name.
    pub fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Screen) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match work(self.screen) {
            Ok(result) => {
                let mark = self.screen.toned(Tone::Good, "ok");
                self.screen.line(format!("  {mark}  {name}"))?;
                self.done.push(name);
                Ok(result)
            }
            Err(failure) => Err(failure.in_step(name)),
        }
    }

    /// The names of the steps that were done.
    pub fn done(&self) -> &[&'static str] {
        &self.done
    }

    /// Where this command writes.
    pub fn screen(&mut self) -> &mut Screen {
        self.screen
    }
}
