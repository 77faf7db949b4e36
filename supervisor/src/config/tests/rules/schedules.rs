//! Rules of schedules.

use std::time::Duration;

use super::super::{config, parse};
use super::{BASE, refuses, warns};
use crate::schedule::{CatchUp, Timetable};

const MORNING: &str = "[[schedules]]\nname = \"morning\"\nagent = \"a\"\nprompt = \"wake up\"\n";
const TELEGRAM: &str = "[channels.tg]\nkind = \"telegram\"\ntoken = { env = \"T\" }\nallow_from = [1]\n\
                        [[bindings]]\nchannel = \"tg\"\nagent = \"a\"\n";

#[test]
fn schedules() {
    for (body, title, hint) in [
        (
            "",
            "missing key `cron` in `[schedules]`",
            "cron = \"0 9 * * *\"",
        ),
        (
            "cron = \"61 * * * *\"",
            "`cron` is not a cron expression: number out of bounds",
            "minute, hour, day, month and weekday",
        ),
        (
            "cron = \"every day\"",
            "`cron` is not a cron expression",
            "30 9 * * MON-FRI",
        ),
        (
            "cron = \"0 0 30 2 *\"",
            "`cron` names no time that ever comes",
            "no month",
        ),
        ("cron = 5", "`cron` must be a string", ""),
        (
            "cron = \"0 9 * * *\"\nzone = \"Europe/Berlim\"",
            "there is no time zone \"Europe/Berlim\"",
            "did you mean `Europe/Berlin`?",
        ),
        (
            "cron = \"0 9 * * *\"\nzone = \"x\"",
            "there is no time zone \"x\"",
            "tz database",
        ),
        (
            "cron = \"0 9 * * *\"\nevery = \"1h\"",
            "`cron` and `every` exclude each other",
            "keep one",
        ),
        (
            "every = \"1h\"\nzone = \"UTC\"",
            "`zone` has no meaning with `every`",
            "remove it",
        ),
        ("every = \"500ms\"", "`every` is too short", "1s"),
        ("every = 15", "`every` needs a unit", "15s"),
        (
            "every = \"1h\"\ncatch_up = \"twice\"",
            "unknown catch_up \"twice\"",
            "\"once\"",
        ),
        (
            "every = \"1h\"\nclass = \"Big\"",
            "`class` is not a name",
            "a-z",
        ),
        (
            "every = \"1h\"\nclass = \"bacth\"",
            "there is no class \"bacth\"",
            "did you mean `batch`?",
        ),
        (
            "every = \"1h\"\nsession = \"agent:b:notes\"",
            "`session` is one of agent \"b\", and the schedule is for \"a\"",
            "a session of the agent",
        ),
        (
            "every = \"1h\"\nsession = \"agent:\"",
            "`session` cannot name a conversation",
            "agent:a:",
        ),
        (
            "every = \"1h\"\ntell = { channel = \"tgg\", peer = 5 }",
            "there is no channel \"tgg\"",
            "did you mean `tg`?",
        ),
        (
            "every = \"1h\"\ntell = { channel = \"tg\" }",
            "missing key `peer`",
            "peer =",
        ),
        ("every = \"1h\"\nprmpt = 5", "unknown key `prmpt`", ""),
    ] {
        refuses(&format!("{BASE}{TELEGRAM}{MORNING}{body}\n"), title, hint);
    }
    for (body, title, hint) in [
        (
            "name = \"n\"\nagent = \"nobody\"\nprompt = \"p\"\nevery = \"1h\"",
            "there is no agent \"nobody\"",
            "the agents are `a`",
        ),
        (
            "agent = \"a\"\nprompt = \"p\"\nevery = \"1h\"",
            "missing key `name`",
            "name =",
        ),
        (
            "name = \"Big one\"\nagent = \"a\"\nprompt = \"p\"\nevery = \"1h\"",
            "\"Big one\" cannot name a schedule",
            "a-z",
        ),
        (
            "name = \"n\"\nagent = \"a\"\nprompt = \" \"\nevery = \"1h\"",
            "`prompt` is empty",
            "write a value",
        ),
        (
            "name = \"n\"\nagent = \"a\"\nevery = \"1h\"",
            "missing key `prompt`",
            "prompt =",
        ),
    ] {
        refuses(&format!("{BASE}[[schedules]]\n{body}\n"), title, hint);
    }
    let once = format!("{MORNING}every = \"1h\"\n");
    refuses(
        &format!("{BASE}{once}{once}"),
        "\"morning\" names a schedule twice",
        "rename",
    );
    warns(
        &format!(
            "{BASE}[agents.off]\nmodel = \"echo/x\"\nenabled = false\n{}",
            once.replace("\"a\"", "\"off\"")
        ),
        "names an agent that is disabled",
    );
    refuses(&format!("{BASE}{once}class = \"bach\"\n"), "class", "batch");
    let other = parse(&format!("{BASE}{once}class = \"batch\"\n")).unwrap();
    assert_eq!(
        other.warnings.iter().count(),
        0,
        "it need not be that of its agent"
    );
}

#[test]
fn all_mistakes_of_a_schedule_at_once() {
    let Err(found) = parse(&format!(
        "{BASE}[[schedules]]\nname = \"a b\"\ncron = \"x\"\nagent = \"b\"\njitter = 5\nclass = \"!\"\n"
    )) else {
        panic!("accepted");
    };
    assert!(
        found.errors() >= 5,
        "{}",
        found.render(super::super::super::Style::Plain)
    );
}

#[test]
fn what_a_schedule_means() {
    let config = config(&format!(
        "{BASE}{TELEGRAM}{MORNING}cron = \"30 9 * * MON-FRI\"\nzone = \"Europe/Berlin\"\n\
         [[schedules]]\nname = \"poll\"\nagent = \"a\"\nprompt = \"p\"\nevery = \"15m\"\nsession = \"notes\"\n\
         class = \"batch\"\ncatch_up = \"all\"\njitter = \"2m\"\nenabled = false\n\
         tell = {{ channel = \"tg\", peer = -100, kind = \"group\" }}\n"
    ));
    let morning = &config.schedules["morning"];
    assert_eq!(
        morning.timetable.to_string(),
        "30 9 * * MON-FRI Europe/Berlin"
    );
    assert_eq!(morning.session.as_str(), "agent:a:cron:morning");
    assert_eq!((morning.catch_up, morning.enabled), (CatchUp::Skip, true));
    assert_eq!((&morning.class, &morning.tell), (&None, &None));
    let poll = &config.schedules["poll"];
    assert_eq!(poll.timetable, Timetable::Every(Duration::from_mins(15)));
    assert_eq!(poll.session.as_str(), "agent:a:notes");
    assert_eq!((poll.catch_up, poll.enabled), (CatchUp::All, false));
    assert_eq!(
        (poll.jitter, poll.class.as_deref()),
        (Duration::from_mins(2), Some("batch"))
    );
    let tell = poll.tell.as_ref().expect("somebody is told");
    assert_eq!(
        (tell.channel.as_str(), tell.peer.id.as_str()),
        ("tg", "-100")
    );
    assert_eq!(tell.peer.kind, kennel_shared::envelope::PeerKind::Group);
}
