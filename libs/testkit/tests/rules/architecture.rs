//! Arrows point one way: binary, services, libs.

use cargo_metadata::DependencyKind;

use crate::workspace::{Layer, assert_none, files, layer, metadata, read};

/// (from, to, kind) of every dependency between members of the workspace.
fn arrows() -> Vec<(String, String, DependencyKind)> {
    let mut arrows = Vec::new();
    for package in metadata().workspace_packages() {
        for dependency in &package.dependencies {
            if layer(&dependency.name).is_some() && dependency.name != package.name.as_str() {
                arrows.push((
                    package.name.to_string(),
                    dependency.name.clone(),
                    dependency.kind,
                ));
            }
        }
    }
    assert!(
        arrows.len() > 10,
        "too few dependencies were read: {arrows:?}"
    );
    arrows
}

#[test]
fn dependencies_point_from_the_binary_to_services_to_libs() {
    let wrong: Vec<String> = arrows()
        .iter()
        .filter(|(from, to, kind)| *kind != DependencyKind::Development && layer(from) < layer(to))
        .map(|(from, to, _)| format!("{from} -> {to}"))
        .collect();
    assert_none("an arrow points upwards", &wrong);
}

#[test]
fn services_never_import_each_other() {
    // in tests neither: a service is tested over its proto
    let wrong: Vec<String> = arrows()
        .iter()
        .filter(|(from, to, _)| {
            layer(from) == Some(Layer::Service) && layer(to) == Some(Layer::Service)
        })
        .map(|(from, to, _)| format!("{from} -> {to}"))
        .collect();
    assert_none(
        "a service imports another; call its generated client over mesh::Channel",
        &wrong,
    );
}

#[test]
fn nothing_but_tests_uses_the_testkit() {
    let wrong: Vec<String> = arrows()
        .iter()
        .filter(|(_, to, kind)| to == "mediamesh-testkit" && *kind != DependencyKind::Development)
        .map(|(from, ..)| from.clone())
        .collect();
    assert_none("the testkit is a dependency of the product", &wrong);
}

#[test]
fn the_mesh_knows_no_service() {
    let mut wrong: Vec<String> = arrows()
        .iter()
        .filter(|(from, to, _)| from == "mediamesh-mesh" && layer(to) != Some(Layer::Lib))
        .map(|(_, to, _)| to.clone())
        .collect();
    for path in files(&["rs"])
        .iter()
        .filter(|path| path.starts_with("libs/mesh/src"))
    {
        let text = read(path);
        for package in ["cache", "embedding", "media", "search"] {
            if text.contains(&format!("mediamesh_proto::{package}::")) {
                wrong.push(format!("{} names the {package} protocol", path.display()));
            }
        }
    }
    assert_none("the mesh knows a service", &wrong);
}

#[test]
fn imaging_does_no_input_or_output() {
    let mut wrong: Vec<String> = arrows()
        .iter()
        .filter(|(from, _, kind)| from == "mediamesh-imaging" && *kind == DependencyKind::Normal)
        .map(|(_, to, _)| format!("depends on {to}"))
        .collect();
    let package = metadata()
        .packages
        .iter()
        .find(|package| package.name.as_str() == "mediamesh-imaging")
        .unwrap();
    for dependency in package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
    {
        if ["tokio", "reqwest", "hyper", "walkdir"].contains(&dependency.name.as_str()) {
            wrong.push(format!("depends on {}", dependency.name));
        }
    }
    for path in files(&["rs"])
        .iter()
        .filter(|path| path.starts_with("libs/imaging/src"))
    {
        for (number, line) in read(path).lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//")
                && ["std::fs", "std::net", "tokio::"]
                    .iter()
                    .any(|word| code.contains(word))
            {
                wrong.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
        }
    }
    assert_none("imaging reads or writes", &wrong);
}

#[test]
fn crates_are_named_for_what_they_do() {
    let wrong: Vec<String> = metadata()
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .filter(|name| {
            let name = name.strip_prefix("mediamesh-").unwrap_or(name);
            [
                "utils", "util", "helpers", "common", "manager", "misc", "core",
            ]
            .contains(&name)
        })
        .collect();
    assert_none("a crate's name says nothing", &wrong);
}
