//! One source of configuration values.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path as FilePath, PathBuf},
};

use serde_json::Value;

use crate::path::Path;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Values of one source, by path, lowest first when merged.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// Path, source, and the readings of the value to try in order.
    pub(crate) values: Vec<(Path, Source, Vec<Value>)>,
    /// What could not be read at all.
    pub(crate) faults: Vec<String>,
}

impl Layer {
    /// Reads a TOML file. A file that is missing or broken is a fault of the load.
    #[must_use]
    pub fn file(path: &FilePath) -> Self {
        let mut layer = Self::default();
        match fs::read_to_string(path) {
            Ok(text) => return Self::text(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                layer
                    .faults
                    .push(format!("{}: no such file", path.display()));
            }
            Err(error) => layer.faults.push(format!("{}: {error}", path.display())),
        }
        layer
    }

    /// Reads the text of a TOML file.
    pub(crate) fn text(path: &FilePath, text: &str) -> Self {
        let mut layer = Self::default();
        match toml::from_str::<Value>(text) {
            Ok(tree) => layer.flatten(&Path::default(), tree, &Source::File(path.to_owned())),
            Err(error) => layer
                .faults
                .push(format!("{}: {}", path.display(), error.message())),
        }
        layer
    }

    /// Reads variables that begin with `prefix`; `__` separates the parts of a path, which is lower
    /// case. A value is read as TOML where it is TOML, else as text. Names in `reserved` are not
    /// configuration.
    ///
    /// A name with dots, slashes or capitals cannot be part of a variable's name; it can be written
    /// in the value of the table that holds it, as an inline table.
    #[must_use]
    pub fn env(
        prefix: &str,
        reserved: &[&str],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let variables: BTreeMap<String, String> = variables.into_iter().collect();
        let mut layer = Self::default();
        for (name, text) in variables {
            let Some(path) = name.strip_prefix(prefix) else {
                continue;
            };
            if reserved.contains(&name.as_str()) {
                continue;
            }
            let path = path.to_lowercase();
            let path = path
                .split("__")
                .fold(Path::default(), |path, name| path.child(name));
            let mut readings = Vec::new();
            if let Ok(Value::Object(mut tree)) = toml::from_str::<Value>(&format!("v = {text}"))
                && let Some(value) = tree.remove("v")
            {
                readings.push(value);
            }
            readings.push(Value::String(text));
            layer.values.push((path, Source::Env(name), readings));
        }
        layer
    }

    /// Adds the value of a flag, if it was given; `path` has dots between names.
    #[must_use]
    pub fn flag(mut self, path: &str, flag: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.values.push((
                Path::dotted(path),
                Source::Flag(flag.to_owned()),
                vec![value.into()],
            ));
        }
        self
    }

    fn flatten(&mut self, path: &Path, value: Value, source: &Source) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.flatten(&path.child(name), value, source);
                }
            }
            value => self
                .values
                .push((path.clone(), source.clone(), vec![value])),
        }
    }
}
