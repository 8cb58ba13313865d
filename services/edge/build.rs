//! Generates the JSON routes and the OpenAPI document from the annotations in the protos.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = manifest.join("../..");
    let includes = [root.join("proto"), root.join("third_party/proto")];
    for include in &includes {
        println!("cargo::rerun-if-changed={}", include.display());
    }
    let handwritten = manifest.join("src/handwritten.openapi.json");
    println!("cargo::rerun-if-changed={}", handwritten.display());

    // Compiled again rather than taken from mediamesh-proto: as a build dependency that crate,
    // with tonic and prost below it, would be built a second time.
    let mut files = Vec::new();
    protos(&includes[0], &includes[0], &mut files)?;
    files.sort();
    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files)?;
    let descriptors = compiler.encode_file_descriptor_set();

    let output = mediamesh_transcode::Generator::new(&descriptors)
        .rust_path("mediamesh", "::mediamesh_proto")
        .channel("::mediamesh_mesh::Channel")
        .request_hook("crate::transcode::request")
        .title("mediamesh")
        .version(env!("CARGO_PKG_VERSION"))
        .description("Stores photos and videos and finds them by words and by example.")
        // as mediamesh-proto has pbjson write it
        .emits_all_fields()
        .merge_openapi(serde_json::from_str(&fs::read_to_string(handwritten)?)?)
        .generate()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("routes.rs"), output.rust)?;
    fs::write(out.join("openapi.json"), output.openapi_json)?;
    Ok(())
}

/// Collects every proto below `folder`, relative to `root`.
fn protos(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(root, &path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path.strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(())
}
