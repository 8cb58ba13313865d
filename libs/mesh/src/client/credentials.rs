//! Says on each call for whom it is made.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, header};
use tower::{Layer, Service};

use crate::identity::token::MEDIAMESH_IDENTITY;
use crate::identity::{Caller, KeyRing};
use crate::{BoxService, Channel, Request, Response};

/// What calls carry to say for whom they are made.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Kind);

#[derive(Debug, Clone, Default)]
enum Kind {
    #[default]
    None,
    Tokens(KeyRing),
    Fixed(HeaderValue),
}

impl Credentials {
    /// Nothing: a mesh on loopback without authentication.
    pub fn none() -> Self {
        Self::default()
    }

    /// An identity token of the caller that is being served, else of the process itself; whatever the
    /// request carries gives way to it.
    pub fn tokens(ring: KeyRing) -> Self {
        Self(Kind::Tokens(ring))
    }

    /// The same API key on every call: a program outside the mesh.
    ///
    /// Errors: a text that cannot be a header.
    pub fn api_key(key: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
        value.set_sensitive(true);
        Ok(Self(Kind::Fixed(value)))
    }

    /// Returns `channel` with these credentials on every call.
    pub fn on(&self, channel: Channel) -> Channel {
        match self.0 {
            Kind::None => channel,
            _ => Channel::new(BoxService::new(
                CredentialsLayer::new(self.clone()).layer(channel),
            )),
        }
    }

    fn put(&self, headers: &mut HeaderMap) {
        match &self.0 {
            Kind::None => {}
            Kind::Tokens(ring) => {
                headers.remove(header::AUTHORIZATION);
                let token = ring.token(Caller::current().as_ref());
                headers.insert(&MEDIAMESH_IDENTITY, token);
            }
            Kind::Fixed(value) => {
                headers.insert(header::AUTHORIZATION, value.clone());
            }
        }
    }
}

/// Layer of [`WithCredentials`].
#[derive(Debug, Clone)]
pub(crate) struct CredentialsLayer {
    credentials: Credentials,
}

impl CredentialsLayer {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }
}

impl<S> Layer<S> for CredentialsLayer {
    type Service = WithCredentials<S>;

    fn layer(&self, inner: S) -> WithCredentials<S> {
        WithCredentials {
            inner,
            credentials: self.credentials.clone(),
        }
    }
}

/// Puts the credentials on each call.
#[derive(Debug, Clone)]
pub(crate) struct WithCredentials<S> {
    inner: S,
    credentials: Credentials,
}

impl<S> Service<Request> for WithCredentials<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // Here and not in a future: it runs in the task of the caller that is being served.
        self.credentials.put(request.headers_mut());
        self.inner.call(request)
    }
}
