use proptest::prelude::*;

use super::*;

fn user(text: &str) -> Message {
    Message::User(text.to_owned())
}

fn fill(history: &[Message], spec: ContextSpec, new_bytes: usize) -> (Vec<Message>, usize) {
    let mut window = Window::behind(spec, new_bytes);
    let mut read = 0;
    for message in history.iter().rev() {
        match window.room(message.part(), message.bytes()) {
            Room::Yes => {
                read += 1;
                window.push(message.clone());
            }
            Room::NotForTools => {}
            Room::Full => break,
        }
    }
    (window.into_messages(), read)
}

/// The definition, exchange by exchange.
fn model(history: &[Message], spec: ContextSpec, new_bytes: usize) -> Vec<Message> {
    let mut exchanges: Vec<Vec<Message>> = Vec::new();
    for message in history {
        if message.part() == Part::Question {
            exchanges.push(Vec::new());
        }
        if let Some(exchange) = exchanges.last_mut() {
            exchange.push(message.clone());
        }
    }
    let fits = |window: &[Message]| {
        window.len() < spec.max_messages as usize
            && window.iter().map(Message::bytes).sum::<usize>() + new_bytes
                <= spec.max_bytes as usize
    };
    let (mut window, mut only_said) = (Vec::new(), false);
    for mut exchange in exchanges.into_iter().rev() {
        if !only_said && !fits(&[exchange.clone(), window.clone()].concat()) {
            only_said = true;
        }
        if only_said {
            exchange.retain(|message| message.part() != Part::Tools);
        }
        let longer = [exchange, window.clone()].concat();
        if !fits(&longer) {
            break;
        }
        window = longer;
    }
    window
}

/// No result without its call, no call without its result, in one exchange, in order.
fn assert_sound(messages: &[Message]) {
    let mut owed: Vec<&str> = Vec::new();
    for message in messages {
        match message {
            Message::Result { call, .. } => {
                assert!(!owed.is_empty(), "a result without a call: {messages:?}");
                assert_eq!(owed.remove(0), call, "{messages:?}");
            }
            Message::User(_) | Message::Model { .. } => {
                assert!(owed.is_empty(), "calls without results: {messages:?}");
            }
        }
        if let Message::Model { calls, .. } = message {
            owed = calls.iter().map(|call| call.id.as_str()).collect();
        }
    }
    assert!(owed.is_empty(), "calls without results: {messages:?}");
}

/// One answer with calls, and their results.
fn any_step() -> impl Strategy<Value = Vec<Message>> {
    let call = ("[a-z]{9}", "[a-z]{0,6}", "[a-z]{0,20}");
    ("[a-zä]{0,6}", prop::collection::vec(call, 1..4)).prop_map(|(text, calls)| {
        let results = calls.iter().map(|(id, _, text)| Message::Result {
            call: id.clone(),
            name: "read".into(),
            text: text.clone(),
        });
        let results: Vec<_> = results.collect();
        let calls = calls.into_iter().map(|(id, arguments, _)| Call {
            id,
            name: "read".into(),
            arguments,
            signature: None,
        });
        let calls = calls.collect();
        [vec![Message::Model { text, calls }], results].concat()
    })
}

/// The same, and what the person may have said then.
fn any_steered_step() -> impl Strategy<Value = Vec<Message>> {
    let said = prop::collection::vec("[a-z]{0,6}", 0..3);
    let weighted = prop_oneof![3 => Just(Vec::new()), 1 => said];
    (any_step(), weighted)
        .prop_map(|(step, said)| [step, said.into_iter().map(Message::User).collect()].concat())
}

fn any_exchange() -> impl Strategy<Value = Vec<Message>> {
    let steps = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(any_steered_step(), 1..4),
    ];
    ("[a-zä]{0,12}", steps, "[a-zä]{0,12}").prop_map(|(question, steps, answer)| {
        [
            vec![Message::User(question)],
            steps.concat(),
            vec![Message::answer(answer)],
        ]
        .concat()
    })
}

fn any_history() -> impl Strategy<Value = Vec<Message>> {
    prop::collection::vec(any_exchange(), 0..12).prop_map(|exchanges| exchanges.concat())
}

#[test]
fn begins_with_the_user() {
    let history = [
        user("one"),
        Message::answer("eins"),
        user("two"),
        Message::answer("zwei"),
    ];
    let spec = ContextSpec {
        max_messages: 4,
        max_bytes: 100,
    };
    // Three fit beside the new one, but the oldest of them is an answer.
    assert_eq!(fill(&history, spec, 1).0, history[2..]);
}

#[test]
fn the_new_message_counts() {
    let history = [user("12345"), Message::answer("12345")];
    let spec = ContextSpec {
        max_messages: 10,
        max_bytes: 20,
    };
    assert_eq!(fill(&history, spec, 10).0, history);
    assert!(fill(&history, spec, 11).0.is_empty());
    assert!(fill(&history, spec, 1000).0.is_empty());
}

fn with_tools(question: &str, result: &str, answer: &str) -> Vec<Message> {
    let call = Call {
        id: "abcdefghi".into(),
        name: "read".into(),
        arguments: "{}".into(),
        signature: None,
    };
    vec![
        user(question),
        Message::Model {
            text: String::new(),
            calls: vec![call],
        },
        Message::Result {
            call: "abcdefghi".into(),
            name: "read".into(),
            text: result.into(),
        },
        Message::answer(answer),
    ]
}

#[test]
fn what_does_not_fit_whole_is_kept_as_it_was_said() {
    let old = with_tools("old?", "short", "old.");
    let long = with_tools("long?", &"x".repeat(1000), "long.");
    let new = with_tools("new?", "short", "new.");
    let history = [old, long.clone(), new.clone()].concat();
    let spec = ContextSpec {
        max_messages: 100,
        max_bytes: 200,
    };
    let said = [
        user("old?"),
        Message::answer("old."),
        user("long?"),
        Message::answer("long."),
    ];
    // Older exchanges lose their tools too: what is nearer is told in more detail.
    assert_eq!(fill(&history, spec, 1).0, [&said[..], &new].concat());
}

#[test]
fn a_turn_that_grows_pushes_old_exchanges_out_and_then_its_own_old_results() {
    let window = [
        with_tools("first?", "one", "first."),
        with_tools("second?", "two", "second."),
    ]
    .concat();
    let mut turn = with_tools("now?", &"y".repeat(500), "unused");
    turn.pop();
    let mut later = with_tools("unused", &"z".repeat(500), "unused");
    later.pop();
    turn.extend(later.drain(1..));

    assert_eq!(fit(&window, &turn, 10_000), [&window[..], &turn].concat());
    let second = &window[4..];
    let size = |messages: &[Message]| messages.iter().map(Message::bytes).sum::<usize>();
    assert_eq!(
        fit(&window, &turn, size(second) + size(&turn)),
        [second, &turn].concat()
    );
    let tight = fit(&window, &turn, 700);
    assert_eq!(tight[0], turn[0], "no exchange of the window is left");
    assert_eq!(tight[2].text(), LEFT_OUT);
    assert_eq!(tight[4], turn[4], "the last result stays");
    assert_eq!(fit(&window, &turn, 0)[4], turn[4]);
}

proptest! {
    #[test]
    fn is_what_it_is_defined_to_be_and_sound(
        history in any_history(),
        max_messages in 0u32..24,
        max_bytes in 0u32..300,
        new_bytes in 0usize..40,
    ) {
        let spec = ContextSpec { max_messages, max_bytes };
        let (window, read) = fill(&history, spec, new_bytes);
        prop_assert_eq!(&window, &model(&history, spec, new_bytes));
        assert_sound(&window);
        prop_assert!(window.first().is_none_or(|first| first.part() == Part::Question));
        // Of an exchange that is taken without its tools, those may have been read before.
        prop_assert!(read <= 2 * max_messages as usize);
    }

    #[test]
    fn any_tail_of_a_session_makes_a_sound_window(
        history in any_history(),
        from in any::<prop::sample::Index>(),
        max_messages in 0u32..24,
        max_bytes in 0u32..300,
    ) {
        // Reading may begin anywhere: what was before is gone.
        let from = if history.is_empty() { 0 } else { from.index(history.len()) };
        let spec = ContextSpec { max_messages, max_bytes };
        assert_sound(&fill(&history[from..], spec, 0).0);
    }

    #[test]
    fn what_is_sent_is_sound_and_has_the_whole_turn(
        window in any_history(),
        question in "[a-z]{0,10}",
        steps in prop::collection::vec(any_steered_step(), 0..5),
        max_bytes in 0usize..400,
    ) {
        let turn = [vec![Message::User(question)], steps.concat()].concat();
        let sent = fit(&window, &turn, max_bytes);
        assert_sound(&sent);
        let people = |message: &Message| matches!(message, Message::User(_));
        prop_assert!(!sent.windows(2).any(|two| two.iter().all(people)), "{sent:?}");
        let mut whole: Vec<Message> = Vec::new();
        for message in turn {
            match (whole.last_mut(), message) {
                (Some(Message::User(said)), Message::User(more)) => {
                    *said = format!("{said}\n\n{more}");
                }
                (_, message) => whole.push(message),
            }
        }
        let turn = whole;
        prop_assert!(sent.first().is_some_and(|first| first.part() == Part::Question));
        let own = &sent[sent.len() - turn.len()..];
        for (sent, said) in own.iter().zip(&turn) {
            prop_assert!(sent == said || sent.text() == LEFT_OUT);
        }
    }
}
