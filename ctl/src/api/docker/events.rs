//! `/events`: what happened lately and what happens from now on, one JSON object a line, until the client leaves or a
//! moment comes.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use vswitch_api::ErrorBody;
use vswitch_api::docker::event::{Actor, EventMessage};

use super::filters;
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::Asked;
use crate::clock::{Moment, parse_until};
use crate::controller::Listener;
use crate::model::{Event, EventKind, Filters};

/// Query of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Watching {
    since: String,
    until: String,
    filters: String,
}

/// Filter keys. Those that speak of what vswitch does not have match nothing that it has.
const KEYS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Of [`KEYS`], those that no event of ours can match.
const STRANGE_KEYS: [&str; 8] = ["config", "daemon", "image", "node", "plugin", "secret", "service", "volume"];

/// Events, one JSON object a line.
#[utoipa::path(get, path = "/events",
    params(("since" = Option<String>, Query, description = "Unix time: also what was then"),
        ("until" = Option<String>, Query, description = "Unix time of the end"),
        ("filters" = Option<String>, Query, description = "JSON, as Docker's")),
    responses((status = 200, body = EventMessage), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn stream(State(app): State<App>, Asked(query): Asked<Watching>) -> Answer<Response> {
    let (since, until) = (parse_moment("since", &query.since)?, parse_moment("until", &query.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Refusal::bad(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.since, query.until
        )));
    }
    let wanted = Wanted { since, until, filters: Filters::new(filters::parse(&query.filters)?, &KEYS)? };
    let (past, listener) = app.controller.events();
    // As with Docker: the past is told to whoever names a time.
    let past = if since.is_some() || until.is_some() { past } else { Vec::new() };
    let left = until.map(|until| until.since(Moment::now()));
    let events = Events {
        past: past.into_iter(),
        listener,
        wanted,
        deadline: left.map(|left| Box::pin(tokio::time::sleep(left))),
        over: left == Some(Duration::ZERO),
    };
    let lines = unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line(&event)), events))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

struct Wanted {
    since: Option<Moment>,
    until: Option<Moment>,
    filters: Filters,
}

impl Wanted {
    fn includes(&self, event: &Event) -> bool {
        let filters = &self.filters;
        let name = event.attributes.get("name").map(String::as_str).unwrap_or_default();
        let named = |kind: EventKind| {
            !filters.has(kind.word()) || (event.kind == kind && filters.prefix(kind.word(), &[&event.id, name]))
        };
        self.since.is_none_or(|since| event.moment >= since)
            && self.until.is_none_or(|until| event.moment <= until)
            && filters.exact("event", event.action)
            && filters.exact("type", event.kind.word())
            && filters.exact("scope", "local")
            && filters.labels(&event.attributes)
            && STRANGE_KEYS.iter().all(|key| !filters.has(key))
            && named(EventKind::Network)
            && named(EventKind::Container)
    }
}

struct Events {
    past: std::vec::IntoIter<Event>,
    listener: Listener,
    wanted: Wanted,
    deadline: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
    /// The end was before the beginning: only the past is told.
    over: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.past.by_ref().find(|event| self.wanted.includes(event)) {
            return Some(event);
        }
        if self.over {
            return None;
        }
        loop {
            let event = match &mut self.deadline {
                Some(deadline) => tokio::select! {
                    biased;
                    () = deadline => return None,
                    event = self.listener.next() => event?,
                },
                None => self.listener.next().await?,
            };
            if self.wanted.includes(&event) {
                return Some(event);
            }
        }
    }
}

fn line(event: &Event) -> Bytes {
    let container = event.kind == EventKind::Container;
    let message = EventMessage {
        status: container.then(|| event.action.to_owned()),
        id: container.then(|| event.id.clone()),
        kind: event.kind.word().to_owned(),
        action: event.action.to_owned(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.moment.unix_seconds(),
        time_nano: event.moment.unix_nanos(),
    };
    let mut line = serde_json::to_vec(&message).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// A Unix time, a time, or an age; zero and nothing are no time.
fn parse_moment(key: &str, text: &str) -> Answer<Option<Moment>> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let bad =
        || Refusal::bad(format!("invalid value for {key}: {text:?}; write a Unix time, a time or an age such as 10m"));
    parse_until(text, Moment::now()).map(Some).ok_or_else(bad)
}
