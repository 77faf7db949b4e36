use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::*;
use crate::cli::top::tests::{agent, model, press, status};

fn with(count: usize) -> Model {
    let mut model = model(80, 24);
    model.on_event(Event::Status(Box::new(status(count))));
    press(&mut model, "n");
    model
}

fn shown(model: &Model) -> Vec<&str> {
    let agents = &model.status.as_ref().unwrap().agents;
    model
        .rows
        .iter()
        .map(|row| agents[*row].id.as_str())
        .collect()
}

fn selected(model: &Model) -> &str {
    model.selected().map_or("", |agent| agent.id.as_str())
}

fn key(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    model.on_event(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn watch(agent: &str) -> Vec<Effect> {
    vec![Effect::Watch(Some(agent.to_owned()))]
}

#[test]
fn the_selection_moves_within_the_table() {
    let mut model = with(50);
    // The header has five lines, the footer and the table's head one each.
    let page = 17;
    let cases = [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::PageDown, 1 + page),
        (KeyCode::PageUp, 1),
        (KeyCode::PageUp, 0),
        (KeyCode::End, 49),
        (KeyCode::Down, 49),
        (KeyCode::PageDown, 49),
        (KeyCode::Home, 0),
    ];
    for (code, row) in cases {
        assert_eq!(key(&mut model, code), []);
        assert_eq!(selected(&model), format!("a{row:03}"), "{code:?}");
    }
}

#[test]
fn an_empty_table_has_nothing_to_select() {
    let mut model = with(0);
    assert_eq!(press(&mut model, "jkgG\n"), []);
    assert_eq!(press(&mut model, "r"), []);
    assert_eq!(model.mode, Mode::Table);
    assert_eq!(model.notice.as_ref().unwrap().text, "no agent is selected");
    assert!(model.selected().is_none());
}

#[test]
fn the_selected_agent_stays_selected_when_the_order_changes() {
    let mut model = with(3);
    press(&mut model, "j");
    assert_eq!(selected(&model), "a001");
    press(&mut model, "i");
    assert_eq!(shown(&model), ["a002", "a001", "a000"]);
    assert_eq!(selected(&model), "a001");

    let mut later = status(3);
    later.agents[1].cpu_percent = Some(90.0);
    press(&mut model, "c");
    model.on_event(Event::Status(Box::new(later)));
    assert_eq!(shown(&model), ["a001", "a000", "a002"]);
    assert_eq!(selected(&model), "a001");
}

#[test]
fn the_next_agent_is_selected_when_the_selected_one_is_gone() {
    let mut model = with(3);
    press(&mut model, "jj\n");
    let mut later = status(3);
    later.agents.pop();
    let effects = model.on_event(Event::Status(Box::new(later)));
    assert_eq!((selected(&model), effects), ("a001", watch("a001")));
    let effects = model.on_event(Event::Status(Box::new(status(0))));
    assert_eq!(effects, [Effect::Watch(None)]);
    assert!(model.detail.is_none());
}

#[test]
fn a_filter_shows_what_has_its_letters() {
    let mut model = with(20);
    press(&mut model, "/A01");
    assert_eq!(model.mode, Mode::Filter);
    assert_eq!((shown(&model).len(), selected(&model)), (10, "a010"));
    press(&mut model, "5");
    assert_eq!(shown(&model), ["a015"]);
    press(&mut model, "\x08");
    assert_eq!(shown(&model).len(), 10);
    // Letters are no commands now, and `q` does not leave.
    assert_eq!(press(&mut model, "q"), []);
    assert_eq!((model.filter.as_str(), shown(&model).len()), ("A01q", 0));
    press(&mut model, "\x08\n");
    assert_eq!(
        (model.mode.clone(), model.filter.as_str()),
        (Mode::Table, "A01")
    );
    // It goes on to hold for what comes later, and Esc ends it.
    model.on_event(Event::Status(Box::new(status(12))));
    assert_eq!(shown(&model), ["a010", "a011"]);
    press(&mut model, "\x1b");
    assert_eq!(shown(&model).len(), 12);
    press(&mut model, &format!("/{}", "x".repeat(10_000)));
    assert_eq!(model.filter.len(), FILTER_MAX);
}

#[test]
fn an_action_is_asked_for_and_then_done() {
    for (letter, action) in [
        ('r', Action::Restart),
        ('s', Action::Stop),
        ('t', Action::Start),
    ] {
        let mut model = with(3);
        press(&mut model, "j");
        assert_eq!(press(&mut model, &letter.to_string()), []);
        assert_eq!(model.mode, Mode::Confirm("a001".to_owned(), action));
        // The order changes while the question stands: the answer is for the agent that was asked about.
        let mut later = status(3);
        later.agents.remove(0);
        model.on_event(Event::Status(Box::new(later)));
        let act = Effect::Act("a001".to_owned(), action);
        assert_eq!(press(&mut model, "y"), [act]);
        assert_eq!(model.mode, Mode::Table);
    }
}

#[test]
fn whatever_is_not_yes_is_no() {
    for answer in ["n", "\n", "\x1b", "r", "q"] {
        let mut model = with(3);
        assert_eq!(press(&mut model, &format!("r{answer}")), [], "{answer:?}");
        assert_eq!(model.mode, Mode::Table);
        assert_eq!(model.notice.as_ref().unwrap().text, "a000 is left as it is");
    }
}

#[test]
fn ctrl_c_leaves_from_anywhere() {
    for keys in ["", "/", "r", "?", "\n"] {
        let mut model = with(3);
        press(&mut model, keys);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(
            model.on_event(Event::Key(ctrl_c)),
            [Effect::Quit],
            "{keys:?}"
        );
    }
    assert_eq!(press(&mut with(3), "q"), [Effect::Quit]);
}

#[test]
fn the_pane_follows_the_selection_and_closes_step_by_step() {
    let mut model = with(3);
    assert_eq!(press(&mut model, "\n"), watch("a000"));
    assert_eq!(press(&mut model, "j"), watch("a001"));
    press(&mut model, "\t");
    // Within a section, the keys move in it.
    assert_eq!(press(&mut model, "j"), []);
    assert_eq!(press(&mut model, "\x1b"), []);
    assert_eq!(model.detail.as_ref().unwrap().section, Section::Overview);
    assert_eq!(press(&mut model, "\x1b"), [Effect::Watch(None)]);
    assert!(model.detail.is_none());
    // And Enter closes it at once.
    assert_eq!(
        press(&mut model, "\n\t\n").last(),
        Some(&Effect::Watch(None))
    );
}

#[test]
fn news_of_an_agent_that_is_not_looked_into_is_left() {
    let mut model = with(3);
    press(&mut model, "\n");
    for agent in ["a001", "a000"] {
        model.on_event(Event::LogLine(agent.into(), format!("of {agent}")));
        model.on_event(Event::Processes(agent.into(), Err(format!("of {agent}"))));
    }
    model.on_event(Event::LogBegins("a001".into()));
    let detail = model.detail.as_ref().unwrap();
    assert_eq!(detail.log, ["of a000"]);
    assert_eq!(detail.processes, Some(Err("of a000".to_owned())));
    // A log that begins anew is not shown twice.
    model.on_event(Event::LogBegins("a000".into()));
    assert!(model.detail.unwrap().log.is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut model = with(1);
    press(&mut model, "\n");
    for n in 0..3000 {
        model.on_event(Event::LogLine("a000".into(), n.to_string()));
        model.on_event(Event::Lifecycle(Box::new(LifecycleEvent {
            at_ms: n,
            agent: Some("a000".into()),
            generation: 1,
            kind: "ready".into(),
            detail: None,
            end: None,
            held_back: None,
        })));
    }
    let detail = model.detail.as_ref().unwrap();
    assert_eq!((detail.log.len(), &detail.log[0][..]), (LINES_KEPT, "2000"));
    assert_eq!(
        (model.events.len(), model.events[0].at_ms),
        (EVENTS_KEPT, 2000)
    );
    // Agents that are gone are forgotten.
    model.on_event(Event::Status(Box::new(status(5))));
    model.on_event(Event::Status(Box::new(status(1))));
    assert_eq!(model.agents.len(), 1);
}

#[test]
fn who_reads_back_in_the_log_keeps_seeing_the_same_lines() {
    let mut model = with(1);
    press(&mut model, "\n");
    for n in 0..100 {
        model.on_event(Event::LogLine("a000".into(), n.to_string()));
    }
    press(&mut model, "\t\t\t");
    assert_eq!(model.detail.as_ref().unwrap().section, Section::Log);
    press(&mut model, "kk");
    assert_eq!(model.detail.as_ref().unwrap().scroll, 2);
    model.on_event(Event::LogLine("a000".into(), "new".into()));
    assert_eq!(model.detail.as_ref().unwrap().scroll, 3);
    // Not beyond the first line, and back to the last.
    press(&mut model, "g");
    let scroll = model.detail.as_ref().unwrap().scroll;
    assert!(scroll < 101 && scroll > 50, "{scroll}");
    press(&mut model, "G");
    assert_eq!(model.detail.as_ref().unwrap().scroll, 0);
    model.on_event(Event::LogLine("a000".into(), "newer".into()));
    assert_eq!(model.detail.as_ref().unwrap().scroll, 0);
}

#[test]
fn another_supervisor_is_told_of() {
    let mut model = with(1);
    model.on_event(Event::Lost("gone".into()));
    assert_eq!(model.lost.as_deref(), Some("gone"));
    let mut other = status(1);
    other.supervisor.pid += 1;
    model.on_event(Event::Status(Box::new(other)));
    assert_eq!(model.lost, None);
    let notice = model.notice.as_ref().unwrap();
    assert_eq!(notice.text, "another supervisor runs now: pid 4243");
    // Until a key is pressed.
    press(&mut model, "j");
    assert_eq!(model.notice, None);
}

#[test]
fn an_agent_that_is_new_has_a_history_of_its_own() {
    let mut model = with(1);
    let mut later = status(1);
    later.agents.push(agent("later"));
    model.on_event(Event::Status(Box::new(later)));
    assert_eq!(model.agents["a000"].cpu.bars(3, 100.0), " ▁▁");
    assert_eq!(model.agents["later"].cpu.bars(3, 100.0), "  ▁");
}

#[test]
fn a_terminal_that_changed_its_size_is_painted_in_full() {
    let mut model = with(50);
    let size = Size::new(40, 10);
    assert_eq!(model.on_event(Event::Resize(size)), [Effect::Redraw]);
    // A page is as long as the table is now.
    key(&mut model, KeyCode::PageDown);
    assert_eq!(selected(&model), "a006");
    // Back, or never away: what it shows may be gone all the same.
    assert_eq!(model.on_event(Event::Resize(size)), [Effect::Redraw]);
}
