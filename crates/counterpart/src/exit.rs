//! How a command ends: the exit codes, and the failure that carries one. The codes are written down here and
//! nowhere else; `--help` shows the same list.

use std::{io, process::ExitCode};

use serde_json::{Value, json};

/// The list that `counterpart --help` ends with.
pub const HELP: &str = "\
Exit codes:
  0   done
  1   the server refused
  2   the command, or the configuration, is wrong
  3   the server cannot be reached
  4   not confirmed: the answer to a question was no
  5   a local file cannot be read or written
  6   what answered is no Counterpart server, is not trusted, or has another version
  7   the server could not start, or stopped because it could not go on
  70  a fault in this program

Every error names what is wrong, what to do, and a stable code; with --json it is one JSON object on standard error.";

/// Why a command did not end with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The server refused.
    Refused = 1,
    /// The command or the configuration is wrong. clap uses the same code.
    Usage = 2,
    /// Nobody answers.
    Unreachable = 3,
    /// The operator said no.
    NotConfirmed = 4,
    /// A local file failed.
    LocalFile = 5,
    /// The answer makes no sense, or comes from somebody else.
    NotAServer = 6,
    /// The server itself failed.
    Server = 7,
    /// A fault in this program.
    Fault = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failure on its way to the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The stable code.
    pub code: String,
    /// What is wrong, a sentence without the final full stop.
    pub what: String,
    /// What to do, likewise.
    pub remedy: String,
    /// The step that failed, where a command has named steps.
    pub step: Option<&'static str>,
}

impl Failure {
    /// A failure with its parts.
    pub fn new(
        exit: Exit,
        code: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Failure {
        // Sentences arrive with and without their full stop; they are joined with others here and there.
        let sentence = |text: String| text.strip_suffix('.').map(str::to_owned).unwrap_or(text);
        let (code, what, remedy) = (code.into(), sentence(what.into()), sentence(remedy.into()));
        Failure { exit, code, what, remedy, step: None }
    }

    /// The same, named after the step that it ended.
    pub fn in_step(self, step: &'static str) -> Failure {
        Failure { step: self.step.or(Some(step)), ..self }
    }

    /// A local file could not be used.
    pub fn local_file(doing: &str, path: &std::path::Path, error: &io::Error) -> Failure {
        Failure::new(
            Exit::LocalFile,
            "LOCAL_FILE",
            format!("cannot {doing} {}: {error}", path.display()),
            "check the path, its permissions and the free space",
        )
    }

    /// Whether whoever read the output has gone, as `head` does, and knows that better than we do.
    pub fn is_closed_pipe(&self) -> bool {
        self.code == "OUTPUT_CLOSED"
    }

    /// Standard output cannot be written to: its reader went away, or it is a file on a full disk.
    pub fn output_closed(error: &io::Error) -> Failure {
        if error.kind() != io::ErrorKind::BrokenPipe {
            return Failure::local_file("write to", "standard output".as_ref(), error);
        }
        Failure::new(
            Exit::LocalFile,
            "OUTPUT_CLOSED",
            format!("cannot write to standard output: {error}"),
            "run the command again without closing its output",
        )
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "what": self.what, "remedy": self.remedy });
        if let Some(step) = self.step {
            error["step"] = step.into();
        }
        json!({ "error": error, "exit": self.exit as u8 })
    }
}
