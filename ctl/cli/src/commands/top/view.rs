//! The picture: one line of sums, the curve, the table, the chosen endpoint's drops, the keys.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row as TableRow, Sparkline, Table, TableState};

use super::Column;
use super::app::{App, COLUMNS};
use super::sample::Row;
use crate::units;

/// Lines of the sums above, and of the keys below.
const HEAD: u16 = 2;
const KEYS: u16 = 1;
/// Lines of the curve, its frame included, and how many lines there must be for it.
const CURVE: u16 = 5;
const ROOM_FOR_CURVE: u16 = 20;
/// Lines of the chosen endpoint's drops, frame included, and how many lines there must be for it.
const DETAILS: u16 = 6;
const ROOM_FOR_DETAILS: u16 = 14;
/// How many columns there must be for frames beside bits.
const ROOM_FOR_FRAMES: u16 = 96;

/// Draws everything, in whatever room there is.
pub(super) fn render(frame: &mut Frame<'_>, app: &App) {
    let height = frame.area().height;
    let curve = if height >= ROOM_FOR_CURVE { CURVE } else { 0 };
    let details = if height >= ROOM_FOR_DETAILS && app.chosen().is_some() { DETAILS } else { 0 };
    let parts = Layout::vertical([
        Constraint::Length(HEAD),
        Constraint::Length(curve),
        Constraint::Min(0),
        Constraint::Length(details),
        Constraint::Length(KEYS),
    ]);
    let [head, curve, table, details, keys] = parts.areas(frame.area());
    frame.render_widget(Paragraph::new(sums(app)), head);
    draw_curve(frame, app, curve);
    draw_table(frame, app, table);
    draw_details(frame, app, details);
    frame.render_widget(Paragraph::new(help(app)), keys);
}

fn sums(app: &App) -> Vec<Line<'static>> {
    let mut title = vec![Span::from("vswitch top").bold()];
    let Some(sample) = &app.sample else {
        return vec![Line::from(title), Line::from(app.trouble.clone().unwrap_or_else(|| "counting …".to_owned()))];
    };
    let up = units::duration(Duration::from_millis(sample.uptime_ms)).to_lowercase();
    let workers = several(sample.workers, "worker");
    let endpoints = several(sample.endpoints.len(), "endpoint");
    if app.paused {
        title.push("  paused".bold());
    }
    match &app.trouble {
        Some(trouble) => title.push(format!("  {trouble}").fg(Color::Red)),
        None => title.push(format!("  up {up}, {workers}, {endpoints}").into()),
    }
    let total = &sample.total;
    let drops = format!("   drops {}", units::per_second(total.drops_per_second));
    let sums = vec![
        Span::from(format!(
            "in {}, {}   out {}, {}",
            units::bits_per_second(total.in_bits_per_second),
            units::per_second(total.in_frames_per_second),
            units::bits_per_second(total.out_bits_per_second),
            units::per_second(total.out_frames_per_second),
        )),
        if total.drops_per_second > 0 { drops.fg(Color::Red) } else { drops.into() },
        Span::from(format!(
            "   flows {}   fdb {} of {}",
            units::count(sample.flows),
            units::count(sample.fdb_entries),
            units::count(sample.fdb_capacity)
        )),
    ];
    vec![Line::from(title), Line::from(sums)]
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn draw_curve(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if area.is_empty() {
        return;
    }
    let width = usize::from(area.width.saturating_sub(2));
    let skip = app.history.len().saturating_sub(width);
    let seen: Vec<u64> = app.history.iter().skip(skip).copied().collect();
    let most = units::bits_per_second(seen.iter().copied().max().unwrap_or_default());
    let block = Block::bordered().title(format!(" in, at most {most} ")).border_style(Style::new().dim());
    frame.render_widget(Sparkline::default().block(block).data(seen), area);
}

fn draw_table(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let wide = area.width >= ROOM_FOR_FRAMES;
    let rows = app.sample.iter().flat_map(|sample| &sample.endpoints).map(|one| TableRow::new(row(one, wide)));
    let number = |width: u16| Some(Constraint::Length(width));
    let frames = number(10).filter(|_| wide);
    let widths = [
        Some(Constraint::Fill(3)),
        Some(Constraint::Fill(2)),
        number(12),
        frames,
        number(12),
        frames,
        number(10),
        number(9),
    ];
    let header = TableRow::new(header(app, wide)).style(Style::new().add_modifier(Modifier::REVERSED));
    let table = Table::new(rows, widths.into_iter().flatten())
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    // The choice is kept in view.
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(app.place()));
}

/// The headers, with an arrow at the one that the rows are sorted by.
fn header(app: &App, wide: bool) -> Vec<Cell<'static>> {
    let mark = |column: Column| {
        let downwards = matches!(column, Column::Endpoint | Column::Network) == app.reverse;
        match (app.sort == column, downwards) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        }
    };
    let [endpoint, network, into, out, drops, flows] = COLUMNS.map(mark);
    let frames = || wide.then(|| right("FRAMES".to_owned()));
    let cells = [
        Some(Cell::from(format!("ENDPOINT{endpoint}"))),
        Some(Cell::from(format!("NETWORK{network}"))),
        Some(right(format!("IN{into}"))),
        frames(),
        Some(right(format!("OUT{out}"))),
        frames(),
        Some(right(format!("DROPS{drops}"))),
        Some(right(format!("FLOWS{flows}"))),
    ];
    cells.into_iter().flatten().collect()
}

fn row(row: &Row, wide: bool) -> Vec<Cell<'static>> {
    let rates = &row.rates;
    let drops = right(units::per_second(rates.drops_per_second));
    let frames = |rate: u64| wide.then(|| right(units::per_second(rate)));
    let cells = [
        Some(Cell::from(printable(&row.endpoint))),
        Some(Cell::from(printable(&row.network))),
        Some(right(units::bits_per_second(rates.in_bits_per_second))),
        frames(rates.in_frames_per_second),
        Some(right(units::bits_per_second(rates.out_bits_per_second))),
        frames(rates.out_frames_per_second),
        Some(if rates.drops_per_second > 0 { drops.style(Style::new().fg(Color::Red)) } else { drops }),
        Some(right(units::count(row.flows))),
    ];
    cells.into_iter().flatten().collect()
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn draw_details(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(row) = app.chosen().filter(|_| !area.is_empty()) else { return };
    let mut reasons: Vec<_> = row.drops_total.iter().collect();
    // What goes on comes before what is over, and much before little.
    let now = |reason: &String| row.rates.drops.get(reason).copied().unwrap_or_default();
    reasons.sort_by_key(|(reason, total)| std::cmp::Reverse((now(reason), **total)));
    let mut lines: Vec<Line<'_>> = reasons
        .iter()
        .map(|(reason, total)| {
            Line::from(format!(
                "{:<24} {:>10}   {} in all",
                reason,
                units::per_second(now(reason)),
                units::count(**total)
            ))
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::from("nothing was dropped").dim());
    }
    let title = format!(" drops of {} on {}, port {} ", printable(&row.endpoint), printable(&row.network), row.port);
    let block = Block::bordered().title(title).border_style(Style::new().dim());
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn help(app: &App) -> Line<'static> {
    let every = format!(" every {}  ", humantime::format_duration(app.interval));
    let keys = [("q", "end"), ("←→", "sort by"), ("r", "turn"), ("↑↓", "drops of"), ("space", "pause"), ("+-", "pace")];
    let keys = keys.into_iter().flat_map(|(key, what)| [key.bold(), format!(" {what}  ").into()]);
    Line::from(keys.chain([every.dim()]).collect::<Vec<_>>())
}

/// Names come from outside; nothing in them may move the cursor.
fn printable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

    use super::super::sample::tests::look;
    use super::*;

    fn app() -> App {
        let mut app = App::new(Column::In, Duration::from_secs(1));
        app.look(Ok(look(0, &[("web", 0), ("db\u{1b}[2J", 0)])));
        app.look(Ok(look(60_000, &[("web", 60_000), ("db\u{1b}[2J", 600_000)])));
        app
    }

    fn press(app: &mut App, code: KeyCode) {
        app.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    fn picture(app: &App, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| render(frame, app)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    /// Sums above, rows sorted with the arrow at their column, keys below; nothing of a name moves the cursor.
    #[test]
    fn everything() {
        let lines = picture(&app(), 100, 24);
        assert_eq!(lines[0], "vswitch top  up about a minute, 2 workers, 2 endpoints");
        assert_eq!(
            lines[1],
            "in 88.0 Mbit/s, 11.0 k/s   out 44.0 Mbit/s, 5.50 k/s   drops 1.10 k/s   flows 42   fdb 2 of 65,536"
        );
        assert!(lines[2].contains("in, at most 88.0 Mbit/s"), "{lines:#?}");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[7]), ["ENDPOINT", "NETWORK", "IN▼", "FRAMES", "OUT", "FRAMES", "DROPS", "FLOWS"]);
        let db = [
            "db", "[2J", "red", "80.0", "Mbit/s", "10.0", "k/s", "40.0", "Mbit/s", "5.00", "k/s", "1.00", "k/s",
            "6,000",
        ];
        assert_eq!(words(&lines[8]), db);
        assert!(lines[9].starts_with("web ") && lines[9].contains("8.00 Mbit/s"), "{lines:#?}");
        assert!(lines[23].starts_with("q end  ←→ sort by") && lines[23].contains("every 1s"), "{lines:#?}");
    }

    /// The chosen endpoint's drops by reason, those that go on first; the arrow follows the order.
    #[test]
    fn details() {
        let mut app = app();
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Left);
        let lines = picture(&app, 100, 24);
        let text = lines.join("\n");
        assert!(text.contains("NETWORK▲") && text.contains("drops of db [2J on red, port 1"), "{text}");
        let at = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap();
        assert!(at("spoofed-mac") < at("runt") && text.contains("7 in all"), "{text}");
        press(&mut app, KeyCode::Char('r'));
        assert!(picture(&app, 100, 24).join("\n").contains("NETWORK▼"));
    }

    /// Before the first rates, in trouble, paused, and in every size down to nothing, it draws what it can.
    #[test]
    fn little_room() {
        let mut app = app();
        app.look(Err("vswitchd does not answer".into()));
        press(&mut app, KeyCode::Char('p'));
        let text = picture(&app, 80, 24).join("\n");
        assert!(text.contains("paused") && text.contains("vswitchd does not answer"), "{text}");
        let fresh = App::new(Column::In, Duration::from_secs(1));
        assert_eq!(picture(&fresh, 40, 10)[1], "counting …");
        for app in [&app, &fresh] {
            for (width, height) in [(1, 1), (3, 2), (20, 5), (10, 13), (500, 3), (80, 14), (80, 20)] {
                assert_eq!(picture(app, width, height).len(), usize::from(height));
            }
        }
        let small = picture(&app, 80, 8);
        assert!(small[2].contains("ENDPOINT") && small[7].starts_with("q end"), "{small:#?}");
    }

    /// With more endpoints than lines the chosen one is in view.
    #[test]
    fn scrolling() {
        let names: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
        let ports: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let mut app = App::new(Column::Endpoint, Duration::from_secs(1));
        app.look(Ok(look(0, &ports)));
        app.look(Ok(look(1000, &ports)));
        assert!(picture(&app, 80, 24).join("\n").contains("c1 "));
        press(&mut app, KeyCode::End);
        assert!(picture(&app, 80, 24).join("\n").contains("c99 "));
    }
}
