//! Sessions of a running agent deleted over its link, and read or deleted by the second program in the binary.

use std::process::{Command, Output, Stdio};

use kennel_shared::{
    protocol::{Deletion, Delivery, ToAgent, ToSupervisor, TurnOutcome},
    session_key::SessionKey,
    sessions::{Ask, Line, Request, Trouble, TroubleCode},
};

use crate::rig::{AgentLink, Kennel, answer, delivery, next, replied, spec};

fn session() -> SessionKey {
    delivery("").session
}

async fn deleted(link: &mut AgentLink, session: SessionKey) -> Deletion {
    link.send(ToAgent::DeleteSession(session.clone())).unwrap();
    loop {
        if let ToSupervisor::SessionDeleted {
            session: which,
            deletion,
        } = next(link).await
        {
            assert_eq!(which, session);
            return deletion;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this test is the command line")]
fn ask(kennel: &Kennel, ask: Ask) -> Output {
    let request = Request {
        agent: "hexa".parse().unwrap(),
        state_dir: kennel.dir.path().to_owned(),
        user: None,
        ask,
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_kennel-agent-host"))
        .arg("sessions")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), &request).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Line> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    let text = str::from_utf8(&output.stdout).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    text.lines().map(parse).collect()
}

fn trouble(output: &Output) -> (Option<i32>, TroubleCode) {
    assert!(output.stdout.is_empty());
    let trouble: Trouble = serde_json::from_slice(&output.stderr).unwrap();
    (output.status.code(), trouble.code)
}

#[tokio::test]
async fn a_running_agent_deletes_what_no_turn_is_using() {
    let kennel = Kennel::new();
    let _agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    assert_eq!(deleted(&mut link, session()).await, Deletion::Absent);
    let said = delivery("a secret");
    assert_eq!(answer(&mut link, said.clone()).await, replied("a secret"));

    let busy = delivery("!hang");
    link.send(ToAgent::Deliver(busy.clone())).unwrap();
    assert_eq!(next(&mut link).await, ToSupervisor::Started(busy.turn));
    assert_eq!(deleted(&mut link, session()).await, Deletion::Busy);
    link.send(ToAgent::Cancel(busy.turn)).unwrap();
    loop {
        if let ToSupervisor::Finished { outcome, .. } = next(&mut link).await {
            assert_eq!(outcome, TurnOutcome::Cancelled);
            break;
        }
    }

    // Only the agent may: the other program sees that it runs.
    let session = session();
    let asked = ask(
        &kennel,
        Ask::Delete {
            session: session.clone(),
        },
    );
    assert_eq!(trouble(&asked), (Some(75), TroubleCode::Running));
    assert_eq!(deleted(&mut link, session.clone()).await, Deletion::Done(2));
    let listed = ask(&kennel, Ask::List { limit: 9 });
    assert_eq!(lines(&listed), []);
    let again = Delivery {
        turn: delivery("").turn,
        ..said
    };
    let outcome = answer(&mut link, again).await;
    assert_eq!(outcome, TurnOutcome::Cancelled, "it is not answered anew");
    assert_eq!(answer(&mut link, delivery("hello")).await, replied("hello"));
}

#[tokio::test]
async fn the_store_of_an_agent_is_read_whether_it_runs_or_not() {
    let kennel = Kennel::new();
    let list = || ask(&kennel, Ask::List { limit: 9 });
    assert_eq!(lines(&list()), [], "there is no store yet");
    let show = |limit| {
        let session = session();
        let before = None;
        ask(
            &kennel,
            Ask::Show {
                session,
                limit,
                before,
            },
        )
    };
    assert_eq!(trouble(&show(1)), (Some(78), TroubleCode::NoSession));

    let agent = kennel.start();
    let mut link = kennel.accept(spec()).await;
    assert_eq!(answer(&mut link, delivery("hello")).await, replied("hello"));
    assert_eq!(lines(&show(9)).len(), 2);
    assert_eq!(lines(&list()).len(), 1);
    // As a crash leaves it, with a log that was not emptied.
    drop(agent);
    assert_eq!(lines(&show(9)).len(), 2);

    let session = session();
    let delete = ask(
        &kennel,
        Ask::Delete {
            session: session.clone(),
        },
    );
    assert_eq!(lines(&delete), [Line::Deleted { messages: 2 }]);
    let again = ask(&kennel, Ask::Delete { session });
    assert_eq!(trouble(&again), (Some(78), TroubleCode::NoSession));
    assert_eq!(lines(&list()), []);
    let _next_life = kennel.start();
    let mut link = kennel.accept(spec()).await;
    assert_eq!(answer(&mut link, delivery("again")).await, replied("again"));
}

#[tokio::test]
async fn what_is_no_request_is_explained() {
    #[expect(clippy::disallowed_methods, reason = "as somebody would try it")]
    let output = Command::new(env!("CARGO_BIN_EXE_kennel-agent-host"))
        .arg("sessions")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(trouble(&output), (Some(70), TroubleCode::Failed));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("kennel sessions"), "{said}");
}
