//! What can be wrong at start is said plainly, with an exit code that a script can test.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Output, time::Duration};

use anyhow::{Context, Result};
use mediamesh_testkit::Launcher;

use crate::{launcher, start};

/// Exit code of wrong configuration or use. Source: sysexits.h, EX_USAGE.
const USAGE: i32 = 64;

/// Runs `up` that is expected to fail; returns its exit code and everything it printed.
fn fail(launcher: &Launcher, more: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = launcher.up();
    command
        .args(more)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn()?;
    let Output {
        status,
        stdout,
        stderr,
    } = wait(child)?;
    anyhow::ensure!(!status.success(), "it succeeded");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    anyhow::ensure!(!text.contains("panicked"), "it panicked:\n{text}");
    Ok((status.code(), text))
}

/// The output of a child, which is killed if it still runs after 20 s.
fn wait(mut child: std::process::Child) -> Result<Output> {
    for _ in 0..400 {
        if child.try_wait()?.is_some() {
            return Ok(child.wait_with_output()?);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    let output = child.wait_with_output()?;
    anyhow::bail!(
        "still running after 20 s:\n{}",
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test]
async fn a_data_folder_serves_one_process_at_a_time() -> Result<()> {
    let (keep, mesh) = start().await?;
    let second = launcher().data_dir(keep.data());
    let (_, text) = fail(&second, &[])?;
    assert!(
        text.contains("in use") && text.contains(&keep.data().display().to_string()),
        "{text}"
    );
    // the first is unharmed, and the folder is free once it is gone, even by SIGKILL
    mesh.http().get("/health").await?.ok()?;
    mesh.kill()?;
    let mut third = launcher().data_dir(keep.data());
    third.start().await?.http().get("/health").await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for flag in ["--listen", "--grpc-listen"] {
        let launcher = launcher();
        let mut command = launcher.command();
        command.arg("up").arg("--data-dir").arg(launcher.data());
        for name in ["--listen", "--grpc-listen"] {
            command.args([
                name,
                if name == flag {
                    &address
                } else {
                    "127.0.0.1:0"
                },
            ]);
        }
        let child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let output = wait(child).context(flag)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && text.contains(&address) && text.contains("use"),
            "{flag}: {text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
    Ok(())
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() -> Result<()> {
    // a file where the folder should be: refused to everybody, root too
    let blocked = launcher();
    let file = blocked.scratch().join("file");
    fs::write(&file, "in the way")?;
    let blocked = blocked.data_dir(file.join("data"));
    let (_, text) = fail(&blocked, &[])?;
    assert!(text.contains(&file.display().to_string()), "{text}");

    if rustix::process::geteuid().is_root() {
        // permissions do not hold root; the case above stands for both
        return Ok(());
    }
    let sealed = launcher();
    let folder = sealed.scratch().join("sealed");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555))?;
    let sealed = sealed.data_dir(folder.join("data"));
    let (_, text) = fail(&sealed, &[])?;
    assert!(text.contains(&folder.display().to_string()), "{text}");
    Ok(())
}

#[test]
fn every_fault_of_the_configuration_is_listed_and_the_exit_code_is_64() -> Result<()> {
    let launcher = launcher();
    let file = launcher.scratch().join("mediamesh.toml");
    fs::write(
        &file,
        "no_such_section = 1\n\n[media]\nno_such_key = true\nmax_upload_bytes = \"a lot\"\n",
    )?;
    let (code, text) = fail(&launcher, &["--config", file.to_str().context("path")?])?;
    assert_eq!(code, Some(USAGE), "{text}");
    for fault in ["no_such_section", "no_such_key", "max_upload_bytes"] {
        assert!(text.contains(fault), "{fault} is not listed:\n{text}");
    }
    let launcher = launcher.env("MEDIAMESH_MEDIA__NO_SUCH_KEY", "1");
    let (code, text) = fail(&launcher, &[])?;
    assert_eq!(code, Some(USAGE), "{text}");
    assert!(text.to_lowercase().contains("no_such_key"), "{text}");
    Ok(())
}

#[test]
fn an_unknown_flag_is_refused() -> Result<()> {
    let (code, text) = fail(&launcher(), &["--no-such-flag"])?;
    assert!(matches!(code, Some(2 | USAGE)), "{code:?}: {text}");
    assert!(text.contains("--no-such-flag"), "{text}");
    Ok(())
}

/// Starts a process that is expected to end, with these addresses given as flags.
fn refused(command: &[&str], http: &str, grpc: &str) -> Result<(Option<i32>, String)> {
    let launcher = launcher();
    let mut process = launcher.command();
    process.args(command).arg("--data-dir").arg(launcher.data());
    process.args(["--listen", http, "--grpc-listen", grpc]);
    process
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let output = wait(process.spawn()?)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(!text.contains("panicked"), "it panicked:\n{text}");
    // it ended before it made anything
    anyhow::ensure!(
        !launcher.data().try_exists()?,
        "it made its folder:\n{text}"
    );
    Ok((output.status.code(), text))
}

#[test]
fn an_address_other_than_loopback_is_refused_without_authentication() -> Result<()> {
    let own = "127.0.0.1:0";
    for command in [&["up"][..], &["serve", "cache"]] {
        for beyond in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0", "192.0.2.7:0"] {
            for (name, http, grpc) in [("listen", beyond, own), ("grpc_listen", own, beyond)] {
                let (code, text) = refused(command, http, grpc)?;
                assert_eq!(code, Some(USAGE), "{command:?} {name} {beyond}: {text}");
                let fault = format!("{name} is {beyond}: without authentication only loopback");
                assert!(
                    text.contains(&fault),
                    "{command:?}: {fault} is not in {text}"
                );
            }
        }
        // both at once, with both told
        let (code, text) = refused(command, "[::]:0", "0.0.0.0:0")?;
        assert_eq!(code, Some(USAGE), "{text}");
        for name in ["grpc_listen is 0.0.0.0:0", "listen is [::]:0"] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
    }
    Ok(())
}

/// A name may stand for any address, today this host's and tomorrow another's: it is none.
#[test]
fn a_host_name_is_no_address_to_serve() -> Result<()> {
    let own = "127.0.0.1:0";
    for (flag, http, grpc) in [
        ("--listen", "localhost:0", own),
        ("--grpc-listen", own, "localhost:0"),
    ] {
        let (code, text) = refused(&["serve", "cache"], http, grpc)?;
        assert!(matches!(code, Some(2 | USAGE)), "{code:?}: {text}");
        assert!(
            text.contains(flag) && text.contains("localhost:0"),
            "{text}"
        );
    }
    for name in ["MEDIAMESH_LISTEN", "MEDIAMESH_GRPC_LISTEN"] {
        let launcher = launcher().env(name, "mesh.example.org:80");
        let output = launcher.command().args(["config", "print"]).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{name}: {text}");
        assert!(
            text.contains("mesh.example.org:80") || text.contains("listen"),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn loopback_of_either_family_is_served_and_the_rest_once_calls_need_a_key() -> Result<()> {
    // some containers have no IPv6
    if TcpListener::bind("[::1]:0").is_err() {
        return Ok(());
    }
    let mut inside = launcher().listen("[::1]:0", "[::1]:0");
    let mesh = inside.start().await?;
    assert!(
        mesh.http_address().starts_with("[::1]:"),
        "{}",
        mesh.http_address()
    );
    mesh.http().get("/v1/models").await?.ok()?;
    drop(mesh);
    let mut outside = launcher()
        .listen("[::]:0", "[::]:0")
        .env("MEDIAMESH_IDENTITY__REQUIRED", "true");
    let mesh = outside.start().await?;
    let port = mesh.http_address().rsplit(':').next().context("no port")?;
    let http = mediamesh_testkit::Http::new(&format!("[::1]:{port}"))?;
    assert_eq!(http.get("/health/ready").await?.status, 200);
    assert_eq!(http.get("/v1/models").await?.status, 401, "without a key");
    Ok(())
}

#[tokio::test]
async fn health_tells_live_ready_and_details() -> Result<()> {
    let (_keep, mesh) = start().await?;
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/health/startup",
    ] {
        assert_eq!(mesh.http().get(path).await?.status.as_u16(), 200, "{path}");
    }
    let detailed = mesh
        .http()
        .get("/health?detailed=true")
        .await?
        .ok()?
        .to_string();
    for service in ["cache", "embedding", "media", "search"] {
        assert!(detailed.contains(service), "{service} is not in {detailed}");
    }
    let metrics = mesh.http().get("/metrics").await?.text();
    assert!(metrics.contains("mediamesh_"), "{metrics}");
    let openapi = mesh.http().get("/openapi.json").await?.ok()?;
    assert!(
        openapi["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    assert!(openapi["paths"]["/v1/mediaItems:search"].is_object());
    Ok(())
}

#[test]
fn doctor_looks_and_makes_nothing() -> Result<()> {
    let launcher = launcher();
    let missing = launcher.scratch().join("mistyped/folder");
    let mut command = launcher.command();
    command.arg("doctor").arg("--data-dir").arg(&missing);
    let child = command
        .env("MEDIAMESH_LISTEN", "127.0.0.1:0")
        .env("MEDIAMESH_GRPC_LISTEN", "127.0.0.1:0")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let output = wait(child)?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("is not there yet"), "{text}");
    assert!(
        !launcher.scratch().join("mistyped").try_exists()?,
        "it made the folder:\n{text}"
    );
    Ok(())
}
