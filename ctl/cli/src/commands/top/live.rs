//! On a terminal: draw, look, listen to keys.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vswitch_api::Client;
use vswitch_api::stats::Stats;

use super::TopArgs;
use super::app::{App, Ask};
use super::screen::Screen;

/// The second look comes soon, so that there are rates to see.
const FIRST_INTERVAL: Duration = Duration::from_millis(250);

/// Draws until q, a signal, or the end of the terminal.
pub(super) async fn run(client: &Client, args: &TopArgs) -> anyhow::Result<()> {
    let mut app = App::new(args.sort, args.interval);
    // A daemon that is not there is told on the ordinary screen.
    app.look(Ok(client.stats().await?));
    let mut ends = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        ends.push(signal(kind)?);
    }
    let mut screen = Screen::open()?;
    let (pace, mut looks) = look(client.clone(), args.interval);
    loop {
        screen.draw(&app)?;
        tokio::select! {
            look = looks.recv() => match look {
                Some(look) => app.look(look),
                None => return Ok(()),
            },
            event = screen.event() => match event.map(|event| app.event(&event)) {
                None | Some(Ask::End) => return Ok(()),
                Some(Ask::Pace) => drop(pace.send_replace(app.interval)),
                Some(Ask::Nothing) => {}
            },
            () = any(&mut ends) => return Ok(()),
        }
    }
}

/// Looks at the daemon in the background, so that keys never wait for it.
fn look(client: Client, interval: Duration) -> (watch::Sender<Duration>, mpsc::Receiver<Result<Stats, String>>) {
    let (pace, mut changed) = watch::channel(interval);
    let (sender, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut last = Instant::now();
        let mut interval = FIRST_INTERVAL.min(interval);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(last + interval) => {
                    last = Instant::now();
                    interval = *changed.borrow();
                    let look = client.stats().await.map_err(|error| error.to_string());
                    if sender.send(look).await.is_err() {
                        return;
                    }
                }
                change = changed.changed() => match change {
                    Ok(()) => interval = *changed.borrow(),
                    Err(_) => return,
                },
            }
        }
    });
    (pace, looks)
}

async fn any(signals: &mut [tokio::signal::unix::Signal]) {
    let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    let mut waits: Vec<_> = waits.collect();
    std::future::poll_fn(|context| {
        let arrived = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if arrived { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
