//! The terminal, lent: raw mode and a screen of its own, and back again however this ends.
//!
//! An ordinary end and an error give it back when [`Screen`] is dropped; a panic before its message is printed (the hook
//! that `ratatui::try_init` installs); signals end the loop that holds the screen.

use std::thread;

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use super::app::App;
use super::view;

/// Keys that wait while a picture is drawn.
const KEYS: usize = 64;

/// Our terminal while we draw on it.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
    events: mpsc::Receiver<Event>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> anyhow::Result<Screen> {
        let terminal =
            ratatui::try_init().context("this terminal cannot be drawn on; --once prints a table instead")?;
        let (sender, events) = mpsc::channel(KEYS);
        let screen = Screen { terminal, events };
        // It waits in the kernel for the next key, and ends with the process.
        let read = move || while event::read().is_ok_and(|event| sender.blocking_send(event).is_ok()) {};
        thread::Builder::new().name("keys".into()).spawn(read)?;
        Ok(screen)
    }

    /// Draws, in the size that the terminal has now.
    pub(super) fn draw(&mut self, app: &App) -> anyhow::Result<()> {
        self.terminal.draw(|frame| view::render(frame, app)).context("the terminal is gone")?;
        Ok(())
    }

    /// The next key or new size; `None` when nobody types any more.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to be done if the terminal is gone.
        let _ = ratatui::try_restore();
    }
}
