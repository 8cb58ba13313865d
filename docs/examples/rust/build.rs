//! Generates the client from the protos.

use std::error::Error;

/// Where the protos are, as seen from this folder. Yours may lie elsewhere.
const PROTOS: [&str; 2] = ["../../../proto", "../../../third_party/proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in PROTOS {
        println!("cargo::rerun-if-changed={folder}");
    }
    let files = [
        "mediamesh/media/v1/media_service.proto",
        "mediamesh/search/v1/search_service.proto",
    ];
    let descriptors = protox::compile(files, PROTOS)?;
    tonic_prost_build::configure()
        .build_server(false)
        // one file that nests the packages as Rust modules
        .include_file("protos.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
