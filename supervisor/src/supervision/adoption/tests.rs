//! The table of what becomes of whom.

use super::*;

const MADE_OF: Digest = Digest([7; 32]);

fn child() -> Child {
    Child {
        agent: "hexa".parse().unwrap(),
        generation: Generation(4),
        pid: 300,
        start_time: 1234,
        tokens: TokenDigests {
            current: Digest([1; 32]),
            previous: None,
        },
        group: None,
        made_of: Some(MADE_OF),
        started: 0,
        ended: None,
    }
}

fn seen() -> Seen {
    Seen {
        start_time: 1234,
        is_dead: false,
        agent: Some("hexa".into()),
        uid: 1000,
        in_group: Some(true),
    }
}

const WANTED: Wanted = Wanted {
    uid: 1000,
    made_of: Some(MADE_OF),
};

#[test]
fn one_that_is_as_it_was_goes_on() {
    let adopt = Verdict::Adopt { renew: false };
    assert_eq!(judge(&child(), Some(WANTED), Some(&seen())), adopt);
    // Where there are no groups.
    let seen = Seen {
        in_group: None,
        ..seen()
    };
    assert_eq!(judge(&child(), Some(WANTED), Some(&seen)), adopt);
}

#[test]
fn who_has_the_pid_now_is_left_alone() {
    let cases = [
        None,
        Some(Seen {
            start_time: 1235,
            ..seen()
        }),
        Some(Seen {
            agent: None,
            ..seen()
        }),
        Some(Seen {
            agent: Some("other".into()),
            ..seen()
        }),
        Some(Seen {
            is_dead: true,
            ..seen()
        }),
        // Even where it would be ended for something else.
        Some(Seen {
            start_time: 1235,
            uid: 1,
            in_group: Some(false),
            ..seen()
        }),
    ];
    for case in cases {
        assert_eq!(
            judge(&child(), Some(WANTED), case.as_ref()),
            Verdict::Gone,
            "{case:?}"
        );
    }
    let ended = Child {
        ended: Some(1),
        ..child()
    };
    assert_eq!(judge(&ended, Some(WANTED), Some(&seen())), Verdict::Gone);
}

#[test]
fn what_the_configuration_says_now_counts() {
    assert_eq!(judge(&child(), None, Some(&seen())), Verdict::Retire);
    let other = Wanted {
        made_of: Some(Digest([8; 32])),
        ..WANTED
    };
    let renew = Verdict::Adopt { renew: true };
    let unknown = Wanted {
        made_of: None,
        ..WANTED
    };
    assert_eq!(judge(&child(), Some(unknown), Some(&seen())), renew);
    assert_eq!(judge(&child(), Some(other), Some(&seen())), renew);
    let unknown = Child {
        made_of: None,
        ..child()
    };
    assert_eq!(judge(&unknown, Some(WANTED), Some(&seen())), renew);
    let user = Wanted {
        uid: 1001,
        ..WANTED
    };
    assert!(matches!(
        judge(&child(), Some(user), Some(&seen())),
        Verdict::End(_)
    ));
}

#[test]
fn one_that_nothing_holds_is_ended() {
    let outside = Seen {
        in_group: Some(false),
        ..seen()
    };
    for wanted in [None, Some(WANTED)] {
        assert!(matches!(
            judge(&child(), wanted, Some(&outside)),
            Verdict::End(_)
        ));
    }
}
