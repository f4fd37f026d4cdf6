//! `/vswitch/v1/replay`.

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::{mpsc, oneshot};
use vswitch_api::ErrorBody;
use vswitch_api::frame::{ReplayQuery, Replayed};
use vswitch_switch::lab::ReplayStop;

use super::App;
use super::answer::{Answer, Refusal};
use super::extract::{self, Asked};

/// Pieces of a file that may wait between the client and who reads it.
const PIECES: usize = 16;

/// Sends the frames of a pcap or pcapng file, the body, as an endpoint's or towards it, each at its time since the first one. The file is
/// read while it is sent, and may be as long as it likes; the answer comes behind the last frame. A client that goes ends it.
#[utoipa::path(post, path = "/vswitch/v1/replay", params(ReplayQuery),
    request_body(content_type = "application/x-pcapng"),
    responses((status = 200, body = Replayed), (status = "4XX", body = ErrorBody)))]
pub(super) async fn replay(
    State(app): State<App>,
    Asked(query): Asked<ReplayQuery>,
    mut body: HttpBody,
) -> Answer<Json<Replayed>> {
    let mut replaying = app.controller.replay(&query)?;
    // Whoever goes meanwhile drops this, too.
    let end = EndWith(replaying.stop());
    let (pieces, mut file) = mpsc::channel::<Bytes>(PIECES);
    let (done, result) = oneshot::channel();
    let send = move || {
        while let Some(piece) = file.blocking_recv() {
            if let Err(refused) = replaying.push(&piece) {
                let _ = done.send(Err(refused));
                return;
            }
        }
        // Whoever is gone needs no answer.
        let _ = done.send(replaying.finish());
    };
    let thread = std::thread::Builder::new().name("replay".to_owned()).spawn(send);
    thread.map_err(|error| {
        let sentence = format!("there is no thread for a replay ({error}); end something else and try again");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    })?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad("the file broke off; send it again"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if pieces.send(piece).await.is_err() {
            // It is refused; the client is to hear of that, and not to meet a broken pipe.
            extract::drain(Request::new(body)).await;
            break;
        }
    }
    drop(pieces);
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the replay ended by itself".to_owned());
    let replayed = result.await.map_err(failed)??;
    drop(end);
    Ok(Json(replayed))
}

/// Ends a replay when nobody waits for it any more.
struct EndWith(ReplayStop);

impl Drop for EndWith {
    fn drop(&mut self) {
        self.0.stop();
    }
}
