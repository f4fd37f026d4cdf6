//! `/containers/{id}/attach`, `…/logs` and `…/resize`.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use vswitch_api::ErrorBody;

use super::exec::Size;
use super::hijack::{Streams, connect};
use crate::agent::output::{Attach, frame};
use crate::api::App;
use crate::api::answer::{Answer, Refusal};
use crate::api::extract::{Asked, Flag, Segments};
use crate::blocking::may_block;
use crate::clock::{Moment, parse_until};
use crate::controller::{Extent, LogQuery};
use crate::logline::{Record, Stream};

/// Query of an attachment.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::api) struct Attaching {
    stream: Flag,
    logs: Flag,
    stdin: Flag,
    stdout: Flag,
    stderr: Flag,
    detach_keys: String,
}

/// The connection becomes the streams of a container, which need not have begun.
#[utoipa::path(post, path = "/containers/{id}/attach",
    params(("id" = String, Path), ("stream" = Option<bool>, Query, description = "what comes from now on"),
        ("logs" = Option<bool>, Query, description = "what came until now"),
        ("stdin" = Option<bool>, Query, description = "send standard input"),
        ("stdout" = Option<bool>, Query, description = "get standard output"),
        ("stderr" = Option<bool>, Query, description = "get standard error"),
        ("detachKeys" = Option<String>, Query, description = "such as ctrl-p,ctrl-q")),
    responses((status = 200), (status = 101, description = "its streams"), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn attach(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Attaching>,
    mut request: Request,
) -> Answer<Response> {
    let (tty, open_stdin) = app.controller.container_streams(&id)?;
    let wanted = Attach { input: query.stdin.0 && open_stdin, output: query.stdout.0, errors: query.stderr.0 };
    let socket = if query.stream.0 {
        app.controller.attach_streams(&id, wanted).await?
    } else {
        Streams::sentence("", tty).map_err(|error| unusable(&error))?.socket
    };
    let mut streams = Streams::new(socket, tty, if tty { &query.detach_keys } else { "" })?;
    if !tty {
        streams.detach.clear();
    }
    if query.logs.0 {
        let mut log = app.controller.docker_log(&id, Extent::Now, &LogQuery::default())?;
        while let Some(records) = log.next().await.map_err(|error| unusable(&error))? {
            records.iter().filter(|one| takes(wanted, one.stream)).for_each(|one| {
                streams.before.extend(if tty { one.text.clone() } else { frame(one.stream, &one.text) });
            });
        }
    }
    connect(&mut request, streams, async {})
}

const fn takes(wanted: Attach, stream: Stream) -> bool {
    match stream {
        Stream::Output => wanted.output,
        Stream::Errors => wanted.errors,
    }
}

fn unusable(error: &std::io::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot use the container's streams: {error}"))
}

/// Changes the size of a container's terminal.
#[utoipa::path(post, path = "/containers/{id}/resize",
    params(("id" = String, Path), ("h" = u16, Query, description = "rows"), ("w" = u16, Query, description = "columns")),
    responses((status = 200), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn resize(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(size): Asked<Size>,
) -> Answer<StatusCode> {
    app.controller.resize_container(&id, size.h, size.w).await?;
    Ok(StatusCode::OK)
}

/// Query of an output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::api) struct Logging {
    follow: Flag,
    stdout: Flag,
    stderr: Flag,
    timestamps: Flag,
    since: String,
    until: String,
    tail: String,
    /// Nothing is known beside the text.
    #[serde(rename = "details")]
    _details: Flag,
}

/// What a container wrote.
#[utoipa::path(get, path = "/containers/{id}/logs",
    params(("id" = String, Path), ("follow" = Option<bool>, Query, description = "go on until the container ends"),
        ("stdout" = Option<bool>, Query, description = "of standard output"),
        ("stderr" = Option<bool>, Query, description = "of standard error"),
        ("timestamps" = Option<bool>, Query, description = "each line with its time"),
        ("since" = Option<String>, Query, description = "Unix time"), ("until" = Option<String>, Query, description = "Unix time"),
        ("tail" = Option<String>, Query, description = "number of lines from the end, or all"),
        ("details" = Option<bool>, Query, description = "there are none")),
    responses((status = 200, description = "frames, or with a terminal its bytes"), (status = "4XX", body = ErrorBody)))]
pub(in crate::api) async fn logs(
    State(app): State<App>,
    Segments(id): Segments<String>,
    Asked(query): Asked<Logging>,
) -> Answer<Response> {
    let (tty, _) = app.controller.container_streams(&id)?;
    if !query.stdout.0 && !query.stderr.0 {
        return Err(Refusal::bad("Bad parameters: you must choose at least one stream"));
    }
    let moment = |key: &str, text: &str| match text {
        "" | "0" => Ok(None),
        text => parse_until(text, Moment::now()).map(Some).ok_or_else(|| {
            Refusal::bad(format!("invalid value for {key}: {text:?}; write a Unix time, a time or an age"))
        }),
    };
    let tail = match query.tail.as_str() {
        "" | "all" => None,
        // As Docker: what is no number means everything.
        text => text.parse::<i64>().ok().and_then(|lines| usize::try_from(lines).ok()),
    };
    let wanted = LogQuery { since: moment("since", &query.since)?, until: moment("until", &query.until)?, tail };
    let extent = if query.follow.0 { Extent::End } else { Extent::Now };
    let log = app.controller.docker_log(&id, extent, &wanted)?;
    let writer = LineWriter {
        tty,
        wanted: Attach { input: false, output: query.stdout.0, errors: query.stderr.0 },
        stamps: query.timestamps.0,
        begun: [false; 2],
    };
    let chunks = futures_util::stream::try_unfold((log, writer), |(mut log, mut writer)| {
        may_block(async move {
            let Some(records) = log.next().await? else { return Ok::<_, std::io::Error>(None) };
            let mut bytes = Vec::new();
            records.iter().for_each(|record| writer.write(record, &mut bytes));
            Ok(Some((Bytes::from(bytes), (log, writer))))
        })
    });
    let kind = if tty { "application/vnd.docker.raw-stream" } else { "application/vnd.docker.multiplexed-stream" };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response())
}

/// Writes records as a client asked for them.
#[derive(Clone, Copy)]
struct LineWriter {
    tty: bool,
    wanted: Attach,
    stamps: bool,
    /// A line of this stream has begun and not ended.
    begun: [bool; 2],
}

impl LineWriter {
    fn write(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        let begun = &mut self.begun[usize::from(record.stream == Stream::Errors)];
        if !takes(self.wanted, record.stream) {
            return;
        }
        let mut text = Vec::new();
        if let (true, false, Some(moment)) = (self.stamps, *begun, record.moment) {
            text.extend_from_slice(format!("{moment} ").as_bytes());
        }
        text.extend_from_slice(&record.text);
        *begun = !record.text.ends_with(b"\n");
        bytes.extend(if self.tty { text } else { frame(record.stream, &text) });
    }
}
