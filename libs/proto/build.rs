//! Compiles the protos with `protox` (no protoc needed): messages with prost, services with tonic,
//! JSON with pbjson, and the descriptor set that reflection and the HTTP transcoder read.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 15] = [
    "mediamesh/common/v1/access.proto",
    "mediamesh/common/v1/error_reason.proto",
    "mediamesh/cache/v1/cache_service.proto",
    "mediamesh/cache/v1/session_service.proto",
    "mediamesh/embedding/v1/embedding_service.proto",
    "mediamesh/media/v1/media_item.proto",
    "mediamesh/media/v1/media_service.proto",
    "mediamesh/media/v1/job_service.proto",
    "mediamesh/media/v1/api_key_service.proto",
    "mediamesh/media/v1/user_service.proto",
    "mediamesh/media/v1/presign_service.proto",
    "mediamesh/media/v1/request_log_service.proto",
    "mediamesh/search/v1/past_search.proto",
    "mediamesh/search/v1/search.proto",
    "mediamesh/search/v1/search_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let includes = [root.join("proto"), root.join("third_party/proto")];
    for include in &includes {
        println!("cargo::rerun-if-changed={}", include.display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    // The encoded form keeps the google.api.http extension; the prost_types form loses it.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &encoded)?;
    let descriptors = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;

    tonic_prost_build::configure()
        .bytes(".")
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    // Empty lists, zeros and false are written out: a client may rely on every key being there.
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .emit_fields()
        .build(&[".mediamesh"])?;
    Ok(())
}
