//! What a command writes and asks: text for people or JSON for scripts, never both; colours and questions only where
//! there is a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

pub use counterpart_admin::words::Tone;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Standard input, output and error of a command.
pub struct Screen {
    /// JSON was asked for.
    pub json: bool,
    /// Somebody sits there: questions and progress bars make sense.
    pub interactive: bool,
    /// Standard output is a terminal that can be repainted.
    pub repaints: bool,
    colours: bool,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
}

impl Screen {
    /// The process's own.
    pub fn of_process(json: bool) -> Screen {
        let terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen {
            json,
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal() && !json,
            repaints: terminal,
            colours: terminal && !plain && !json,
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
        }
    }

    /// One that shows nothing and asks nobody.
    pub fn nowhere() -> Screen {
        let (interactive, repaints, colours) = (false, false, false);
        let (out, err) = (Box::new(io::sink()), Box::new(io::sink()));
        Screen { json: false, interactive, repaints, colours, out, err }
    }

    /// One that keeps nothing, without a terminal.
    #[cfg(test)]
    pub fn of_test(json: bool, out: impl Write + 'static) -> Screen {
        let (interactive, repaints, colours) = (false, false, false);
        let (out, err) = (Box::new(out), Box::new(io::sink()));
        Screen { json, interactive, repaints, colours, out, err }
    }

    /// Writes a line (or several) for people; nothing when JSON was asked for.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.raw(text.as_ref()) }
    }

    /// Writes a value when JSON was asked for; nothing otherwise.
    pub fn value(&mut self, value: &Value) -> Result<(), Failure> {
        if self.json { self.raw(&format!("{value:#}")) } else { Ok(()) }
    }

    /// Writes a value on one line, for what comes as a stream of values.
    pub fn value_line(&mut self, value: &Value) -> Result<(), Failure> {
        self.raw(&value.to_string())
    }

    /// Writes a line in either case.
    pub fn raw(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.out, "{}", text.trim_end_matches('\n'));
        written.and_then(|()| self.out.flush()).map_err(|error| Failure::output_closed(&error))
    }

    /// Clears the terminal before a repaint.
    pub fn clear(&mut self) -> Result<(), Failure> {
        let cleared = write!(self.out, "\x1b[H\x1b[2J\x1b[3J");
        cleared.map_err(|error| Failure::output_closed(&error))
    }

    /// `text` in the colour of `tone`, where colours are shown.
    pub fn toned(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colours => return text.to_owned(),
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Strong => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        self.interactive
    }

    /// Goes on only with the operator's yes: given beforehand with `--yes`, or now at the terminal.
    pub fn confirm(&mut self, question: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.interactive {
            return Err(Failure::new(
                Exit::Usage,
                "CONFIRMATION_NEEDED",
                format!(
                    "this needs a confirmation, and there is no terminal to ask at: {question}"
                ),
                "add --yes if that is what you want",
            ));
        }
        let mut answer = String::new();
        let asked = write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush());
        let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
        match (read, answer.trim().to_lowercase().as_str()) {
            (Ok(_), "y" | "yes") => Ok(()),
            _ => Err(Failure::new(
                Exit::NotConfirmed,
                "NOT_CONFIRMED",
                "nothing was done, because it was not confirmed",
                "run the command again and answer y",
            )),
        }
    }

    /// Writes a failure to standard error; nothing where the reader has chosen to read no more.
    pub fn failure(&mut self, failure: &Failure) {
        if failure.is_closed_pipe() {
            return;
        }
        let text = if self.json { failure.to_json().to_string() } else { describe(failure) };
        // With standard error gone there is nobody left to tell; the exit code still does.
        let _gone = writeln!(self.err, "{text}");
    }
}

fn describe(failure: &Failure) -> String {
    let Failure { code, what, remedy, step, .. } = failure;
    let step = step.map(|step| format!("at the step \"{step}\": ")).unwrap_or_default();
    format!("error: {step}{what}\n  what to do: {remedy}\n  code: {code}")
}
