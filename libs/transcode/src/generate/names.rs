//! The Rust names prost and tonic give to proto things.

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::MessageDescriptor;

/// Words prost escapes with `r#`, and the four it cannot, which get `_`.
const KEYWORDS: &str = " as break const continue dyn else enum extern false fn for if impl in let \
    loop match mod move mut pub ref return static struct trait true type unsafe use where while \
    abstract become box do final macro override priv typeof unsized virtual yield async await try \
    gen ";
const UNESCAPABLE: &str = " self super extern crate ";

/// Where proto packages live in Rust.
#[derive(Clone, Debug)]
pub(super) struct RustPaths(Vec<(String, String)>);

impl Default for RustPaths {
    fn default() -> Self {
        Self(vec![(
            "google.protobuf".to_owned(),
            "::pbjson_types".to_owned(),
        )])
    }
}

impl RustPaths {
    pub(super) fn insert(&mut self, package: &str, rust: &str) {
        self.0.retain(|(known, _)| known != package);
        self.0.push((package.to_owned(), rust.to_owned()));
        // longest first, so that the first match is the best
        self.0
            .sort_by_key(|(package, _)| std::cmp::Reverse(package.len()));
    }

    /// Returns the module of a package.
    pub(super) fn module(&self, package: &str) -> String {
        for (prefix, rust) in &self.0 {
            let rest = match package.strip_prefix(prefix.as_str()) {
                Some("") => return rust.clone(),
                Some(rest) => rest,
                None => continue,
            };
            if let Some(rest) = rest.strip_prefix('.') {
                return format!("{rust}::{}", modules(rest));
            }
        }
        format!("crate::{}", modules(package))
    }

    /// Returns the type of a message.
    pub(super) fn message(&self, message: &MessageDescriptor) -> String {
        let mut parents = Vec::new();
        let mut parent = message.parent_message();
        while let Some(outer) = parent {
            parents.push(snake(outer.name()));
            parent = outer.parent_message();
        }
        parents.push(self.module(message.package_name()));
        parents.reverse();
        format!(
            "{}::{}",
            parents.join("::"),
            message.name().to_upper_camel_case()
        )
    }
}

fn modules(package: &str) -> String {
    package.split('.').map(snake).collect::<Vec<_>>().join("::")
}

/// Returns the identifier of a field, method or module.
pub(super) fn snake(name: &str) -> String {
    let name = name.to_snake_case();
    let word = format!(" {name} ");
    if UNESCAPABLE.contains(&word) {
        format!("{name}_")
    } else if KEYWORDS.contains(&word) {
        format!("r#{name}")
    } else {
        name
    }
}
