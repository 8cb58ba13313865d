//! Compiles the test proto: prost types, tonic client and server, pbjson, routes, OpenAPI.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let google = root.join("../../../../third_party/proto");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed={}", google.display());

    let mut compiler = protox::Compiler::new([root.join("proto"), google])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("library.proto")?;
    let descriptor_set = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptor.bin"), &descriptor_set)?;

    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(prost_types::FileDescriptorSet::decode(
            descriptor_set.as_slice(),
        )?)?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptor_set)?
        .build(&[".library"])?;

    let output = mediamesh_transcode::Generator::new(&descriptor_set)
        .rust_path("library", "crate::library")
        .title("library")
        .version("1.2.3")
        .merge_openapi(serde_json::json!({
            "tags": [{ "name": "hand-written" }],
            "paths": { "/v1/books/{id}/cover": { "put": { "tags": ["hand-written"], "responses": {} } } },
        }))
        .generate()?;
    fs::write(out.join("routes.rs"), output.rust)?;
    fs::write(out.join("openapi.json"), output.openapi_json)?;
    Ok(())
}
