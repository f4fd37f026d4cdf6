//! Reading requests: every fault becomes one sentence.

use std::time::Duration;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vswitch_api::MAX_BODY_BYTES;

use super::answer::Refusal;

/// How long a client may take to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(15);

/// How much of an oversized body is read and thrown away, so that the client gets the answer and not a broken pipe.
const DRAIN_BYTES: usize = 64 << 20;

/// A JSON body. As with Docker's own clients in mind, the content type is not looked at.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let read = tokio::time::timeout(BODY_PATIENCE, read_body(request)).await;
        let late =
            || Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time; send it again");
        let bytes = read.map_err(|_| late())??;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Refusal::bad("the request body is empty; send a JSON object"));
        }
        // serde would take an array for a struct.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Refusal::bad("invalid JSON in the request body: it is no object; send one such as {}"));
        }
        serde_json::from_slice(&bytes)
            .map(Body)
            .map_err(|error| Refusal::bad(format!("invalid JSON in the request body: {error}")))
    }
}

/// Reads a body that nobody wants, within the same limits, so that the client gets its answer and not a broken pipe.
pub(super) async fn drain(request: Request) {
    let _ = tokio::time::timeout(BODY_PATIENCE, read_body(request)).await;
}

async fn read_body(request: Request) -> Result<Vec<u8>, Refusal> {
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    let mut seen = 0usize;
    if body.size_hint().lower() > DRAIN_BYTES as u64 {
        return Err(too_large());
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad("the request body broke off; send it again"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
        if seen > DRAIN_BYTES {
            break;
        }
    }
    if seen > MAX_BODY_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn too_large() -> Refusal {
    let sentence = format!("the request body is larger than {MAX_BODY_BYTES} bytes; send a smaller one");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, sentence)
}

/// The variable parts of a path.
pub(super) struct Segments<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Segments(value)),
            Err(error) => Err(Refusal::bad(format!("invalid path: {}", error.body_text()))),
        }
    }
}

/// The query string.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Asked(value)),
            Err(error) => Err(Refusal::bad(format!("invalid query: {}", error.body_text()))),
        }
    }
}

/// A query value: `true`, `1` or nothing; `false` or `0`.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" | "1" | "true" | "True" => Ok(Flag(true)),
            "0" | "false" | "False" => Ok(Flag(false)),
            other => Err(serde::de::Error::custom(format!("{other:?} is neither true nor false"))),
        }
    }
}
