//! Reading what nobody else should see: from a terminal without showing it, from standard input, or from a file. Never from an
//! argument, which everybody on the machine can read.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::{Exit, Failure};

/// A password that is to be somebody's from now on: at a terminal it is asked for twice.
pub fn new_password(file: Option<&Path>) -> Result<String, Failure> {
    let password = self::password(file, "the new password: ")?;
    if file.is_none() && io::stdin().is_terminal() && password != line("once more: ")? {
        return Err(missing("the two were not equal", "type the same password twice"));
    }
    Ok(password)
}

/// A password: the first line of a file or of standard input.
pub fn password(file: Option<&Path>, prompt: &str) -> Result<String, Failure> {
    let password = match file {
        Some(file) => {
            let text =
                fs::read_to_string(file).map_err(|e| Failure::local_file("read", file, &e))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => line(prompt)?,
    };
    if password.is_empty() {
        return Err(missing(
            "no password came",
            "type it, or give it on standard input, or a file that holds it with --password-file",
        ));
    }
    Ok(password)
}

fn missing(what: &str, remedy: &str) -> Failure {
    Failure::new(Exit::Usage, "PASSWORD_MISSING", what, remedy)
}

/// A line from standard input. At a terminal it is asked for on standard error, and not shown.
fn line(prompt: &str) -> Result<String, Failure> {
    let input = io::stdin();
    let hidden = input.is_terminal().then(Hidden::begin);
    if hidden.is_some() {
        // With nobody to see the question, the answer may still come.
        let _asked = write!(io::stderr(), "{prompt}");
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if hidden.is_some() {
        let _ended = writeln!(io::stderr());
    }
    drop(hidden);
    read.map_err(|error| missing(&format!("standard input can't be read: {error}"), "try again"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that shows nothing of what is typed, as long as this lives.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Hidden {
        let Ok(before) = tcgetattr(io::stdin()) else { return Hidden(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let set = tcsetattr(io::stdin(), OptionalActions::Flush, &quiet);
        Hidden(set.is_ok().then_some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // If that fails the terminal is gone.
            let _restored = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
