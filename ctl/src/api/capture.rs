//! `/vswitch/v1/capture`.

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use vswitch_api::ErrorBody;
use vswitch_api::capture::CaptureQuery;
use vswitch_switch::lab::{CaptureStop, Format};

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::Asked;

/// Chunks that may wait between the capture and the client.
const CHUNKS: usize = 2;

/// Frames from now on, as a pcapng file or as lines, until the client goes, what is captured is gone, or there were as many as asked
/// for. When the answer begins, the next frame is in it. A client that reads too slowly loses frames, and the file says how many.
#[utoipa::path(get, path = "/vswitch/v1/capture", params(CaptureQuery),
    responses((status = 200, body = String, content_type = "application/x-pcapng"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn stream(State(app): State<App>, Asked(query): Asked<CaptureQuery>) -> Answer<Response> {
    let (mut capture, format) = app.controller.capture(&query)?;
    let (sender, receiver) = mpsc::channel::<Bytes>(CHUNKS);
    let end = EndWith(capture.stop());
    let pump = move || {
        while let Some(bytes) = capture.next_bytes() {
            if sender.blocking_send(bytes.into()).is_err() {
                break;
            }
        }
    };
    let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(pump);
    thread.map_err(|error| {
        let sentence = format!("there is no thread for a capture ({error}); end something else and try again");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    })?;
    let chunks = futures_util::stream::unfold((receiver, end), |(mut receiver, end)| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), (receiver, end)))
    });
    let kind = match format {
        Format::Pcapng => "application/x-pcapng",
        Format::Text => "text/plain; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, kind)], HttpBody::from_stream(chunks)).into_response())
}

/// Ends a capture when nobody wants its file any more.
struct EndWith(CaptureStop);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.stop();
    }
}
