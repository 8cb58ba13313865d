//! One user and its calls.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::{Client, RequestBuilder, header};
use serde_json::{Value, json};

use super::{pace::Call, photo::Photos};

/// Longest that a call may take; then it has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Names of what is uploaded are made of these, and so are searches.
const WORDS: [&str; 24] = [
    "beach",
    "sunset",
    "mountain",
    "red",
    "flower",
    "city",
    "night",
    "water",
    "green",
    "forest",
    "family",
    "car",
    "dog",
    "snow",
    "street",
    "lighthouse",
    "river",
    "market",
    "bridge",
    "garden",
    "harbour",
    "tower",
    "winter",
    "boat",
];
/// Folder of what is uploaded.
const FOLDER: &str = "mediamesh load";
/// Hits of a search, and items of a page of the list (S0-34).
const HITS: u32 = 20;
const PAGE: u32 = 50;
/// Most of an error's answer that is read for its reason.
const REASON_MAX: usize = 60;

/// What this run has uploaded.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Vec<String>>);

impl Known {
    /// Every id, which is then no longer known.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }

    fn any(&self, random: &mut StdRng) -> Option<String> {
        let ids = self.0.lock();
        match ids.len() {
            0 => None,
            count => ids.get(random.random_range(0..count)).cloned(),
        }
    }
}

/// One user, with connections of its own.
pub(super) struct User {
    base: String,
    client: Client,
    photos: Arc<Photos>,
    known: Arc<Known>,
}

/// Why a call failed, in few words: calls are counted by it.
pub(super) type Failure = String;

impl User {
    /// Errors: a key with signs that none has.
    pub(super) fn new(
        base: &str,
        api_key: Option<&str>,
        photos: &Arc<Photos>,
        known: &Arc<Known>,
    ) -> Result<Self> {
        let mut headers = header::HeaderMap::new();
        if let Some(key) = api_key {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {}", key.trim()))
                .context("the API key has characters that none has")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let client = Client::builder()
            .timeout(TIMEOUT)
            .default_headers(headers)
            // a mesh that sends elsewhere is not the one that is measured, nor to get the key
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            base: base.to_owned(),
            client,
            photos: Arc::clone(photos),
            known: Arc::clone(known),
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Makes a call; answers how many hits a search had.
    pub(super) async fn make(&self, call: Call, seed: u64) -> Result<Option<usize>, Failure> {
        let mut random = StdRng::seed_from_u64(seed);
        match call {
            Call::Page => self.page(&mut random).await.map(|()| None),
            Call::Search => self.search(&mut random).await.map(Some),
            Call::Upload => self.upload().await.map(|_| None),
        }
    }

    /// A page of the list or, every other time, an item.
    async fn page(&self, random: &mut StdRng) -> Result<(), Failure> {
        let item = match random.random_bool(0.5) {
            true => self.known.any(random),
            false => None,
        };
        let path = match item {
            Some(id) => format!("/v1/mediaItems/{id}"),
            None => format!("/v1/mediaItems?pageSize={PAGE}"),
        };
        let url = format!("{}{path}", self.base);
        answered(self.client.get(url)).await?;
        Ok(())
    }

    /// Few searches are made often and many seldom, as people do.
    async fn search(&self, random: &mut StdRng) -> Result<usize, Failure> {
        let mut word = || {
            let share: f64 = random.random();
            WORDS[(share * share * WORDS.len() as f64) as usize % WORDS.len()]
        };
        let body = json!({"query": format!("{} {}", word(), word()), "limit": HITS});
        let url = format!("{}/v1/mediaItems:search", self.base);
        let answer = answered(self.client.post(url).json(&body)).await?;
        let hits = answer["results"].as_array();
        Ok(hits.map_or(0, Vec::len))
    }

    /// Uploads the next picture and answers its id.
    pub(super) async fn upload(&self) -> Result<String, Failure> {
        let (number, bytes) = self.photos.next();
        let count = WORDS.len() as u64;
        let [first, second] = [number, number / count].map(|n| WORDS[(n % count) as usize]);
        let mut url = format!("{}/v1/mediaItems?displayName=", self.base);
        // words of letters only: nothing to escape but the spaces
        let _ = write!(url, "{first}%20{second}%20{number}.jpg");
        let _ = write!(url, "&folder={}", FOLDER.replace(' ', "%20"));
        let request = self
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(bytes);
        let answer = answered(request).await?;
        let id = answer["mediaItem"]["id"].as_str();
        let id = id.ok_or("an answer without an id")?.to_owned();
        self.known.0.lock().push(id.clone());
        Ok(id)
    }

    /// Whether an item was worked on.
    pub(super) async fn is_ready(&self, id: &str) -> bool {
        let url = format!("{}/v1/mediaItems/{id}", self.base);
        let answer = answered(self.client.get(url)).await;
        answer.is_ok_and(|item| item["state"] == "STATE_READY")
    }

    pub(super) async fn delete(&self, id: &str) -> Result<(), Failure> {
        let url = format!("{}/v1/mediaItems/{id}", self.base);
        answered(self.client.delete(url)).await?;
        Ok(())
    }
}

/// Sends a request and reads the whole answer.
async fn answered(request: RequestBuilder) -> Result<Value, Failure> {
    let sent = request.send().await;
    let answer = sent.map_err(|error| broken(&error))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| broken(&error))?;
    let json: Result<Value, _> = match body.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&body),
    };
    if !status.is_success() {
        let json = json.unwrap_or_default();
        let reason = json["reason"].as_str();
        // what a server of somebody else says is as long as it likes
        let reason: String = reason
            .unwrap_or_default()
            .chars()
            .take(REASON_MAX)
            .collect();
        return Err(format!("{} {reason}", status.as_u16()).trim().to_owned());
    }
    json.map_err(|_| "an answer that is no JSON".to_owned())
}

fn broken(error: &reqwest::Error) -> Failure {
    let what = match error {
        error if error.is_timeout() => return format!("no answer within {} s", TIMEOUT.as_secs()),
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    };
    what.to_owned()
}
