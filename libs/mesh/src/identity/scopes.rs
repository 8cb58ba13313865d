//! What a caller may do.

use std::fmt;
use std::str::FromStr;

/// One right; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Search, list, read and download.
    Read,
    /// Upload, change and delete as well.
    Write,
    /// Make and revoke keys as well.
    Admin,
}

impl Scope {
    /// Every scope, least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Returns the lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no scope; read, write and admin are")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == name)
            .ok_or_else(|| UnknownScope(name.to_owned()))
    }
}

/// A set of scopes, as names in a token: `read write`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Returns the set of all.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Returns whether something in the set includes `scope`.
    pub fn include(self, scope: Scope) -> bool {
        self.0 >> (scope as u8) != 0
    }

    /// Returns the scopes that were named, least first.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.0 & (1 << *scope as u8) != 0)
    }

    /// Reads names between spaces; unknown ones are left out, so that a newer service may name
    /// more.
    pub fn parse(names: &str) -> Self {
        names
            .split_ascii_whitespace()
            .filter_map(|name| name.parse().ok())
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(
            scopes
                .into_iter()
                .fold(0, |set, scope| set | 1 << scope as u8),
        )
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_includes_those_before_it_and_no_other() {
        let write = Scopes::parse("write");
        assert!(write.include(Scope::Read) && write.include(Scope::Write));
        assert!(!write.include(Scope::Admin));
        assert!(!Scopes::default().include(Scope::Read));
        assert!(Scopes::all().include(Scope::Admin));
    }

    #[test]
    fn scopes_survive_their_text_and_unknown_ones_give_nothing() {
        for scopes in [
            Scopes::default(),
            Scopes::parse("read admin"),
            Scopes::all(),
        ] {
            assert_eq!(Scopes::parse(&scopes.to_string()), scopes);
        }
        assert_eq!(Scopes::parse("everything Admin *"), Scopes::default());
    }
}
