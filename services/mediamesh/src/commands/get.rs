//! `get`: an item, or its bytes.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use mediamesh_mesh::Channel;
use mediamesh_proto::media::v1::{
    DownloadMediaRequest, GetMediaItemRequest, MediaItem, download_media_response::Payload,
    media_service_client::MediaServiceClient,
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::table::table;
use crate::{cli::Get, client, config::Config, import::screen::say};

pub(super) async fn run(args: Get, config: &Config) -> Result<()> {
    let channel = client::connect(&args.endpoint, config)?;
    match &args.output {
        Some(path) => save(channel, &args, path).await,
        // Bytes on a terminal help nobody, and the item is not what was asked for.
        None if !args.rendition.is_empty() => bail!("--rendition needs --output FILE"),
        None => show(channel, &args).await,
    }
}

async fn show(channel: Channel, args: &Get) -> Result<()> {
    let request = GetMediaItemRequest {
        media_item_id: args.id.clone(),
    };
    let answer = MediaServiceClient::new(channel)
        .get_media_item(request)
        .await;
    let item = answer
        .map_err(|status| client::explain(&status))?
        .into_inner()
        .media_item
        .unwrap_or_default();
    match args.json {
        true => say(&serde_json::to_string_pretty(&item)?),
        false => print(&item),
    }
    Ok(())
}

async fn save(channel: Channel, args: &Get, path: &Path) -> Result<()> {
    let request = DownloadMediaRequest {
        media_item_id: args.id.clone(),
        rendition: args.rendition.clone(),
        ..DownloadMediaRequest::default()
    };
    let answer = MediaServiceClient::new(channel)
        .download_media(request)
        .await;
    let mut stream = answer
        .map_err(|status| client::explain(&status))?
        .into_inner();
    let to_stdout = path == Path::new("-");
    let part = path.with_added_extension("part");
    let mut out: Box<dyn AsyncWrite + Unpin + Send> = match to_stdout {
        true => Box::new(tokio::io::stdout()),
        false => Box::new(
            tokio::fs::File::create(&part)
                .await
                .with_context(|| format!("cannot write {}", part.display()))?,
        ),
    };
    while let Some(message) = stream
        .message()
        .await
        .map_err(|status| client::explain(&status))?
    {
        if let Some(Payload::Chunk(chunk)) = message.payload {
            out.write_all(&chunk)
                .await
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    out.flush().await?;
    if !to_stdout {
        tokio::fs::rename(&part, path)
            .await
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn print(item: &MediaItem) {
    let mut rows = table(["field", "value"]);
    for row in fields(item) {
        rows.add_row(row);
    }
    say(&rows.to_string());
}

/// What is known about an item, by name.
fn fields(item: &MediaItem) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push([name.to_owned(), value]);
        }
    };
    let time = |seconds: Option<i64>, format: &str| {
        seconds
            .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
            .map(|time| time.format(format).to_string())
            .unwrap_or_default()
    };
    let taken = item.capture_time.as_ref().map(|time| time.seconds);
    let stored = item.create_time.as_ref().map(|time| time.seconds);
    row("id", item.id.clone());
    row("name", item.display_name.clone());
    row("folder", item.folder.clone());
    row(
        "state",
        item.state()
            .as_str_name()
            .trim_start_matches("STATE_")
            .to_lowercase(),
    );
    row("failure", item.failure_detail.clone());
    // The camera's own clock: it knows no zone.
    row("taken", time(taken, "%Y-%m-%d %H:%M:%S"));
    row("stored", time(stored, "%Y-%m-%d %H:%M:%S UTC"));
    row("type", item.content_type.clone());
    let pixels = match (item.width_pixels, item.height_pixels) {
        (Some(width), Some(height)) => format!(", {width} x {height} pixels"),
        _ => String::new(),
    };
    row("size", format!("{} bytes{pixels}", item.size_bytes));
    row("tags", item.tags.join(", "));
    row("caption", item.caption.clone());
    row(
        "colours",
        item.colors
            .iter()
            .map(|color| color.hex.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    );
    if let Some(exif) = &item.exif {
        row(
            "camera",
            format!("{} {}", exif.camera_make, exif.camera_model)
                .trim()
                .to_owned(),
        );
        row("lens", exif.lens_model.clone());
    }
    for rendition in &item.renditions {
        row(
            &rendition.name,
            format!(
                "{} x {}, {} bytes",
                rendition.width_pixels, rendition.height_pixels, rendition.size_bytes
            ),
        );
    }
    row("sha256", item.sha256.clone());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_says_when_it_was_taken_and_stored() {
        let at = |seconds: i64| Some(mediamesh_proto::time::timestamp(seconds * 1_000_000 + 5));
        let item = MediaItem {
            capture_time: at(1_009_850_700),
            create_time: at(1_795_245_478),
            ..MediaItem::default()
        };
        let fields = fields(&item);
        let field = |name: &str| fields.iter().find(|[field, _]| field == name);
        assert_eq!(field("taken").map(|f| &*f[1]), Some("2002-01-01 02:05:00"));
        assert_eq!(
            field("stored").map(|f| &*f[1]),
            Some("2026-11-21 07:17:58 UTC")
        );
        assert_eq!(field("caption"), None, "what is not known is left out");
    }
}
