//! What can be configured is written down.

use anyhow::Result;
use mediamesh_mesh::Policy;

use crate::launcher;

/// What `config print` says with a file of this text and a variable.
fn printed(text: &str, variable: Option<(&str, &str)>) -> Result<std::process::Output> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("mediamesh.toml");
    std::fs::write(&file, text)?;
    let mut command = launcher().command();
    command.arg("--config").arg(&file).args(["config", "print"]);
    if let Some((name, value)) = variable {
        command.env(name, value);
    }
    Ok(command.output()?)
}

#[test]
fn policies_of_methods_are_read_from_a_file_and_from_the_environment() -> Result<()> {
    const GET: &str = "mediamesh.media.v1.MediaService/GetMediaItem";
    let table = format!("[mesh.methods.\"{GET}\"]\ndeadline_ms = 5123\n");
    let inline = format!("{{ \"{GET}\" = {{ attempt_timeout_ms = 1234 }} }}");
    let output = printed(&table, Some(("MEDIAMESH_MESH__METHODS", &inline)))?;
    let shown = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{shown}");
    let key = format!("mesh.methods.\"{GET}\"");
    for (name, source) in [
        ("deadline_ms = 5123", "mediamesh.toml"),
        ("attempt_timeout_ms = 1234", "$MEDIAMESH_MESH__METHODS"),
    ] {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{key}.{name}")));
        assert!(line.is_some_and(|line| line.ends_with(source)), "{shown}");
    }
    // and it is the policy in force
    let policy = shown.split(&format!("# {GET}\n")).nth(1).unwrap();
    let policy = policy.lines().next().unwrap();
    assert!(policy.contains("deadline 5s 123ms"), "{policy}");
    assert!(policy.contains("attempt 1s 234ms"), "{policy}");
    Ok(())
}

#[test]
fn the_policy_of_every_method_is_shown() -> Result<()> {
    let shown = String::from_utf8(printed("", None)?.stdout)?;
    let policy = Policy::default();
    let mut count = 0;
    for (path, of) in policy.methods() {
        let name = path.trim_start_matches('/');
        let Some((_, policy)) = shown.split_once(&format!("# {name}\n#   ")) else {
            panic!("{name} is not in {shown}");
        };
        let policy = policy.lines().next().unwrap();
        assert_eq!(
            policy.contains("hedging none"),
            of.hedging.is_none(),
            "{name}: {policy}"
        );
        assert_eq!(
            policy.contains("deadline none"),
            of.deadline.is_none(),
            "{name}: {policy}"
        );
        let attempts = format!("retry {} attempts", of.retry.max_attempts);
        assert!(policy.contains(&attempts), "{name}: {policy}");
        count += 1;
    }
    assert!(count > 30, "{count} methods");
    Ok(())
}

#[test]
fn what_is_set_of_breakers_hedges_and_latency_is_in_force() -> Result<()> {
    const GET: &str = "mediamesh.media.v1.MediaService/GetMediaItem";
    let text = format!(
        "[mesh.services.search.outlier_detection]\nmax_ejection_time_jitter = 0.35\n\
         [mesh.services.search.connection]\nkeep_alive_timeout_ms = 7000\nlatency_decay_ms = 150\n\
         latency_floor_us = 500\n[mesh.services.search]\ninitial_running = 11\n\
         [mesh.methods.\"{GET}\".hedging_policy]\nmin_hedging_delay_ms = 9\nbudget_percent = 2.5\n"
    );
    let output = printed(&text, None)?;
    let shown = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{shown}");
    for (of, parts) in [
        (GET, &["never before 9ms", "2.5 % of calls"][..]),
        (
            "search",
            &[
                "less up to 35 %",
                "left alone for 7s",
                "fades in 150ms",
                "less than 500us",
                "11 at the start",
            ],
        ),
    ] {
        let own = shown.split(&format!("\n# {of}\n")).nth(1).unwrap();
        let own: Vec<_> = own
            .lines()
            .take_while(|line| line.starts_with("#   "))
            .collect();
        let own = own.join("\n");
        for part in parts {
            assert!(own.contains(part), "{part} is not in {own}");
        }
    }
    Ok(())
}

#[test]
fn every_fault_of_the_mesh_section_is_told_before_anything_starts() -> Result<()> {
    let text = "[mesh.endpoints]\nsearch = [\"http://me:secret@a:1\", \"a:1\"]\n\
        [mesh.services.media]\nmax_running = 0\n\
        [mesh.services.media.outlier_detection]\nsuccess_rate_floor = 7.5\n\
        [mesh.methods.\"mediamesh.media.v1.MediaService/GetMedai\"]\ndeadline_ms = 1\n\
        [edge]\nmax_metadata_bytes = 99999\n";
    let output = printed(text, None)?;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let faults = String::from_utf8(output.stderr)?;
    for part in [
        "6 faults",
        "mesh.endpoints.search: endpoint `http://***@a:1`",
        "endpoint `a:1`",
        "mesh.services.media.max_running is 0; it must be 1 to",
        "success_rate_floor is 7.5; it must be 0 to 1",
        "GetMedai\" is no method",
        "edge.max_metadata_bytes is 99999; it must be 1024 to 8192",
    ] {
        assert!(faults.contains(part), "{part} is not in {faults}");
    }
    assert!(!faults.contains("secret"), "{faults}");
    Ok(())
}

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
