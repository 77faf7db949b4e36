//! Durable steps: a turn of three answers and two tools is killed (SIGKILL) at every point that can be seen
//! from outside, and at many that cannot, and handed out again. Nothing that was done is done twice.
//!
//! What was done before the kill is read from the store that it left, since only that decides.

use std::{fs, path::PathBuf, time::Duration};

use kennel_shared::{
    ids::{DeliveryId, TurnId},
    protocol::{AgentSpec, Delivery, ToAgent, ToSupervisor, Tool, ToolsSpec, TurnOutcome},
};
use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{
    model::{Answer, Model, Point},
    rig::{AgentLink, Kennel, PATIENCE, answer, delivery, finished, next, replied, spec},
};

/// When the agent is killed.
#[derive(Debug, Clone, Copy)]
enum When {
    /// When the model server has come there.
    Model(Point),
    /// When it has said so many messages.
    Said(usize),
    /// When the file of runs has this line.
    Ran(&'static str),
    /// So long after it was asked.
    After(Duration),
}

const REPLY: &str = "First.\n\nSecond.\n\nDone.";

fn script() -> Vec<Answer> {
    let run = |number: usize| {
        let command = format!(
            "echo begin-{number} >> runs; sleep 0.02; echo end-{number} >> runs; echo result-{number}"
        );
        vec![("exec", json!({ "command": command }))]
    };
    vec![
        Answer {
            text: "First.",
            calls: run(0),
        },
        Answer {
            text: "Second.",
            calls: run(1),
        },
        Answer {
            text: "Done.",
            calls: Vec::new(),
        },
    ]
}

struct Scene {
    kennel: Kennel,
    model: Model,
    spec: AgentSpec,
    runs: PathBuf,
}

impl Scene {
    async fn set() -> Self {
        let kennel = Kennel::new();
        let model = Model::start(script()).await;
        let workspace = kennel.dir.path().join("work");
        fs::create_dir(&workspace).unwrap();
        let spec = AgentSpec {
            model: model.spec(),
            workspace: workspace.clone(),
            tools: ToolsSpec {
                enabled: vec![Tool::Exec],
                ..ToolsSpec::none()
            },
            ..spec()
        };
        Self {
            runs: workspace.join("runs"),
            kennel,
            model,
            spec,
        }
    }

    fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.runs).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Reads what the agent says until it is time; `false` when the turn has ended before.
    async fn until(&mut self, link: &mut AgentLink, when: When) -> bool {
        let begun = Instant::now();
        let mut said = 0;
        loop {
            let now = match when {
                When::Model(point) => *self.model.at.borrow() >= Some(point),
                When::Said(count) => said >= count,
                When::Ran(wanted) => self.runs().iter().any(|run| run == wanted),
                When::After(time) => begun.elapsed() >= time,
            };
            if now {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "{when:?} does not come");
            let Ok(message) = timeout(Duration::from_micros(500), next(link)).await else {
                continue;
            };
            said += 1;
            if matches!(message, ToSupervisor::Finished { .. }) {
                return matches!(when, When::Said(count) if said >= count);
            }
        }
    }
}

/// What an attempt has left.
#[derive(Debug, Default)]
struct Left {
    /// Whether the turn was committed.
    finished: bool,
    answers: usize,
    /// For each tool that was begun, whether it has a result.
    tools: Vec<bool>,
}

fn left(kennel: &Kennel, delivery: DeliveryId) -> Left {
    let store = Connection::open(kennel.store()).unwrap();
    let count = |sql: &str| -> usize {
        let count: i64 = store
            .query_row(sql, [delivery.to_string()], |row| row.get(0))
            .unwrap();
        usize::try_from(count).unwrap()
    };
    if count("SELECT count(*) FROM deliveries WHERE delivery = ?1") > 0 {
        return Left {
            finished: true,
            answers: 3,
            tools: vec![true; 2],
        };
    }
    let mut tools = store
        .prepare(
            "SELECT content IS NOT NULL FROM steps WHERE delivery = ?1 AND kind = 1 ORDER BY seq",
        )
        .unwrap();
    let tools = tools
        .query_map([delivery.to_string()], |row| row.get(0))
        .unwrap();
    Left {
        finished: false,
        answers: count("SELECT count(*) FROM steps WHERE delivery = ?1 AND kind = 0"),
        tools: tools.map(Result::unwrap).collect(),
    }
}

/// One turn, killed once; returns what the first attempt had left, if it could be killed in time.
async fn killed(when: When) -> Option<Left> {
    let mut scene = Scene::set().await;
    let mut agent = scene.kennel.start();
    let mut link = scene.kennel.accept(scene.spec.clone()).await;
    let question = delivery("go");
    link.send(ToAgent::Deliver(question.clone())).unwrap();
    if !scene.until(&mut link, when).await {
        return None;
    }
    agent.signal(Signal::SIGKILL);
    agent.exit().await;
    drop(link);
    let left = left(&scene.kennel, question.delivery);
    scene.model.settled().await;
    let before: Vec<_> = (0..3).map(|number| scene.model.asked(number)).collect();

    let _next_life = scene.kennel.start();
    let mut link = scene.kennel.accept(scene.spec.clone()).await;
    let again = Delivery {
        turn: TurnId::new(),
        ..question
    };
    let outcome = answer(&mut link, again.clone()).await;
    assert_eq!(outcome, replied(REPLY), "{when:?}: {left:?}");

    for (number, before) in before.into_iter().enumerate() {
        let more = scene.model.asked(number) - before;
        let expected = usize::from(number >= left.answers);
        assert_eq!(more, expected, "{when:?}: answer {number} after {left:?}");
    }
    let runs = scene.runs();
    for number in 0..2 {
        let begun = runs
            .iter()
            .filter(|run| **run == format!("begin-{number}"))
            .count();
        match left.tools.get(number) {
            // It had been written down, so it is not run again; it may not have come to run at all.
            Some(false) => assert!(begun <= 1, "{when:?}: {left:?} {runs:?}"),
            Some(true) | None => assert_eq!(begun, 1, "{when:?}: {left:?} {runs:?}"),
        }
    }
    if !left.finished {
        let shown = scene.model.last(2);
        let results: Vec<&str> = shown["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["role"] == "tool")
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        assert_eq!(results.len(), 2, "{when:?}: {shown}");
        for (number, result) in results.into_iter().enumerate() {
            if left.tools.get(number) == Some(&false) {
                assert!(result.starts_with("[interrupted: "), "{when:?}: {result}");
            } else {
                let whole = format!("[exit status 0]\nresult-{number}\n");
                assert_eq!(result, whole, "{when:?}: {left:?}");
            }
        }
    }
    // Once more, it is known; and the session has the turn once.
    assert_eq!(answer(&mut link, again).await, replied(REPLY));
    drop(link);
    let store = Connection::open(scene.kennel.store()).unwrap();
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        store.query_row(&sql, (), |row| row.get(0)).unwrap()
    };
    assert_eq!((count("messages"), count("deliveries")), (6, 1), "{when:?}");
    Some(left)
}

#[tokio::test]
async fn a_turn_that_is_killed_at_any_point_goes_on_from_its_last_step() {
    let mut points = Vec::new();
    for number in 0..3 {
        points.push(When::Model(Point::Asked(number)));
        points.push(When::Model(Point::HalfAnswered(number)));
        points.push(When::Model(Point::Answered(number)));
    }
    points.extend(["begin-0", "end-0", "begin-1", "end-1"].map(When::Ran));
    // Started, a text, a tool, asking, a text, a tool, asking, a text, the end.
    points.extend((1..=9).map(When::Said));
    let mut seen = Vec::new();
    for when in points {
        match killed(when).await {
            Some(left) => seen.push((left.answers, left.tools.clone(), left.finished)),
            // The turn may end as soon as its last answer is whole.
            None => assert!(
                matches!(when, When::Model(Point::Answered(2))),
                "{when:?} is too late"
            ),
        }
    }
    // Each state that a kill can leave was left by one of them.
    for state in [
        (0, vec![], false),
        (1, vec![false], false),
        (1, vec![true], false),
        (2, vec![true, false], false),
        (2, vec![true, true], false),
        (3, vec![true, true], true),
    ] {
        assert!(seen.contains(&state), "{state:?} is not among {seen:?}");
    }
}

#[tokio::test]
async fn a_turn_that_is_killed_at_any_time_goes_on_from_its_last_step() {
    for ms in (0..=120).step_by(4) {
        killed(When::After(Duration::from_millis(ms))).await;
    }
}

#[tokio::test]
async fn a_tool_starts_with_nothing_of_its_agent() {
    let scene = Scene::set().await;
    let _agent = scene.kennel.start();
    let echo = AgentSpec {
        model: spec().model,
        ..scene.spec.clone()
    };
    let mut link = scene.kennel.accept(echo).await;
    let script = json!([[
        {"name": "exec", "arguments": {"command": "for n in $(seq 0 30); do [ -e /proc/$$/fd/$n ] && echo $n; done; true"}},
        {"name": "exec", "arguments": {"command": "env | cut -d= -f1 | sort | tr '\\n' ' '"}},
        {"name": "exec", "arguments": {"command": "umask; ulimit -c; cut -d' ' -f5,6 /proc/$$/stat"}},
    ]]);
    link.send(ToAgent::Deliver(delivery(&format!("!tools {script}"))))
        .unwrap();
    let TurnOutcome::Replied(reply) = finished(&mut link).await else {
        panic!("no answer");
    };
    let told: Vec<&str> = reply.split("\n\n").collect();
    assert_eq!(
        told[0].trim_end(),
        "exec: [exit status 0]\n0\n1\n2",
        "{reply}"
    );
    assert!(!told[1].contains("KENNEL"), "{reply}");
    assert!(
        told[1].contains("HOME") && told[1].contains("TMPDIR"),
        "{reply}"
    );
    assert!(
        told[2].starts_with("exec: [exit status 0]\n0077\n0\n"),
        "{reply}"
    );
}

/// Some providers refuse calls and results of which they know no tool.
#[tokio::test]
async fn an_agent_whose_tools_were_taken_away_still_speaks_of_them() {
    let scene = Scene::set().await;
    let mut agent = scene.kennel.start();
    let mut link = scene.kennel.accept(scene.spec.clone()).await;
    assert_eq!(answer(&mut link, delivery("go")).await, replied(REPLY));
    assert!(scene.model.last(2).get("tool_choice").is_none());
    link.send(ToAgent::Drain).unwrap();
    assert_eq!(next(&mut link).await, ToSupervisor::Drained);
    agent.exit().await;

    let without = AgentSpec {
        tools: ToolsSpec::none(),
        ..scene.spec.clone()
    };
    let before = scene.runs();
    let _next_life = scene.kennel.start();
    let mut link = scene.kennel.accept(without).await;
    // This model does not care, and is told that there is none.
    assert_eq!(answer(&mut link, delivery("again")).await, replied(REPLY));
    assert_eq!(scene.runs(), before);
    let asked = scene.model.last(0);
    assert_eq!(asked["tool_choice"], "none");
    assert_eq!(asked["tools"].as_array().unwrap().len(), 5);
    let told = scene.model.last(2)["messages"].to_string();
    assert!(told.contains("error: there are no tools"), "{told}");
}
