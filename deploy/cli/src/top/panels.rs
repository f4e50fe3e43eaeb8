//! The parts of the screen.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Row, Sparkline, Table, Wrap};
use shoal_shared::attribution::{Bottleneck, Report, SATURATED};
use shoal_shared::presence::{WorkerState, WorkerStatus};
use shoal_shared::status::{QueueStatus, Status};

use crate::why::one_advice;

/// A colour for each kind of time, the same as on the dashboards: work, waiting, the way.
fn colour(stage: &str) -> Color {
    match stage {
        "infer" => Color::Blue,
        "decode" => Color::Cyan,
        "queue" => Color::Yellow,
        "batch_wait" | "fetch" | "join" => Color::LightYellow,
        "publish" | "reply" | "store" => Color::Magenta,
        _ => Color::Green,
    }
}

fn block(title: &str) -> Block<'_> {
    let border = Style::new().fg(Color::DarkGray);
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(border)
        .title(Span::from(format!(" {title} ")).bold())
}

pub(super) fn bottleneck(report: &Report) -> Paragraph<'_> {
    let (word, style) = match report.name {
        Bottleneck::None => ("none", Style::new().fg(Color::Green)),
        name => (name.as_str(), Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD)),
    };
    let verdict = report.sentence.split("; ").next().unwrap_or_default().trim_end_matches('.');
    let mut lines = vec![Line::from(vec![Span::styled(word, style), Span::raw("  "), Span::raw(verdict)])];
    lines.extend(report.advice.iter().take(2).map(|advice| Line::from(format!("  → {}", one_advice(advice)))));
    Paragraph::new(lines).wrap(Wrap { trim: false }).block(block("Bottleneck"))
}

pub(super) fn traffic(frame: &mut Frame<'_>, area: Rect, status: &Status, rates: &VecDeque<u64>) {
    let outer = block("Traffic");
    let inner = outer.inner(area);
    frame.render_widget(outer, area);
    let [numbers, curve] = Layout::vertical([Constraint::Length(4), Constraint::Min(1)]).areas(inner);
    let situation = &status.report.situation;
    let latency = match &status.latency_ms {
        Some(latency) => format!("p50 {:.1}  p95 {:.1}  p99 {:.1} ms", latency.p50, latency.p95, latency.p99),
        None => "no requests".to_owned(),
    };
    let answered = &status.answered;
    let refused = Style::new().fg(if situation.refused > 0.0 { Color::Red } else { Color::Reset });
    let room = status.report.headroom.map_or_else(String::new, |room| format!("   room for {room:.0} more"));
    let lines = vec![
        Line::from(vec![Span::from(format!("{} answers a second", rate(situation.answered))).bold(), Span::raw(room)]),
        Line::from(latency),
        Line::from(format!(
            "hit {}  shared {}  joined {}  computed {}",
            rate(answered.hit),
            rate(answered.shared),
            rate(answered.coalesced),
            rate(answered.miss)
        )),
        Line::styled(format!("refused {} a second", rate(situation.refused)), refused),
    ];
    frame.render_widget(Paragraph::new(lines), numbers);
    let newest: Vec<u64> = rates.iter().rev().take(curve.width as usize).rev().copied().collect();
    frame.render_widget(Sparkline::default().data(&newest).style(Style::new().fg(Color::Blue)), curve);
}

pub(super) fn saturation(frame: &mut Frame<'_>, area: Rect, report: &Report) {
    let width = usize::from(area.width.saturating_sub(2 + 11 + 7));
    let line = |(name, ratio): (&str, f64)| {
        let filled = (ratio.clamp(0.0, 1.0) * width as f64).round() as usize;
        let colour = if ratio >= SATURATED { Color::Red } else { Color::Blue };
        Line::from(vec![
            Span::raw(format!("{name:<11}")),
            Span::styled("█".repeat(filled), Style::new().fg(colour)),
            Span::styled("░".repeat(width - filled), Style::new().fg(Color::DarkGray)),
            Span::raw(format!(" {:>4.0} %", 100.0 * ratio)),
        ])
    };
    let mut lines: Vec<Line<'_>> =
        report.saturation.iter().map(|saturation| line((saturation.resource.as_str(), saturation.ratio))).collect();
    let host = report.situation.fullest();
    let cores =
        format!("{:.2} of {:.0} cores, {:.2} by others", host.cpu.busy, host.cpu.capacity, report.situation.others());
    lines.push(Line::styled(format!("{:<11}{cores}", ""), Style::new().fg(Color::DarkGray)));
    frame.render_widget(Paragraph::new(lines).block(block("In use")), area);
}

pub(super) fn stages(frame: &mut Frame<'_>, area: Rect, report: &Report) {
    let total: f64 = report.stages.iter().map(|stage| stage.ms).sum();
    let title = if total > 0.0 { format!("Where {total:.1} ms go, on average") } else { "Where the time goes".into() };
    let outer = block(&title);
    let width = f64::from(outer.inner(area).width);
    if total <= 0.0 {
        let nothing = Line::styled("nothing was computed", Style::new().fg(Color::DarkGray));
        return frame.render_widget(Paragraph::new(nothing).block(outer), area);
    }
    let (mut bar, mut legend, mut so_far, mut drawn) = (Vec::new(), Vec::new(), 0.0, 0);
    for stage in &report.stages {
        so_far += stage.ms;
        let until = (so_far / total * width).round() as usize;
        let style = Style::new().fg(colour(&stage.stage));
        bar.push(Span::styled("█".repeat(until - drawn), style));
        drawn = until;
        if stage.ms / total >= 0.01 {
            legend.push(Span::styled("■ ", style));
            legend.push(Span::raw(format!("{} {:.1}   ", stage.stage.replace('_', " "), stage.ms)));
        }
    }
    let lines = vec![Line::from(bar), Line::from(legend)];
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(outer), area);
}

/// A table whose first column takes what the others leave.
fn table<'a>(title: &'a str, head: &[&'static str], rows: Vec<Row<'a>>, widths: &[u16]) -> Table<'a> {
    let head = Row::new(head.to_vec()).style(Style::new().fg(Color::DarkGray));
    let others = widths.iter().map(|width| Constraint::Length(*width));
    Table::new(rows, std::iter::once(Constraint::Min(8)).chain(others)).header(head).block(block(title))
}

/// A second has so many: one decimal as long as it says something.
fn rate(value: f64) -> String {
    if value < 100.0 && value > 0.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

pub(super) fn queues(queues: &[QueueStatus]) -> Table<'_> {
    let row = |queue: &QueueStatus| {
        let style = Style::new().fg(if queue.waiting > 0 { Color::Yellow } else { Color::Reset });
        Row::new([
            queue.model.to_string(),
            queue.lane.to_string(),
            queue.waiting.to_string(),
            queue.in_flight.to_string(),
            format!("{:.1} s", queue.oldest_s),
        ])
        .style(style)
    };
    let head = ["model", "lane", "waits", "in hand", "oldest"];
    table("Queue", &head, queues.iter().map(row).collect(), &[11, 6, 7, 8])
}

pub(super) fn workers(workers: &[WorkerStatus]) -> Table<'_> {
    let row = |worker: &WorkerStatus| {
        let (state, colour) = match worker.state {
            WorkerState::Ready => ("ready", Color::Reset),
            WorkerState::Draining => ("draining", Color::Yellow),
            WorkerState::Starting => ("starting", Color::Yellow),
            WorkerState::Gone => ("gone", Color::Red),
        };
        Row::new([
            format!("{}/{}", worker.host, worker.pid),
            worker.model.name.to_string(),
            state.to_owned(),
            format!("{:.0} %", 100.0 * worker.busy),
            format!("{}/{}", worker.slots.busy, worker.slots.total),
        ])
        .style(Style::new().fg(colour))
    };
    let head = ["host/pid", "model", "state", "busy", "slots"];
    table("Workers", &head, workers.iter().map(row).collect(), &[14, 8, 5, 8])
}
