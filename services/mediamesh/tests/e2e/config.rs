//! What can be configured is written down.

use anyhow::Result;

use crate::launcher;

#[test]
fn the_reference_of_the_configuration_is_up_to_date() -> Result<()> {
    let output = launcher()
        .command()
        .args(["config", "reference"])
        .output()?;
    assert!(output.status.success(), "{output:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
    let made = String::from_utf8(output.stdout)?;
    assert!(made.contains("`max_image_memory_bytes`"), "{made}");
    assert_eq!(
        std::fs::read_to_string(path)?,
        made,
        "write it again: mediamesh config reference > docs/config.md"
    );
    Ok(())
}
