use proptest::prelude::*;

use super::*;

fn identity() -> Identity {
    Identity {
        nick: "kennel".into(),
        password: None,
        sasl: None,
        rooms: vec!["#lab".into(), "#Den".into()],
    }
}

fn with_sasl() -> Session {
    Session::new(Identity {
        sasl: Some(Sasl {
            account: "acc".into(),
            password: "pw".to_owned().into(),
        }),
        ..identity()
    })
}

/// What these lines bring about, each effect in short.
fn hear(session: &mut Session, lines: &[&str]) -> Vec<String> {
    let mut effects = Vec::new();
    for line in lines {
        let message: Message = line.parse().unwrap();
        effects.extend(session.on_message(&message));
    }
    effects
        .into_iter()
        .map(|effect| match effect {
            Effect::Send(line) => line,
            Effect::Online(who) => format!("online as {who}"),
            Effect::Heard(heard) => format!("{} {}: {}", heard.peer.id, heard.full, heard.text),
            Effect::Remark(text) => format!("remark {text}"),
            Effect::Fail(ChannelError::Refused { detail, .. }) => format!("refused {detail}"),
            Effect::Fail(error) => format!("failed {error}"),
        })
        .collect()
}

fn online() -> Session {
    let mut session = Session::new(identity());
    hear(&mut session, &[":srv 001 kennel :Welcome"]);
    session
}

#[test]
fn it_registers_and_joins() {
    let mut session = Session::new(identity());
    let opening = ["NICK kennel", "USER kennel 0 * :kennel"];
    assert_eq!(session.open().unwrap(), opening);
    let effects = hear(
        &mut session,
        &[
            "PING :cookie",
            ":srv 001 kennel :Welcome",
            ":srv 001 kennel :again",
        ],
    );
    assert_eq!(
        effects,
        ["PONG :cookie", "online as kennel", "JOIN #lab", "JOIN #Den"]
    );
}

#[test]
fn a_nick_in_use_gets_a_tail_and_says_so() {
    let mut session = Session::new(identity());
    let taken = ":srv 433 * kennel :Nickname is already in use";
    assert_eq!(
        hear(&mut session, &[taken, taken]),
        ["NICK kennel_", "NICK kennel__"]
    );
    let effects = hear(&mut session, &[":srv 001 kennel__ :Welcome"]);
    assert_eq!(effects[0], "online as kennel__ (kennel was taken)");
    assert_eq!(hear(&mut session, &[taken]), [""; 0], "not any more");

    let mut session = Session::new(identity());
    let effects = hear(&mut session, &[taken; 5]);
    assert!(
        effects[4].starts_with("failed the nick kennel and its variants"),
        "{effects:?}"
    );
}

#[test]
fn sasl_logs_in_before_the_welcome() {
    let mut session = with_sasl();
    assert_eq!(session.open().unwrap()[0], "CAP REQ :sasl");
    let effects = hear(
        &mut session,
        &[
            ":srv CAP * ACK :sasl",
            "AUTHENTICATE +",
            ":srv 900 kennel kennel!k@h acc :You are now logged in",
            ":srv 903 kennel :SASL authentication successful",
        ],
    );
    // "\0acc\0pw"
    assert_eq!(
        effects,
        ["AUTHENTICATE PLAIN", "AUTHENTICATE AGFjYwBwdw==", "CAP END"]
    );
}

#[test]
fn long_credentials_go_in_pieces() {
    for (length, sizes) in [(295, [400, 1]), (296, [400, 4])] {
        let mut session = Session::new(Identity {
            sasl: Some(Sasl {
                account: "abc".into(),
                password: "x".repeat(length).into(),
            }),
            ..identity()
        });
        let sent = hear(&mut session, &["AUTHENTICATE +"]);
        let data: Vec<_> = sent
            .iter()
            .map(|line| line.len() - "AUTHENTICATE ".len())
            .collect();
        assert_eq!(data, sizes);
    }
}

#[test]
fn refusals_ask_for_a_person() {
    let cases = [
        (
            ":srv CAP * NAK :sasl",
            "refused the server offers no SASL login",
        ),
        (
            ":srv 904 kennel :SASL authentication failed",
            "refused the login was refused: SASL authentication failed",
        ),
        (
            ":srv 464 * :Invalid password",
            "refused the server refuses the password: Invalid password",
        ),
        (
            ":srv 465 * :You are banned",
            "refused banned from the server: You are banned",
        ),
        (
            ":srv 432 * kennel :Erroneous nickname",
            "refused the server does not take the nick \"kennel\": Erroneous nickname",
        ),
        (
            "ERROR :Closing link",
            "failed the server closed the connection: Closing link",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(hear(&mut with_sasl(), &[line]), [expected]);
    }
}

#[test]
fn names_from_the_configuration_cannot_smuggle_commands() {
    for nick in ["a\r\nQUIT", "a b", ""] {
        let session = Session::new(Identity {
            nick: nick.into(),
            ..identity()
        });
        assert!(session.open().is_err(), "{nick:?}");
    }
    let session = Session::new(Identity {
        password: Some("x\nQUIT".to_owned().into()),
        ..identity()
    });
    let error = session.open().unwrap_err();
    assert!(
        !format!("{error:?}").contains("QUIT"),
        "the password is not shown"
    );
}

#[test]
fn it_hears_what_is_addressed_to_it() {
    let cases = [
        (
            ":Alice!a@h PRIVMSG kennel :hello there",
            Some("alice Alice!a@h: hello there"),
        ),
        (
            ":Alice!a@h PRIVMSG KENNEL :\u{1}ACTION waves\u{1}",
            Some("alice Alice!a@h: * Alice waves"),
        ),
        (
            ":Alice!a@h PRIVMSG #Lab :kennel: hello",
            Some("#lab Alice!a@h: hello"),
        ),
        (
            ":Alice!a@h PRIVMSG #lab :Kennel, hello",
            Some("#lab Alice!a@h: hello"),
        ),
        (":Alice!a@h PRIVMSG #lab :hello", None),
        (
            ":Alice!a@h PRIVMSG #lab :\u{1}ACTION kennel: waves\u{1}",
            None,
        ),
        (":Alice!a@h PRIVMSG kennel :\u{1}VERSION\u{1}", None),
        (":Alice!a@h PRIVMSG kennel : ", None),
        (":Alice!a@h PRIVMSG @#lab :kennel: hello", None),
        (":Alice!a@h NOTICE kennel :hello", None),
        (":kennel!k@h PRIVMSG kennel :to myself", None),
        (":irc.example.org PRIVMSG kennel :from a server", None),
        ("PRIVMSG kennel :from nowhere", None),
    ];
    for (line, expected) in cases {
        let heard = hear(&mut online(), &[line]);
        assert_eq!(heard.first().map(String::as_str), expected, "{line:?}");
    }
}

#[test]
fn a_forced_nick_and_a_kick_are_noticed() {
    let mut session = online();
    let effects = hear(
        &mut session,
        &[
            ":kennel!k@h NICK :Guest1",
            ":a!b@c NICK :other",
            ":op!o@h KICK #lab Guest1 :bye",
        ],
    );
    assert_eq!(
        effects,
        [
            "remark Guest1 (kennel was taken)",
            "remark Guest1 (kennel was taken); kicked from #lab: bye"
        ]
    );
    let heard = hear(&mut session, &[":a!b@c PRIVMSG guest1 :hi"]);
    assert_eq!(heard, ["a a!b@c: hi"]);
}

#[test]
fn a_room_that_cannot_be_joined_is_shown() {
    let effects = hear(
        &mut online(),
        &[":srv 474 kennel #lab :Cannot join channel (+b)"],
    );
    assert_eq!(
        effects,
        ["remark kennel; cannot join #lab: Cannot join channel (+b)"]
    );
}

proptest! {
    /// No line of a hostile server or user can make us send more than one line for each effect, or panic.
    #[test]
    fn hostile_lines_do_no_harm(lines in proptest::collection::vec(
        prop_oneof![
            "\\PC{0,60}",
            "(:[a-z!@.]{0,9} )?(PRIVMSG|NICK|KICK|CAP|AUTHENTICATE|PING|ERROR|[0-9]{3}|MODE|JOIN)( [:#a-z+*]{0,6}){0,5}",
        ], 0..8)
    ) {
        let mut session = with_sasl();
        for line in lines {
            let Ok(message) = line.parse::<Message>() else { continue };
            for effect in session.on_message(&message) {
                if let Effect::Send(line) = effect {
                    prop_assert!(!line.contains(['\r', '\n', '\0']));
                }
            }
        }
    }
}
