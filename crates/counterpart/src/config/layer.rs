//! The first stage: texts, by source. Nothing is judged here but that a name is known and a text is a text.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, FromArgMatches};

use super::{Key, invalid, path, unreadable};
use crate::exit::Failure;

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(Key),
    /// A variable of the environment.
    Variable(Key),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(key) => write!(f, "--{}", key.row().name),
            Origin::Variable(key) => f.write_str(&key.variable()),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// What one source says.
pub type Layer = BTreeMap<Key, (String, Origin)>;

/// The flags of `serve`, made from the table of settings.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config FILE.toml`.
    pub config: Option<PathBuf>,
    given: BTreeMap<Key, String>,
}

impl Flags {
    /// As a source.
    pub fn layer(&self) -> Layer {
        let given = self.given.iter();
        given.map(|(&key, text)| (key, (text.clone(), Origin::Flag(key)))).collect()
    }
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new("config").long("config").value_name("FILE.toml").help(
            "Configuration file; its keys are the names of these flags [env: COUNTERPART_CONFIG]",
        );
        Key::ALL.into_iter().map(flag).fold(command.arg(config), clap::Command::arg)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn flag(key: Key) -> Arg {
    let row = key.row();
    let mut help = row.help.to_owned();
    if let (Some(default), Some(_)) = (row.default, row.value) {
        help += &format!(" [default: {default}]");
    }
    help += &format!(" [env: {}]", key.variable());
    let arg = Arg::new(row.name).long(row.name).help(help);
    match row.value {
        Some(value) => arg.value_name(value),
        None => arg
            .value_name("on|off")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("on"),
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let given = Key::ALL.into_iter().filter_map(|key| Some((key, text(key.row().name)?)));
        Ok(Flags { config: text("config").as_deref().map(path), given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What the environment says.
pub struct Environment {
    pub layer: Layer,
    /// `COUNTERPART_CONFIG`.
    pub config: Option<PathBuf>,
}

impl Environment {
    /// Picks this program's variables out of `variables`.
    pub fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Environment, Failure> {
        let mut read = Environment { layer: Layer::new(), config: None };
        for (name, value) in variables {
            if name == "COUNTERPART_CONFIG" {
                read.config = Some(value.into());
                continue;
            }
            let Some(key) = Key::ALL.into_iter().find(|key| *key.variable() == *name) else {
                continue;
            };
            let text = value.into_string().map_err(|_| {
                invalid(
                    format!("{} is not valid UTF-8", key.variable()),
                    "set it again, or unset it",
                )
            })?;
            read.layer.insert(key, (text, Origin::Variable(key)));
        }
        Ok(read)
    }
}

/// What the configuration file says.
pub fn from_file(path: &Path) -> Result<Layer, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    from_toml(&text, path)
}

/// What a TOML text says; `path` is for messages.
pub fn from_toml(text: &str, path: &Path) -> Result<Layer, Failure> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let (shown, message) = (path.display(), error.message().trim());
        let line = error.span().map_or(1, |span| {
            1 + text.as_bytes()[..span.start.min(text.len())]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
        });
        invalid(format!("{shown} is not TOML, line {line}: {message}"), "correct the file")
    })?;
    let mut layer = Layer::new();
    for (name, value) in table {
        let Some(key) = Key::named(&name) else {
            return Err(invalid(
                format!("{} has an unknown key {name:?}", path.display()),
                format!(
                    "remove it, or use one of: {}",
                    Key::ALL.map(|key| key.row().name).join(", ")
                ),
            ));
        };
        let text = plain(value).ok_or_else(|| {
            invalid(
                format!(
                    "{name} in {} is neither a text, a number nor true or false",
                    path.display()
                ),
                "write one value, for example partner-timeout = \"10s\"",
            )
        })?;
        layer.insert(key, (text, Origin::File(path.to_owned())));
    }
    Ok(layer)
}

fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(yes) => Some(if yes { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}
