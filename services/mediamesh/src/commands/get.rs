//! `get`: an item, or its bytes.

use std::path::Path;

use anyhow::{Context as _, Result};
use mediamesh_mesh::Channel;
use mediamesh_proto::media::v1::{
    DownloadMediaRequest, GetMediaItemRequest, MediaItem, download_media_response::Payload,
    media_service_client::MediaServiceClient,
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::table::table;
use crate::{cli::Get, client, config::Config, import::screen::say};

pub(super) async fn run(args: Get, config: &Config) -> Result<()> {
    let channel = client::connect(&args.endpoint, config.data_dir.as_deref())?;
    match &args.output {
        Some(path) => save(channel, &args, path).await,
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
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.add_row([name.to_owned(), value]);
        }
    };
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
    say(&rows.to_string());
}
