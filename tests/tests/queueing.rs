//! How messages of a chat wait, and what people may tell the supervisor from there: the real programs, a chat server.

use std::time::Duration;

use kennel_tests::{
    fake_telegram::FakeTelegram,
    harness::{Kennel, eventually},
};
use nix::sys::signal::Signal;

const TOKEN: &str = "111:one";
const ADA: i64 = 7;
const WITHIN: Duration = Duration::from_secs(20);

struct Chat {
    telegram: FakeTelegram,
    read: usize,
}

impl Chat {
    async fn open() -> Self {
        let telegram = FakeTelegram::start().await.unwrap();
        telegram.add_bot(TOKEN, "OneBot");
        telegram.user(ADA, "Ada");
        telegram.open_chat(TOKEN, ADA);
        Self { telegram, read: 0 }
    }

    /// Says something, and waits until it is acknowledged.
    async fn say(&self, text: &str) {
        let update = self.telegram.say(TOKEN, ADA, text);
        let taken = |chat: &FakeTelegram| chat.confirmed(TOKEN) >= update;
        assert!(self.telegram.wait_until(taken, WITHIN).await, "{text}");
    }

    /// The next thing that the bot says.
    async fn hear(&mut self) -> String {
        let so_far = self.read;
        let more = |chat: &FakeTelegram| chat.sent(TOKEN).len() > so_far;
        assert!(
            self.telegram.wait_until(more, WITHIN).await,
            "nothing comes"
        );
        self.read += 1;
        self.telegram.sent(TOKEN)[so_far].text.clone()
    }
}

async fn fleet(chat: &Chat, queue: &str) -> Kennel {
    limited(chat, &[("queue", queue)]).await
}

async fn limited(chat: &Chat, defaults: &[(&str, &str)]) -> Kennel {
    Kennel::builder()
        .agents(&["one"])
        .defaults(defaults)
        .telegram("tg", &chat.telegram.url(), TOKEN, "one")
        .start()
        .await
}

async fn until_running(kennel: &Kennel) {
    kennel
        .until("one", "is at work", |agent| agent.running == 1)
        .await;
}

/// The CPU time of a process in user mode, in hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let user = behind_name.split(' ').nth(11);
    user.and_then(|user| user.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn what_waits_is_answered_together_also_after_a_crash() {
    let mut chat = Chat::open().await;
    let mut kennel = fleet(&chat, "{}").await;
    chat.say("!sleep 500 first").await;
    until_running(&kennel).await;
    chat.say("second").await;
    chat.say("third").await;
    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    kennel.start_again().await;
    chat.say("fourth").await;
    assert_eq!(chat.hear().await, "first");
    // What an earlier supervisor took is not added to.
    assert_eq!(chat.hear().await, "second\n\nthird");
    assert_eq!(chat.hear().await, "fourth");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_debounce_makes_one_question_of_several() {
    let mut chat = Chat::open().await;
    let kennel = fleet(&chat, "{ debounce = '300ms' }").await;
    chat.say("one").await;
    chat.say("two").await;
    assert_eq!(chat.hear().await, "one\n\ntwo");
    kennel.shut_down().await;
}

#[tokio::test]
async fn an_interruption_is_answered_at_once() {
    let mut chat = Chat::open().await;
    let kennel = fleet(&chat, "{ mode = 'interrupt' }").await;
    chat.say("!sleep 60000 never").await;
    until_running(&kennel).await;
    chat.say("now").await;
    assert_eq!(chat.hear().await, "now");
    kennel.shut_down().await;
}

/// A turn that uses a tool again and again, for some seconds.
fn long_turn(steps: usize) -> String {
    let step = r#"[{"name": "exec", "arguments": {"command": "sleep 0.2"}}]"#;
    format!("!tools [{}]", vec![step; steps].join(","))
}

#[tokio::test]
async fn a_turn_that_runs_is_steered() {
    let mut chat = Chat::open().await;
    let keys = [
        ("queue", "{ mode = 'steer' }"),
        ("tools", "['exec']"),
        ("max_steps", "100"),
    ];
    let kennel = limited(&chat, &keys).await;
    chat.say(&long_turn(90)).await;
    until_running(&kennel).await;
    chat.say("rather this").await;
    // The answer of the turn that runs, long before it would have ended.
    assert_eq!(chat.hear().await, "rather this");
    chat.say("what now?").await;
    assert_eq!(chat.hear().await, "what now?");
    kennel.shut_down().await;
}

#[tokio::test]
async fn what_was_said_into_a_turn_is_answered_once_whoever_dies() {
    for who in ["supervisor", "agent", "both"] {
        let mut chat = Chat::open().await;
        let keys = [("queue", "{ mode = 'steer' }"), ("tools", "['exec']")];
        let mut kennel = limited(&chat, &keys).await;
        chat.say(&long_turn(20)).await;
        until_running(&kennel).await;
        let agent = kennel.agent_pid("one").await;
        chat.say("!sleep 300 rather this").await;
        if who != "supervisor" {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent), Signal::SIGKILL).unwrap();
        }
        if who != "agent" {
            kennel.signal(Signal::SIGKILL);
            kennel.until_down().await;
            kennel.start_again().await;
        }
        // By the turn that was running, or after it: a tool amid which it was killed is told of as that.
        let mut said = chat.hear().await;
        while said.starts_with("exec: ") {
            said = chat.hear().await;
        }
        assert_eq!(said, "rather this", "{who}");
        chat.say("what now?").await;
        assert_eq!(chat.hear().await, "what now?", "{who}");
        kennel.shut_down().await;
    }
}

#[tokio::test]
async fn a_turn_that_has_taken_something_in_goes_on_with_it_whoever_dies() {
    for who in ["supervisor", "agent", "both"] {
        let mut chat = Chat::open().await;
        let keys = [
            ("queue", "{ mode = 'steer' }"),
            ("tools", "['exec']"),
            ("max_steps", "100"),
        ];
        let mut kennel = limited(&chat, &keys).await;
        chat.say(&long_turn(90)).await;
        until_running(&kennel).await;
        let agent = kennel.agent_pid("one").await;
        chat.say("!sleep 2000 rather this").await;
        eventually("a message that was taken in", || async {
            let all = kennel
                .client()
                .get("/api/v1/queue?view=all")
                .await
                .ok()?
                .body;
            let states = all["deliveries"].as_array()?.iter();
            states
                .map(|one| &one["state"])
                .any(|state| state == "gathered")
                .then_some(())
        })
        .await;
        if who != "supervisor" {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent), Signal::SIGKILL).unwrap();
        }
        if who != "agent" {
            kennel.signal(Signal::SIGKILL);
            kennel.until_down().await;
            kennel.start_again().await;
        }
        assert_eq!(chat.hear().await, "rather this", "{who}");
        chat.say("what now?").await;
        assert_eq!(chat.hear().await, "what now?", "{who}");
        kennel.shut_down().await;
    }
}

#[tokio::test]
async fn what_is_too_much_is_told() {
    let mut chat = Chat::open().await;
    let kennel = fleet(&chat, "{ cap = 2 }").await;
    chat.say("!sleep 700 first").await;
    until_running(&kennel).await;
    for text in ["a", "b", "c", "d"] {
        chat.say(text).await;
    }
    let told = chat.hear().await;
    assert!(told.contains("too many messages wait"), "{told}");
    assert_eq!(chat.hear().await, "first");
    assert_eq!(
        chat.hear().await,
        "[2 earlier messages dropped, as too many waited: \"a\"; \"b\"]\n\nc\n\nd"
    );
    kennel.shut_down().await;
}

#[tokio::test]
async fn people_command_their_chat() {
    let mut chat = Chat::open().await;
    let mut kennel = fleet(&chat, "{}").await;
    chat.say("/whoami").await;
    let said = chat.hear().await;
    assert!(
        said.contains("Ada") && said.contains("agent:one:tg:direct:7"),
        "{said}"
    );
    chat.say("/status").await;
    let said = chat.hear().await;
    assert!(
        said.starts_with("Agent one is running: 0 at work"),
        "{said}"
    );
    chat.say("/queue").await;
    let said = chat.hear().await;
    assert!(said.contains("mode collect (as configured)"), "{said}");
    chat.say("/queue sideways").await;
    let said = chat.hear().await;
    assert!(said.contains("no mode sideways"), "{said}");
    chat.say("/queue followup").await;
    assert!(chat.hear().await.contains("mode followup"));

    // It holds, also for the next supervisor.
    kennel.signal(Signal::SIGKILL);
    kennel.until_down().await;
    kennel.start_again().await;
    chat.say("!sleep 400 first").await;
    until_running(&kennel).await;
    chat.say("second").await;
    chat.say("third").await;
    let mut first = chat.hear().await;
    if first.contains("mode followup") {
        // It was with the platform when the supervisor died.
        first = chat.hear().await;
    }
    assert_eq!(first, "first");
    assert_eq!(chat.hear().await, "second");
    assert_eq!(chat.hear().await, "third");

    chat.say("!sleep 60000 never").await;
    until_running(&kennel).await;
    chat.say("waits").await;
    chat.say("/stop").await;
    assert_eq!(chat.hear().await, "Stopped.");
    chat.say("/stop").await;
    let said = chat.hear().await;
    assert!(
        said.contains("nothing to stop") || said == "Stopped.",
        "{said}"
    );

    chat.say("!context").await;
    let said = chat.hear().await;
    assert!(!said.starts_with("messages=1 "), "{said}");
    chat.say("/new").await;
    assert!(chat.hear().await.contains("new conversation"));
    chat.say("!context").await;
    let said = chat.hear().await;
    assert!(said.starts_with("messages=1 "), "{said}");
    // Commands are not the agent's business, other words are.
    chat.say("/start").await;
    assert_eq!(chat.hear().await, "/start");
    kennel.shut_down().await;
}

#[tokio::test]
async fn what_waits_too_long_is_told_and_not_begun() {
    let mut chat = Chat::open().await;
    let limits = [
        ("queue_timeout", "'300ms'"),
        ("queue", "{ mode = 'followup' }"),
    ];
    let kennel = limited(&chat, &limits).await;
    chat.say("!sleep 1500 first").await;
    until_running(&kennel).await;
    chat.say("second").await;
    let said = chat.hear().await;
    assert!(said.contains("waited for more than 300ms"), "{said}");
    assert_eq!(chat.hear().await, "first");
    chat.say("third").await;
    assert_eq!(chat.hear().await, "third");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_model_that_is_silent_is_given_up() {
    let mut chat = Chat::open().await;
    let kennel = limited(&chat, &[("first_token_timeout", "'300ms'")]).await;
    chat.say("!hang").await;
    let said = chat.hear().await;
    assert!(said.contains("said nothing for 300ms"), "{said}");
    chat.say("hello").await;
    assert_eq!(chat.hear().await, "hello");
    assert_eq!(kennel.agent("one").await.generation, 1);
    kennel.shut_down().await;
}

/// Its loop does nothing else, so it does not hear that it is to stop either; the watchdog would take longer.
#[tokio::test]
async fn an_agent_that_does_not_stop_is_replaced() {
    let mut chat = Chat::open().await;
    let limits = [("cancel_grace", "'300ms'"), ("watchdog", "'1m'")];
    let kennel = limited(&chat, &limits).await;
    chat.say("!busy 60000 never").await;
    // Not only handed out: told to stop before it begins, it would just not begin.
    let pid = kennel.agent_pid("one").await;
    eventually("the agent is busy", || async {
        (ticks(pid) > 10).then_some(())
    })
    .await;
    chat.say("/stop").await;
    assert_eq!(chat.hear().await, "Stopped.");
    kennel.until_reborn("one", 1).await;
    chat.say("hello").await;
    assert_eq!(chat.hear().await, "hello");
    let told = kennel.command().arg("doctor").arg("one").output();
    let told = String::from_utf8_lossy(&told.expect("it runs").stdout).into_owned();
    assert!(told.contains("did not end when it was told to"), "{told}");
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_turn_beyond_its_time_is_ended_by_force_and_told() {
    let mut chat = Chat::open().await;
    let limits = [
        ("turn_timeout", "'300ms'"),
        ("cancel_grace", "'300ms'"),
        ("watchdog", "'1m'"),
    ];
    let kennel = limited(&chat, &limits).await;
    chat.say("!busy 60000 never").await;
    let said = chat.hear().await;
    assert!(said.contains("could not finish this in time"), "{said}");
    chat.say("hello").await;
    assert_eq!(chat.hear().await, "hello");
    assert_eq!(kennel.agent("one").await.generation, 2);
    kennel.shut_down().await;
}

#[tokio::test]
async fn a_full_queue_is_told_once_and_nothing_is_lost() {
    let mut chat = Chat::open().await;
    let limits = [("max_queued", "1"), ("queue", "{ mode = 'followup' }")];
    let kennel = limited(&chat, &limits).await;
    chat.say("!sleep 3000 first").await;
    until_running(&kennel).await;
    chat.say("second").await;
    chat.telegram.say(TOKEN, ADA, "third");
    let last = chat.telegram.say(TOKEN, ADA, "fourth");
    let said = chat.hear().await;
    assert!(said.contains("too much to do"), "{said}");
    for answer in ["first", "second", "third", "fourth"] {
        let mut said = chat.hear().await;
        if answer == "fourth" && said.contains("too much to do") {
            // The third was taken meanwhile, and the fourth was not.
            said = chat.hear().await;
        }
        assert_eq!(said, answer);
    }
    let taken = |chat: &FakeTelegram| chat.confirmed(TOKEN) >= last;
    assert!(chat.telegram.wait_until(taken, WITHIN).await);
    kennel.shut_down().await;
}
