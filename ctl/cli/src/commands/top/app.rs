//! What is shown, and what the keys change about it.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use vswitch_api::stats::Stats;

use super::Column;
use super::sample::{Row, Sample};

/// Looks that the curve remembers.
const HISTORY: usize = 512;

/// Shortest and longest time between two looks that the keys lead to.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(125), Duration::from_secs(64));

/// Rows that a page key moves.
const PAGE: usize = 10;

/// The columns that can be sorted by, from left to right.
pub(super) const COLUMNS: [Column; 6] =
    [Column::Endpoint, Column::Network, Column::In, Column::Out, Column::Drops, Column::Flows];

/// Everything that is on the screen.
#[derive(Debug)]
pub(super) struct App {
    /// The newest rates; none before the second look.
    pub(super) sample: Option<Sample>,
    /// Bits a second into the switch, oldest first.
    pub(super) history: VecDeque<u64>,
    pub(super) sort: Column,
    pub(super) reverse: bool,
    pub(super) paused: bool,
    pub(super) interval: Duration,
    /// Why there is nothing new.
    pub(super) trouble: Option<String>,
    before: Option<Stats>,
    /// Which row is chosen: endpoint, network, port.
    chosen: Option<(String, String, u32)>,
}

/// What a key asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Nothing,
    /// Look at another pace.
    Pace,
    End,
}

impl App {
    pub(super) fn new(sort: Column, interval: Duration) -> App {
        App {
            sample: None,
            history: VecDeque::new(),
            sort,
            reverse: false,
            paused: false,
            interval,
            trouble: None,
            before: None,
            chosen: None,
        }
    }

    /// Takes one more look, or why there is none.
    pub(super) fn look(&mut self, look: Result<Stats, String>) {
        let now = match look {
            Ok(now) => now,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        if self.paused {
            return;
        }
        if let Some(before) = &self.before {
            let mut sample = Sample::between(before, &now);
            sample.sort(self.sort, self.reverse);
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(sample.total.in_bits_per_second);
            self.sample = Some(sample);
        }
        self.before = Some(now);
    }

    /// Does what a key says.
    pub(super) fn event(&mut self, event: &Event) -> Ask {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            // Drawn anew anyway.
            _ => Ask::Nothing,
        }
    }

    fn key(&mut self, key: KeyEvent) -> Ask {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Ask::End,
            KeyCode::Char('q') | KeyCode::Esc => return Ask::End,
            KeyCode::Char(' ' | 'p') => self.paused = !self.paused,
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Right | KeyCode::Char('>' | 'l') => self.turn(1),
            KeyCode::Left | KeyCode::Char('<' | 'h') => self.turn(COLUMNS.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(|row, last| (row + 1).min(last)),
            KeyCode::Up | KeyCode::Char('k') => self.choose(|row, _| row.saturating_sub(1)),
            KeyCode::PageDown => self.choose(|row, last| (row + PAGE).min(last)),
            KeyCode::PageUp => self.choose(|row, _| row.saturating_sub(PAGE)),
            KeyCode::Home => self.choose(|_, _| 0),
            KeyCode::End => self.choose(|_, last| last),
            KeyCode::Char('+' | '=') => return self.pace(self.interval / 2),
            KeyCode::Char('-') => return self.pace(self.interval * 2),
            _ => {}
        }
        if let Some(sample) = &mut self.sample {
            sample.sort(self.sort, self.reverse);
        }
        Ask::Nothing
    }

    fn pace(&mut self, interval: Duration) -> Ask {
        self.interval = interval.clamp(INTERVALS.0, INTERVALS.1);
        Ask::Pace
    }

    /// Sorts by the column so many places further on.
    fn turn(&mut self, places: usize) {
        let place = COLUMNS.iter().position(|column| *column == self.sort).unwrap_or_default();
        self.sort = COLUMNS[(place + places) % COLUMNS.len()];
    }

    /// Moves the choice; the first key chooses the first row.
    fn choose(&mut self, to: impl Fn(usize, usize) -> usize) {
        let Some(rows) = self.sample.as_ref().map(|sample| &sample.endpoints) else { return };
        let Some(last) = rows.len().checked_sub(1) else { return };
        let place = match self.place() {
            Some(place) => to(place, last),
            // Only the End key leads to the last row from everywhere.
            None if to(0, usize::MAX) == usize::MAX => last,
            None => 0,
        };
        self.chosen = rows.get(place).map(|row| (row.endpoint.clone(), row.network.clone(), row.port));
    }

    /// Where the chosen row is now: rows come, go and change places, the choice stays with the endpoint.
    pub(super) fn place(&self) -> Option<usize> {
        let (endpoint, network, port) = self.chosen.as_ref()?;
        let rows = &self.sample.as_ref()?.endpoints;
        rows.iter().position(|row| (&row.endpoint, &row.network, &row.port) == (endpoint, network, port))
    }

    /// The chosen row.
    pub(super) fn chosen(&self) -> Option<&Row> {
        self.sample.as_ref()?.endpoints.get(self.place()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::look;
    use super::*;

    fn app() -> App {
        let mut app = App::new(Column::In, Duration::from_secs(1));
        app.look(Ok(look(0, &[("a", 0), ("b", 0), ("c", 0)])));
        app.look(Ok(look(1000, &[("a", 10), ("b", 30), ("c", 20)])));
        app
    }

    fn press(app: &mut App, code: KeyCode) -> Ask {
        app.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn order(app: &App) -> String {
        app.sample.iter().flat_map(|sample| &sample.endpoints).map(|row| row.endpoint.as_str()).collect()
    }

    /// q, Escape and Ctrl-C end; other keys do not.
    #[test]
    fn ends() {
        let mut app = app();
        assert_eq!(press(&mut app, KeyCode::Char('q')), Ask::End);
        assert_eq!(press(&mut app, KeyCode::Esc), Ask::End);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.event(&Event::Key(interrupt)), Ask::End);
        assert_eq!(press(&mut app, KeyCode::Char('c')), Ask::Nothing);
        assert_eq!(app.event(&Event::Resize(1, 1)), Ask::Nothing);
    }

    /// Arrows walk through the columns and around, r turns the order, at once and for later looks.
    #[test]
    fn sorting() {
        let mut app = app();
        assert_eq!(order(&app), "bca");
        press(&mut app, KeyCode::Char('r'));
        assert_eq!(order(&app), "acb");
        app.look(Ok(look(2000, &[("a", 90), ("b", 40), ("c", 20)])));
        assert_eq!(order(&app), "cba");
        for expected in [Column::Out, Column::Drops, Column::Flows, Column::Endpoint, Column::Network, Column::In] {
            press(&mut app, KeyCode::Right);
            assert_eq!(app.sort, expected);
        }
        press(&mut app, KeyCode::Left);
        assert_eq!(app.sort, Column::Network);
    }

    /// The choice stays with its endpoint when rows change places, stops at the ends, and goes with the endpoint.
    #[test]
    fn choosing() {
        let mut app = app();
        assert_eq!(app.chosen(), None);
        press(&mut app, KeyCode::Down);
        assert_eq!(app.chosen().unwrap().endpoint, "b");
        app.look(Ok(look(2000, &[("a", 1000), ("b", 40), ("c", 500)])));
        assert_eq!((order(&app).as_str(), app.place()), ("acb", Some(2)));
        press(&mut app, KeyCode::Down);
        assert_eq!(app.place(), Some(2));
        press(&mut app, KeyCode::Home);
        assert_eq!(app.chosen().unwrap().endpoint, "a");
        press(&mut app, KeyCode::PageDown);
        press(&mut app, KeyCode::Up);
        assert_eq!(app.chosen().unwrap().endpoint, "c");
        app.look(Ok(look(3000, &[("a", 1000)])));
        assert_eq!(app.chosen(), None);
        press(&mut app, KeyCode::End);
        assert_eq!(app.chosen().unwrap().endpoint, "a");
    }

    /// A pause keeps the picture, trouble is told until it is over, and the pace stays within its bounds.
    #[test]
    fn pause_trouble_and_pace() {
        let mut app = app();
        press(&mut app, KeyCode::Char(' '));
        let kept = app.sample.clone();
        app.look(Ok(look(2000, &[("a", 1)])));
        assert_eq!((app.sample.clone(), app.paused), (kept, true));
        app.look(Err("vswitchd does not answer".into()));
        assert_eq!(app.trouble.as_deref(), Some("vswitchd does not answer"));
        app.look(Ok(look(3000, &[("a", 1)])));
        assert_eq!(app.trouble, None);
        for _ in 0..20 {
            assert_eq!(press(&mut app, KeyCode::Char('+')), Ask::Pace);
        }
        assert_eq!(app.interval, INTERVALS.0);
        for _ in 0..20 {
            press(&mut app, KeyCode::Char('-'));
        }
        assert_eq!(app.interval, INTERVALS.1);
    }

    /// Keys before the first rates, and the curve's memory, have their limits.
    #[test]
    fn limits() {
        let mut app = App::new(Column::In, Duration::from_secs(1));
        for code in [KeyCode::Down, KeyCode::End, KeyCode::Char('r'), KeyCode::Right, KeyCode::F(1)] {
            assert_eq!(press(&mut app, code), Ask::Nothing);
        }
        for second in 0..HISTORY as u64 + 50 {
            app.look(Ok(look(second * 1000, &[("a", second)])));
        }
        assert_eq!(app.history.len(), HISTORY);
    }
}
