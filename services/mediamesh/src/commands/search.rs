//! `search`: a query to a running mesh, as a table or as JSON.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::stream;
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    search::v1::{
        Example, SearchByImageRequest, SearchFilter, SearchMediaRequest, SearchMediaResponse,
        search_by_image_request::Payload, search_service_client::SearchServiceClient,
    },
    time::timestamp,
};

use super::table::table;
use crate::{cli::Search, client, config::Config, import::screen::say};

pub(super) async fn run(args: Search, config: &Config) -> Result<()> {
    let channel = client::connect(&args.endpoint, config)?;
    let request = request(&args);
    let answer = match &args.image {
        Some(path) => {
            let image = tokio::fs::read(path)
                .await
                .with_context(|| format!("cannot read {}", path.display()))?;
            by_image(channel, request, Bytes::from(image)).await
        }
        None => SearchServiceClient::new(channel)
            .search_media(request)
            .await
            .map(tonic::Response::into_inner),
    };
    let answer = answer.map_err(|status| client::explain(&status))?;
    match args.json {
        true => say(&serde_json::to_string_pretty(&answer)?),
        false => print(&answer),
    }
    Ok(())
}

/// Searches by an image file.
pub(super) async fn by_image(
    channel: Channel,
    request: SearchMediaRequest,
    image: Bytes,
) -> Result<SearchMediaResponse, tonic::Status> {
    let mut messages = vec![Payload::Search(request)];
    let mut rest = image;
    while !rest.is_empty() {
        messages.push(Payload::Chunk(rest.split_to(rest.len().min(64 * 1024))));
    }
    let messages = messages.into_iter().map(|payload| SearchByImageRequest {
        payload: Some(payload),
    });
    let answer = SearchServiceClient::new(channel)
        .search_by_image(stream::iter(messages))
        .await?;
    Ok(answer.into_inner().search.unwrap_or_default())
}

fn request(args: &Search) -> SearchMediaRequest {
    let day = |day: chrono::NaiveDate| {
        timestamp(
            day.and_time(chrono::NaiveTime::MIN)
                .and_utc()
                .timestamp_micros(),
        )
    };
    let filter = SearchFilter {
        kinds: args.kind.clone(),
        folder: args.folder.clone(),
        tags: args.tag.clone(),
        min_time: args.from.map(day),
        max_time: args.to.map(day),
        color: args.color.clone(),
        orientations: args.orientation.clone(),
        ..SearchFilter::default()
    };
    SearchMediaRequest {
        query: args.query.clone(),
        limit: i32::from(args.limit),
        examples: args
            .like
            .iter()
            .map(|id| Example {
                media_item_id: id.clone(),
                weight: 1.0,
            })
            .collect(),
        filter: (filter != SearchFilter::default()).then_some(filter),
        min_score: args.min_score,
        explain: args.explain,
        ..SearchMediaRequest::default()
    }
}

fn print(answer: &SearchMediaResponse) {
    let mut rows = table(["score", "name", "folder", "size", "taken", "id"]);
    for hit in &answer.results {
        let taken = hit
            .capture_time
            .as_ref()
            .and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0));
        rows.add_row([
            format!("{:.3}", hit.score),
            hit.display_name.clone(),
            hit.folder.clone(),
            format!("{} x {}", hit.width_pixels, hit.height_pixels),
            taken
                .map(|time| time.format("%Y-%m-%d").to_string())
                .unwrap_or_default(),
            hit.id.clone(),
        ]);
    }
    match answer.results.is_empty() {
        true => say("nothing found"),
        false => say(&rows.to_string()),
    }
    if let Some(explanation) = &answer.explanation {
        explanation.steps.iter().for_each(|step| say(step));
        for hit in &answer.results {
            for part in hit
                .explanation
                .iter()
                .flat_map(|explanation| &explanation.parts)
            {
                say(&format!(
                    "{}: place {} in {} (score {:.3}) adds {:.4}",
                    hit.display_name, part.rank, part.list, part.score, part.contribution
                ));
            }
        }
    }
    answer
        .degraded_reasons
        .iter()
        .for_each(|reason| say(&format!("note: {reason}")));
}
