//! A client of the HTTP interface that speaks JSON.

use std::{sync::Once, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;

/// Longest wait for uploaded pictures to be processed. Debug builds on two busy cores take a second each.
const SETTLE_PATIENCE: Duration = Duration::from_secs(240);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as sent.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text; empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The JSON of a success.
    ///
    /// Errors: any status outside 200 to 299; the message has the body.
    pub fn ok(&self) -> Result<Value> {
        ensure!(
            self.status.is_success(),
            "status {}: {}",
            self.status,
            self.text()
        );
        Ok(self.json())
    }

    /// `reason` of a problem answer; empty if it is none.
    #[must_use]
    pub fn reason(&self) -> String {
        self.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A client of one process.
#[derive(Clone, Debug)]
pub struct Http {
    base: String,
    client: Client,
}

impl Http {
    /// A client of the interface at `host:port`.
    ///
    /// Errors: the client cannot be built.
    pub fn new(address: &str) -> Result<Self> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // reqwest wants a provider even for plain HTTP; an error means that there is one
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()?;
        Ok(Self {
            base: format!("http://{address}"),
            client,
        })
    }

    /// A request to a path of the interface.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request and reads the answer.
    ///
    /// Errors: no answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer {
            status,
            headers,
            body: response.bytes().await?.to_vec(),
        })
    }

    /// GET.
    ///
    /// Errors: no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    ///
    /// Errors: no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Uploads a file as a raw body.
    ///
    /// Errors: no answer.
    pub async fn upload(
        &self,
        name: &str,
        folder: &str,
        bytes: impl Into<reqwest::Body>,
    ) -> Result<Answer> {
        let request = self
            .request(Method::POST, "/v1/mediaItems")
            .query(&[("displayName", name), ("folder", folder)])
            .header("content-type", "application/octet-stream")
            .body(bytes);
        self.send(request).await
    }

    /// Uploads a file and returns its item.
    ///
    /// Errors: it was refused.
    pub async fn upload_ok(&self, name: &str, folder: &str, bytes: Vec<u8>) -> Result<Value> {
        let mut answer = self
            .upload(name, folder, bytes)
            .await?
            .ok()
            .with_context(|| format!("upload of {name}"))?;
        Ok(answer["mediaItem"].take())
    }

    /// Searches and returns the whole answer.
    ///
    /// Errors: it was refused.
    pub async fn search(&self, request: Value) -> Result<Value> {
        self.post("/v1/mediaItems:search", &request)
            .await?
            .ok()
            .with_context(|| format!("search {request}"))
    }

    /// Searches and returns the ids of the hits, best first.
    ///
    /// Errors: it was refused.
    pub async fn search_ids(&self, request: Value) -> Result<Vec<String>> {
        Ok(ids(&self.search(request).await?["results"]))
    }

    /// Reads every item, page by page.
    ///
    /// Errors: a page is refused, or there is no end to them.
    pub async fn list_all(&self, query: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut token = String::new();
        for _ in 0..1000 {
            let request =
                self.request(Method::GET, &format!("/v1/mediaItems?pageSize=200&{query}"));
            let page = self
                .send(request.query(&[("pageToken", &token)]))
                .await?
                .ok()?;
            items.extend(page["mediaItems"].as_array().cloned().unwrap_or_default());
            token = page["nextPageToken"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if token.is_empty() {
                return Ok(items);
            }
        }
        bail!("1000 pages without an end")
    }

    /// Waits until no job is waiting or running.
    ///
    /// Errors: that takes too long.
    pub async fn settled(&self) -> Result<()> {
        let start = tokio::time::Instant::now();
        loop {
            let stats = self.get("/v1/queue/stats").await?.ok()?;
            let open: i64 = ["waiting", "active", "delayed"]
                .iter()
                .map(|name| number(&stats[name]))
                .sum();
            if open == 0 {
                return Ok(());
            }
            ensure!(
                start.elapsed() < SETTLE_PATIENCE,
                "still {stats} after {SETTLE_PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The `id` of each element of a JSON array.
fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|element| element["id"].as_str().map(str::to_owned))
        .collect()
}

/// An integer in proto3 JSON: a number, a string of digits, or absent for 0.
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| value.as_str().and_then(|digits| digits.parse().ok()))
        .unwrap_or(0)
}
