//! Holds the tree of dependencies to `deny.toml` without cargo-deny.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use crate::workspace::{assert_none, metadata, read};

fn deny() -> toml::Table {
    read("deny.toml").parse().unwrap()
}

fn strings<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let list = value[key].as_array().unwrap();
    list.iter()
        .map(|entry| {
            entry
                .as_str()
                .unwrap_or_else(|| entry["crate"].as_str().unwrap())
        })
        .collect()
}

/// Names and versions of the lock file, which also has what other platforms and features would need.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let mut packages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().unwrap() {
        let (name, version) = (
            package["name"].as_str().unwrap(),
            package["version"].as_str().unwrap(),
        );
        packages
            .entry(name.into())
            .or_default()
            .insert(version.into());
    }
    assert!(packages.len() > 100, "too few packages in Cargo.lock");
    packages
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let (deny, locked) = (deny(), locked());
    let banned = strings(&deny["bans"], "deny");
    assert!(
        banned.contains(&"openssl-sys")
            && banned.contains(&"aws-lc-sys")
            && banned.contains(&"pq-sys")
    );
    let wrong: Vec<String> = banned
        .iter()
        .filter(|name| locked.contains_key(**name))
        .map(ToString::to_string)
        .collect();
    assert_none(
        "banned by deny.toml; `cargo tree -i NAME` shows who brings it",
        &wrong,
    );
}

#[test]
fn the_crates_in_public_types_have_one_version() {
    let locked = locked();
    let single = [
        "axum",
        "bytes",
        "http",
        "http-body",
        "hyper",
        "prost",
        "rustls",
        "tokio",
        "tonic",
        "tower",
        "tower-http",
    ];
    let wrong: Vec<String> = single
        .iter()
        .filter(|name| {
            locked
                .get(**name)
                .is_none_or(|versions| versions.len() != 1)
        })
        .map(|name| format!("{name}: {:?}", locked.get(*name)))
        .collect();
    assert_none("two versions of one crate do not share their types", &wrong);
}

#[test]
fn every_licence_is_allowed() {
    let deny = deny();
    let allowed = strings(&deny["licenses"], "allow");
    let mut wrong = Vec::new();
    for package in metadata()
        .packages
        .iter()
        .filter(|package| package.source.is_some())
    {
        let licence = package.license.clone().unwrap_or_default();
        if !satisfied(&licence, &allowed) {
            wrong.push(format!("{} {}: {licence:?}", package.name, package.version));
        }
    }
    assert_none("licence not in the list of deny.toml", &wrong);
}

#[test]
fn every_crate_comes_from_the_registry() {
    let wrong: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| {
            package
                .source
                .as_ref()
                .is_some_and(|source| !source.repr.starts_with("registry+"))
        })
        .map(|package| package.id.to_string())
        .collect();
    assert_none("not from a registry", &wrong);
}

/// Whether an SPDX expression can be met: AND binds closer than OR, brackets as usual.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    // a slash is an old way to write OR
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, allowed) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

// Each reads its part of the expression: none if it is malformed, else whether it is met.

fn any(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    let mut met = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed)?;
    }
    Some(met)
}

fn all(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> Option<bool> {
    if words.next_if_eq(&"(").is_some() {
        let met = any(words, allowed)?;
        return (words.next() == Some(")")).then_some(met);
    }
    let mut name = words.next()?.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next()?);
    }
    Some(allowed.contains(&name.as_str()))
}

#[test]
fn licence_expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT OR",
        "(MIT",
        "ISC AND (GPL-3.0 OR X)",
        "Apache-2.0",
    ] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
