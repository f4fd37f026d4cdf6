//! `/vswitch/v1/inject`, `/vswitch/v1/trace` and `/vswitch/v1/expect`.

use std::time::Duration;

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use vswitch_api::ErrorBody;
use vswitch_api::frame::{ExpectQuery, Expected, FrameRequest, Story, TraceQuery};
use vswitch_switch::lab::{CaptureStop, Heard};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{Asked, Body};
use crate::controller::told;

/// Lines that may wait between what looks and the client.
const LINES: usize = 16;
/// How often a look at frames asks whether anybody still listens.
const LOOK: Duration = Duration::from_secs(1);

/// Lets a frame in as if an endpoint had sent it, or sends one towards it, and answers what became of it.
#[utoipa::path(post, path = "/vswitch/v1/inject", request_body = FrameRequest,
    responses((status = 200, body = Story), (status = "4XX", body = ErrorBody)))]
pub(super) async fn inject(State(app): State<App>, Body(wish): Body<FrameRequest>) -> Answer<Json<Story>> {
    follow(app, wish).await
}

/// Answers what becomes of a frame, step by step; in a dry run, what would, without any change.
#[utoipa::path(post, path = "/vswitch/v1/trace", request_body = FrameRequest,
    responses((status = 200, body = Story), (status = "4XX", body = ErrorBody)))]
pub(super) async fn trace(State(app): State<App>, Body(wish): Body<FrameRequest>) -> Answer<Json<Story>> {
    follow(app, wish).await
}

async fn follow(app: App, wish: FrameRequest) -> Answer<Json<Story>> {
    let followed = tokio::task::spawn_blocking(move || app.controller.trace_frame(&wish)).await;
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the frame could not be followed".to_owned());
    Ok(Json(followed.map_err(failed)??))
}

/// The steps of the frames that match, from now on: one JSON object a line, until the client goes. When the answer begins, those of the
/// next frame are in it. As many are told as the client reads.
#[utoipa::path(get, path = "/vswitch/v1/trace", params(TraceQuery),
    responses((status = 200, body = Story, content_type = "application/jsonl"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn live(State(app): State<App>, Asked(query): Asked<TraceQuery>) -> Answer<Response> {
    let tracer = app.controller.trace_live(&query)?;
    let end = EndWith(tracer.stop());
    stream(end, "application/jsonl", move |sender| {
        while !sender.is_closed() {
            match tracer.next(LOOK) {
                Heard::Story(story) => {
                    if sender.blocking_send(line(&told(story))).is_err() {
                        return;
                    }
                }
                Heard::Seen(_) | Heard::Nothing => {}
                Heard::End => return,
            }
        }
    })
}

/// Waits for frames that match, from now on. When the answer begins, the next frame is looked at; it ends with what came.
#[utoipa::path(get, path = "/vswitch/v1/expect", params(ExpectQuery),
    responses((status = 200, body = Expected), (status = "4XX", body = ErrorBody)))]
pub(super) async fn expect(State(app): State<App>, Asked(query): Asked<ExpectQuery>) -> Answer<Response> {
    let expectation = app.controller.expect(&query)?;
    let end = EndWith(expectation.stop());
    let controller = app.controller.clone();
    stream(end, "application/json", move |sender| {
        let expected = controller.expected(expectation.wait());
        // Whoever is gone needs no answer.
        let _ = sender.blocking_send(line(&expected));
    })
}

/// Answers with what a thread says, which begins at once.
fn stream(
    end: EndWith,
    kind: &'static str,
    body: impl FnOnce(mpsc::Sender<Bytes>) + Send + 'static,
) -> Answer<Response> {
    let (sender, receiver) = mpsc::channel::<Bytes>(LINES);
    let thread = std::thread::Builder::new().name("frames".to_owned()).spawn(move || body(sender));
    thread.map_err(|error| {
        let sentence = format!("there is no thread to look at frames ({error}); end something else and try again");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    })?;
    let lines = futures_util::stream::unfold((receiver, end), |(mut receiver, end)| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), (receiver, end)))
    });
    Ok(([(header::CONTENT_TYPE, kind)], HttpBody::from_stream(lines)).into_response())
}

fn line<T: serde::Serialize>(value: &T) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Ends the look at frames when nobody wants to know any more.
struct EndWith(CaptureStop);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.stop();
    }
}
