//! Collects the indexes that the migrations make, so that a database can be compared with them.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../migrations");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for backend in ["sqlite", "postgres"] {
        let folder = root.join(backend);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path().join("up.sql")))
            .collect::<Result<_, std::io::Error>>()?;
        files.sort();
        let mut all = String::new();
        for file in files {
            all.push_str(&fs::read_to_string(file)?);
            all.push('\n');
        }
        fs::write(out.join(format!("{backend}.sql")), all)?;
    }
    Ok(())
}
