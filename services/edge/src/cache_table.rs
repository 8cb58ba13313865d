//! Cache-Control by route, the one table.
//!
//! Never `public`: answers belong to a tenant, and a shared cache must not keep them (S3-14).

/// What caches may do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Keep it, but ask each time; carries an ETag, so that asking costs no body.
    Revalidate,
    /// Never keep it.
    NoStore,
    /// Like `Revalidate`; an hour once the job has succeeded (S3-13).
    Job,
}

/// Keep, but ask each time.
pub(crate) const REVALIDATE: &str = "private, no-cache";
/// Never keep.
pub(crate) const NO_STORE: &str = "private, no-store";
/// A job that has succeeded does not change any more (S3-13, private because of S3-14).
pub(crate) const ENDED_JOB: &str = "private, max-age=3600";
/// Bytes asked for by version never change: 1 year (S3-15).
pub(crate) const VERSIONED_BYTES: &str = "private, max-age=31536000, immutable";
/// Bytes asked for without a version: a reprocessed rendition is seen after a week.
pub(crate) const BYTES: &str = "private, max-age=604800";
/// Files of the console and the documents: their names do not change with their content.
pub(crate) const ASSET: &str = "no-cache";

/// GET routes by template; what is not here is `NoStore`, as is every other method.
const TABLE: [(&str, Rule); 13] = [
    ("/v1/mediaItems", Rule::Revalidate),
    ("/v1/mediaItems/{media_item_id}", Rule::Revalidate),
    ("/v1/mediaItems:batchGet", Rule::Revalidate),
    ("/v1/folders", Rule::Revalidate),
    ("/v1/models", Rule::Revalidate),
    ("/v1/jobs", Rule::Revalidate),
    ("/v1/jobs/{job_id}", Rule::Job),
    ("/api/jobs/{job_id}", Rule::Job),
    // the cache service answers these quickly, and knows when they are stale
    ("/v1/mediaItems:search", Rule::NoStore),
    ("/api/search", Rule::NoStore),
    // counters of this moment
    ("/v1/queue/stats", Rule::NoStore),
    ("/v1/index/stats", Rule::NoStore),
    ("/v1/cache/stats", Rule::NoStore),
];

/// Returns the rule of a GET route.
pub(crate) fn rule(template: &str) -> Rule {
    TABLE
        .iter()
        .find(|(route, _)| *route == template)
        .map_or(Rule::NoStore, |(_, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_table_exists() {
        let document: serde_json::Value =
            serde_json::from_str(crate::OPENAPI).expect("the generator writes JSON");
        let shape = |path: &str| {
            path.split('/')
                .map(|part| if part.starts_with('{') { "{}" } else { part })
                .collect::<Vec<_>>()
                .join("/")
        };
        let paths: Vec<String> = document["paths"]
            .as_object()
            .expect("paths")
            .iter()
            .filter(|(_, item)| item.get("get").is_some())
            .map(|(path, _)| shape(path))
            .collect();
        for (route, _) in TABLE {
            assert!(paths.contains(&shape(route)), "{route} is not a GET route");
        }
    }
}
