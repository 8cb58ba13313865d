//! Merging layers into a typed value.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    layer::{Layer, Source},
    path::Path,
};

/// A configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The typed value.
    pub value: T,
    /// Source of each value that is not a default.
    pub origins: BTreeMap<Path, Source>,
}

/// Every fault of a configuration, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 fault:")?,
            n => write!(f, "the configuration has {n} faults:")?,
        }
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// Merges layers over the defaults of `T`, later ones first in rank, then asks `validate` for the
/// faults of the whole.
///
/// Each value is tried on the defaults by itself, so that all faults are found, not the first.
///
/// Errors: every unreadable source, unknown key, value of the wrong type, and what `validate`
/// says.
pub fn load<T>(
    layers: &[Layer],
    validate: impl FnOnce(&T) -> Vec<String>,
) -> Result<Loaded<T>, Faults>
where
    T: Default + Serialize + DeserializeOwned,
{
    let defaults = serde_json::to_value(T::default()).map_err(|e| Faults(vec![e.to_string()]))?;
    let mut tree = defaults.clone();
    let mut origins = BTreeMap::new();
    let mut faults: Vec<String> = layers
        .iter()
        .flat_map(|layer| layer.faults.clone())
        .collect();
    for (path, source, readings) in layers.iter().flat_map(|layer| &layer.values) {
        let mut first_fault = None;
        let fitting = readings.iter().find(|reading| {
            let mut probe = defaults.clone();
            insert(&mut probe, path.names(), (*reading).clone());
            match serde_json::from_value::<T>(probe) {
                Ok(_) => true,
                Err(error) => {
                    first_fault.get_or_insert(error.to_string());
                    false
                }
            }
        });
        match fitting {
            Some(reading) => {
                insert(&mut tree, path.names(), reading.clone());
                originate(&mut origins, path.clone(), reading, source);
            }
            None => {
                let fault = first_fault.unwrap_or_else(|| "has no value".to_owned());
                faults.push(format!("{path} ({source}): {fault}"));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    let value: T = serde_json::from_value(tree).map_err(|error| Faults(vec![error.to_string()]))?;
    let faults = validate(&value);
    if faults.is_empty() {
        Ok(Loaded { value, origins })
    } else {
        Err(Faults(faults))
    }
}

/// Sets the value at a path, making objects on the way. A table is laid over the one that is there.
fn insert(tree: &mut Value, path: &[String], value: Value) {
    match (path, value) {
        ([name, rest @ ..], value) => {
            if !tree.is_object() {
                *tree = Value::Object(Map::new());
            }
            let Value::Object(fields) = tree else { return };
            insert(fields.entry(name).or_insert(Value::Null), rest, value);
        }
        ([], Value::Object(fields)) if tree.is_object() => {
            for (name, value) in fields {
                insert(tree, &[name], value);
            }
        }
        ([], value) => *tree = value,
    }
}

/// Notes the source of every value of a reading.
fn originate(origins: &mut BTreeMap<Path, Source>, path: Path, reading: &Value, source: &Source) {
    match reading {
        Value::Object(fields) => {
            for (name, value) in fields {
                originate(origins, path.child(name), value, source);
            }
        }
        _ => {
            origins.insert(path, source.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        name: String,
        limit: u32,
        nested: Nested,
        methods: BTreeMap<String, Nested>,
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Nested {
        path: Option<String>,
        on: bool,
    }

    fn env(pairs: &[(&str, &str)]) -> Layer {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layer::env("APP_", &["APP_HOME"], pairs)
    }

    #[test]
    fn later_layers_win_and_origins_are_kept() {
        let layers = [
            env(&[
                ("APP_LIMIT", "5"),
                ("APP_NESTED__ON", "true"),
                ("APP_NAME", "12"),
                ("APP_HOME", "/x"),
            ]),
            Layer::default().flag("limit", "--limit", Some(7)),
        ];
        let loaded: Loaded<Config> = load(&layers, |_| Vec::new()).unwrap();
        assert_eq!(loaded.value.limit, 7);
        assert!(loaded.value.nested.on);
        assert_eq!(loaded.value.name, "12");
        let origin = |path| loaded.origins.get(&Path::dotted(path)).cloned();
        assert_eq!(origin("limit"), Some(Source::Flag("--limit".into())));
        assert_eq!(origin("name"), Some(Source::Env("APP_NAME".into())));
        assert_eq!(origin("nested.path"), None);
    }

    fn file(text: &str) -> Layer {
        Layer::text(std::path::Path::new("app.toml"), text)
    }

    #[test]
    fn names_with_dots_are_read_from_tables_inline_tables_and_the_environment() {
        const NAME: &str = "a.v1.Service/Get";
        for text in [
            "[methods.\"a.v1.Service/Get\"]\npath = \"p\"\n",
            "methods = { \"a.v1.Service/Get\" = { path = \"p\" } }\n",
            "methods.\"a.v1.Service/Get\".path = \"p\"\n",
        ] {
            let inline = "{ \"a.v1.Service/Get\" = { on = true }, \"b.C/D\" = { on = true } }";
            let layers = [file(text), env(&[("APP_METHODS", inline)])];
            let loaded: Loaded<Config> = load(&layers, |_| Vec::new()).unwrap();
            let method = &loaded.value.methods[NAME];
            // one is laid over the other
            assert_eq!((method.path.as_deref(), method.on), (Some("p"), true));
            assert!(loaded.value.methods["b.C/D"].on);
            let shown = crate::print::print(&loaded, &[]);
            let line = shown.lines().find(|line| line.contains(".path = \"p\""));
            let line = line.unwrap();
            assert!(
                line.starts_with("methods.\"a.v1.Service/Get\".path") && line.ends_with("app.toml"),
                "{line}"
            );
            let line = shown.lines().find(|line| line.contains("Get\".on = true"));
            assert!(line.unwrap().ends_with("# $APP_METHODS"), "{shown}");
            // what is printed can be read back
            let again: Loaded<Config> = load(&[file(&shown)], |_| Vec::new()).unwrap();
            assert!(again.value.methods[NAME].on);
        }
        let file = file("[methods.\"a.v1.Service/Get\"]\noff = 1\n");
        let fault = load::<Config>(&[file], |_| Vec::new()).unwrap_err();
        let start = "methods.\"a.v1.Service/Get\".off (";
        assert!(fault.0[0].starts_with(start), "{fault}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let layers = [env(&[
            ("APP_LIMIT", "many"),
            ("APP_NESTED__OFF", "1"),
            ("APP_X", "1"),
        ])];
        let faults = load::<Config>(&layers, |_| Vec::new())
            .unwrap_err()
            .to_string();
        for part in ["3 faults", "limit ($APP_LIMIT)", "nested.off", "x ($APP_X)"] {
            assert!(faults.contains(part), "{part} is not in {faults}");
        }
        let faults = load::<Config>(&[], |_| vec!["limit is 0".into()]).unwrap_err();
        assert_eq!(faults.0, ["limit is 0"]);
    }
}
