//! The layout of the screen.

use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Frame, Terminal};

use super::View;
use super::panels::{bottleneck, queues, saturation, stages, traffic, workers};

/// From this width on, queue and workers stand side by side.
const WIDE: u16 = 100;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, verdict, middle, time, below] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Min(4),
    ])
    .areas(frame.area());
    frame.render_widget(title(view), head);
    let Some(status) = &view.status else { return };
    frame.render_widget(bottleneck(&status.report), verdict);
    let halves = Layout::horizontal([Constraint::Percentage(48), Constraint::Percentage(52)]);
    let [left, right] = halves.areas(middle);
    traffic(frame, left, status, &view.rates);
    saturation(frame, right, &status.report);
    stages(frame, time, &status.report);
    let lanes = status.queues.len() as u16;
    let [left, right] = if below.width >= WIDE {
        halves.areas(below)
    } else {
        Layout::vertical([Constraint::Length(lanes.min(4) + 3), Constraint::Min(0)]).areas(below)
    };
    frame.render_widget(queues(&status.queues), left);
    frame.render_widget(workers(&status.workers), right);
}

fn title(view: &View) -> Paragraph<'_> {
    let mut line = vec![
        Span::styled(" Shoal ", Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)),
        Span::raw(format!(" {}", view.url)),
    ];
    match &view.error {
        Some(error) => line.push(Span::styled(format!("  {error}"), Style::new().fg(Color::Red))),
        None => line.push(Span::styled("  over the last ten seconds · q quits", Style::new().fg(Color::DarkGray))),
    }
    Paragraph::new(Line::from(line))
}

/// The screen as plain text.
pub(super) fn as_text(view: &View, (width, height): (u16, u16)) -> anyhow::Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| draw(frame, view))?;
    let buffer = terminal.backend().buffer();
    let row = |y| {
        let text: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.trim_end().to_owned() + "\n"
    };
    Ok((0..height).map(row).collect())
}
