//! `top`: the agents on a screen of their own, kept up to date.
//!
//! ```text
//! keys ──────────────┐              ┌──► draw ──► terminal
//! signals ───────────┼──► model ────┤
//! feed (one task per │   (pure)     └──► effects: act, watch, leave
//! thing that is asked)
//! ```
//!
//! It is a client of the control API like any other: what it shows is what `kennel status --json`,
//! `kennel events` and `kennel logs` say. The loop here owns the model and the terminal; it paints
//! when something has changed, but not more often than a person can see. A supervisor that is away
//! is waited for.

mod draw;
mod feed;
mod keys;
mod layout;
mod model;
mod sort;
mod spark;
mod terminal;
mod text;
mod theme;

use std::{io, time::Duration};

use anstream::{AutoStream, ColorChoice};
use futures::StreamExt as _;
use ratatui::crossterm::{
    self,
    event::{Event as Input, EventStream, KeyEventKind},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use tokio::{sync::mpsc, time::Instant};

use self::{
    feed::Feed,
    model::{Effect, Event, Model},
    terminal::Screen,
    theme::Theme,
};
pub(super) use self::{keys::written as keys_help, sort::SortKey};
use super::{
    args::Top,
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupts,
};
use crate::client::Client;

/// The time between two pictures, at least.
const FRAME: Duration = Duration::from_millis(40);

/// What the loop does next.
enum Next {
    Go,
    Leave,
}

pub(super) async fn run(client: Client, args: &Top) -> Outcome {
    terminal::check()?;
    let mut interrupts = Interrupts::of(&[SIGINT, SIGTERM, SIGHUP])?;
    // Crossterm loses one that comes together with a key.
    let mut resized = Interrupts::of(&[SIGWINCH])?;
    let theme = theme();
    let mut screen = Screen::enter().map_err(terminal_failure)?;
    let size = screen.terminal().size().map_err(terminal_failure)?;
    let mut model = Model::new(theme, size, args.sort);
    let (news_tx, mut news_rx) = mpsc::channel(feed::NEWS_MAX);
    let mut feed = Feed::start(client, args.interval, news_tx);
    let mut keys = EventStream::new();
    let (mut stale, mut paint_at) = (true, Instant::now());
    loop {
        let event = tokio::select! {
            () = interrupts.next() => return Ok(Exit::Interrupted),
            () = feed.failed() => continue,
            () = tokio::time::sleep_until(paint_at), if stale => {
                paint(&mut screen, &model).map_err(terminal_failure)?;
                (stale, paint_at) = (false, Instant::now() + FRAME);
                continue;
            }
            // The feed keeps its own sender, so there is always a next one.
            Some(event) = news_rx.recv() => event,
            () = resized.next() => Event::Resize(screen.terminal().size().map_err(terminal_failure)?),
            input = keys.next() => match input {
                Some(Ok(input)) => match event(&input) {
                    Some(event) => event,
                    None => continue,
                },
                Some(Err(error)) => return Err(terminal_failure(error)),
                None => return Ok(Exit::Ok),
            },
        };
        stale = true;
        for effect in model.on_event(event) {
            if effect == Effect::Suspend {
                // Its thread would read what is typed to the shell.
                drop(keys);
                screen.suspend().map_err(terminal_failure)?;
                keys = EventStream::new();
                let size = screen.terminal().size().map_err(terminal_failure)?;
                model.on_event(Event::Resize(size));
                continue;
            }
            match carry_out(effect, &mut feed, &mut model, &mut screen)? {
                Next::Go => {}
                Next::Leave => return Ok(Exit::Ok),
            }
        }
    }
}

fn carry_out(
    effect: Effect,
    feed: &mut Feed,
    model: &mut Model,
    screen: &mut Screen,
) -> Result<Next, Failure> {
    match effect {
        Effect::Quit => return Ok(Next::Leave),
        Effect::Suspend => screen.suspend().map_err(terminal_failure)?,
        Effect::Redraw => screen.anew().map_err(terminal_failure)?,
        Effect::Watch(agent) => feed.watch(agent),
        Effect::Act(agent, action) => {
            if feed.act(agent, action).is_none() {
                let full = "too much is being done at once: wait for some of it";
                model.on_event(Event::Acted(Err(full.to_owned())));
            }
        }
    }
    Ok(Next::Go)
}

fn event(input: &Input) -> Option<Event> {
    match *input {
        Input::Key(key) if key.kind != KeyEventKind::Release => Some(Event::Key(key)),
        _ => None,
    }
}

fn paint(screen: &mut Screen, model: &Model) -> io::Result<()> {
    let painted = screen.terminal().draw(|frame| draw::draw(model, frame));
    painted.map(drop)
}

/// What `--color`, `NO_COLOR` and the terminal say.
fn theme() -> Theme {
    if AutoStream::choice(&io::stdout()) == ColorChoice::Never {
        return Theme::Mono;
    }
    // The library asks NO_COLOR by itself; by now it is known what the reader wants.
    crossterm::style::force_color_output(true);
    Theme::Color
}

#[expect(clippy::needless_pass_by_value, reason = "given to `map_err`")]
fn terminal_failure(error: io::Error) -> Failure {
    Failure::new(format!("the terminal cannot be used: {error}"))
}

#[cfg(test)]
mod tests;
