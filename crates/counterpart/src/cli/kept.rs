//! What is kept of servers, by their URL, in files that only their owner can read.

use std::{collections::BTreeMap, env, fs, io, path::PathBuf};

use counterpart_journal::write_private;

use crate::exit::{Exit, Failure};

/// One such file.
pub struct Kept {
    /// Its name.
    pub file: &'static str,
    /// What it holds.
    pub what: &'static str,
    /// What to do if it holds something else.
    pub mend: &'static str,
    /// What can't be kept without a home, and what to do instead.
    pub homeless: [&'static str; 2],
}

/// Texts, by the server's URL.
type Texts = BTreeMap<String, String>;

impl Kept {
    /// What is kept of the server at this URL.
    pub fn of(&self, url: &str) -> Result<Option<String>, Failure> {
        Ok(self.load()?.remove(url))
    }

    /// Keeps this of a server; the file in which it is.
    pub fn keep(&self, url: &str, text: String) -> Result<PathBuf, Failure> {
        let mut texts = self.load()?;
        texts.insert(url.to_owned(), text);
        self.store(&texts)
    }

    /// Forgets what is kept of a server; whether there was something.
    pub fn forget(&self, url: &str) -> Result<bool, Failure> {
        let mut texts = self.load()?;
        let had = texts.remove(url).is_some();
        if had {
            self.store(&texts)?;
        }
        Ok(had)
    }

    /// The file does not hold what it should.
    pub fn invalid(&self, error: &dyn std::fmt::Display) -> Failure {
        let file = self.place().unwrap_or_default();
        Failure::new(
            Exit::LocalFile,
            "CREDENTIALS_INVALID",
            format!("{} does not hold {}: {error}", file.display(), self.what),
            self.mend,
        )
    }

    /// Where it is; nowhere for somebody without a home.
    fn place(&self) -> Option<PathBuf> {
        let set =
            |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let settings = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
        Some(settings.join("counterpart").join(self.file))
    }

    fn load(&self) -> Result<Texts, Failure> {
        let Some(file) = self.place() else { return Ok(Texts::new()) };
        match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| self.invalid(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Texts::new()),
            Err(error) => Err(Failure::local_file("read", &file, &error)),
        }
    }

    fn store(&self, texts: &Texts) -> Result<PathBuf, Failure> {
        let Some(file) = self.place() else {
            let [what, instead] = self.homeless;
            return Err(Failure::new(
                Exit::LocalFile,
                "CREDENTIALS_HOMELESS",
                format!("there is nowhere to {what}: neither HOME nor XDG_CONFIG_HOME is set"),
                format!("set one of them, or {instead}"),
            ));
        };
        let text = serde_json::to_vec_pretty(texts).expect("texts are JSON");
        let directory = file.parent().expect("it was joined to a directory");
        let written = fs::create_dir_all(directory).and_then(|()| write_private(&file, &text));
        written.map_err(|error| Failure::local_file("write", &file, &error))?;
        Ok(file)
    }
}
