//! `shoal top`: the fleet in the terminal, every second. Only text goes over the line, so it works
//! through SSH and inside tmux.

mod panels;
mod screen;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use shoal_shared::status::Status;

use crate::ask::Gateway;

/// `shoal top`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    gateway: Gateway,
    /// Print the screen once, without a terminal, and leave
    #[arg(long)]
    once: bool,
}

/// How often the gateway is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// Answers that the line of requests a second goes back.
const HISTORY: usize = 240;
/// Size of the screen that `--once` prints.
const ONCE: (u16, u16) = (100, 34);

/// What is shown.
struct View {
    url: String,
    status: Option<Status>,
    /// Why the last attempt to ask failed.
    error: Option<String>,
    /// Requests a second, the newest last.
    rates: VecDeque<u64>,
}

impl View {
    fn ask(&mut self, gateway: &Gateway) {
        match gateway.get::<Status>("/api/status") {
            Ok(status) => {
                self.rates.push_back(status.report.situation.answered.round() as u64);
                if self.rates.len() > HISTORY {
                    self.rates.pop_front();
                }
                self.status = Some(status);
                self.error = None;
            }
            Err(error) => self.error = Some(format!("{error:#}")),
        }
    }
}

/// Shows until `q`, Esc or Ctrl-C.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let gateway = &options.gateway;
    let mut view = View { url: gateway.url.clone(), status: None, error: None, rates: VecDeque::new() };
    view.ask(gateway);
    if options.once {
        ensure!(view.error.is_none(), view.error.unwrap_or_default());
        print!("{}", screen::as_text(&view, ONCE)?);
        return Ok(());
    }
    ensure!(view.status.is_some(), view.error.unwrap_or_default());
    ensure!(std::io::IsTerminal::is_terminal(&std::io::stdout()), "this is no terminal: try `shoal top --once`");
    let mut terminal = ratatui::init();
    let shown = show(&mut terminal, &mut view, gateway);
    ratatui::restore();
    shown
}

fn show(terminal: &mut ratatui::DefaultTerminal, view: &mut View, gateway: &Gateway) -> anyhow::Result<()> {
    let mut next = Instant::now() + INTERVAL;
    loop {
        terminal.draw(|frame| screen::draw(frame, view))?;
        while event::poll(next.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                        return Ok(());
                    }
                }
                Event::Resize(..) => {
                    terminal.draw(|frame| screen::draw(frame, view))?;
                }
                _ => {}
            }
        }
        next = Instant::now() + INTERVAL;
        view.ask(gateway);
    }
}
