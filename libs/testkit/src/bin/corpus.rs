//! Makes more of a folder of photographs, for tests and benchmarks.
//!
//! `corpus tiles DIR COUNT` cuts quarters of the largest photographs into DIR/tiles and prints them.
//! `corpus variants DIR OUT` writes altered copies and OUT/truth.csv (variant, original, kind).
#![allow(clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use mediamesh_imaging::{Limits, probe};
use mediamesh_testkit::{
    corpus,
    variant::{self, Variant},
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["tiles", dir, count] => tiles(
            Path::new(dir),
            count.parse().context("COUNT must be a number")?,
        ),
        ["variants", dir, out] => variants(Path::new(dir), Path::new(out)),
        _ => bail!("usage: corpus tiles DIR COUNT | corpus variants DIR OUT"),
    }
}

/// A quarter must still be a photograph of a useful size.
const MIN_SIDE_PIXELS: u32 = 1200;

fn tiles(dir: &Path, count: usize) -> Result<()> {
    let mut sized: Vec<(u64, PathBuf)> = Vec::new();
    for path in corpus::images(dir)? {
        let bytes = fs::read(&path)?;
        let Ok(probe) = probe(&bytes, &Limits::default()) else {
            continue;
        };
        if probe.width.min(probe.height) >= MIN_SIDE_PIXELS {
            sized.push((u64::from(probe.width) * u64::from(probe.height), path));
        }
    }
    sized.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    fs::create_dir_all(dir.join("tiles"))?;
    let mut left = count;
    for (_, path) in sized {
        if left == 0 {
            break;
        }
        let image =
            variant::decode(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .context("file name is not UTF-8")?;
        for (index, tile) in variant::quarters(&image)?
            .into_iter()
            .take(left)
            .enumerate()
        {
            let name = format!("tiles/{stem}-{}.jpg", index + 1);
            fs::write(dir.join(&name), tile)?;
            println!("{name}\t{}", path.strip_prefix(dir)?.display());
            left -= 1;
        }
    }
    Ok(())
}

fn variants(dir: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let mut truth = String::from("variant,original,kind\n");
    for (index, path) in corpus::images(dir)?.into_iter().enumerate() {
        let image =
            variant::decode(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        let original = path.strip_prefix(dir)?.display().to_string();
        anyhow::ensure!(
            !original.contains(['"', ',', '\n']),
            "{original} cannot stand in a CSV file unquoted"
        );
        for kind in Variant::ALL {
            let name = format!("{index:05}-{}.jpg", kind.name());
            fs::write(out.join(&name), kind.of(&image)?)?;
            truth.push_str(&format!("{name},{original},{}\n", kind.name()));
        }
    }
    fs::write(out.join("truth.csv"), truth)?;
    Ok(())
}
