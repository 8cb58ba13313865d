//! Merging layers into a typed value.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::layer::{Layer, Source};

/// A configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The typed value.
    pub value: T,
    /// Source of each value that is not a default, by dotted path.
    pub origins: BTreeMap<String, Source>,
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
            insert(&mut probe, path, (*reading).clone());
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
                insert(&mut tree, path, reading.clone());
                origins.insert(path.clone(), source.clone());
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

/// Sets the value at a dotted path, making objects on the way.
fn insert(tree: &mut Value, path: &str, value: Value) {
    let (name, rest) = path
        .split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    let Value::Object(fields) = tree else { return };
    match rest {
        Some(rest) => insert(fields.entry(name).or_insert(Value::Null), rest, value),
        None => {
            fields.insert(name.to_owned(), value);
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
        assert_eq!(loaded.origins["limit"], Source::Flag("--limit".into()));
        assert_eq!(loaded.origins["name"], Source::Env("APP_NAME".into()));
        assert!(!loaded.origins.contains_key("nested.path"));
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
