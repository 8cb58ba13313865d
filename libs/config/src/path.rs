//! Where a value stands in the configuration.

use std::fmt;

/// Names from the outermost table to the value. A name may hold anything, dots included.
///
/// Shown as TOML writes a dotted key: names that are not bare are quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads a path whose names have no dots.
    #[must_use]
    pub fn dotted(path: &str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
    }

    /// Returns the path of what is called `name` in this table.
    #[must_use]
    pub fn child(&self, name: impl Into<String>) -> Self {
        let mut names = self.0.clone();
        names.push(name.into());
        Self(names)
    }

    /// The names, outermost first.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            match !name.is_empty() && name.bytes().all(bare) {
                true => f.write_str(name)?,
                // JSON's escapes are TOML's
                false => write!(f, "{}", serde_json::Value::from(name.as_str()))?,
            }
        }
        Ok(())
    }
}
