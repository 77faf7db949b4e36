//! The area `containment`: the backend, and each cap that it does not hold.

use super::{
    Area, Check,
    facts::{Ask, Backend},
    names,
};
use crate::containment::{BackendKind, Cap, Unenforced};

pub(super) fn checks(backend: &Backend, asks: &[Ask], running: bool) -> Vec<Check> {
    let mut checks = vec![held_by(backend, running)];
    checks.extend(backend.cannot.iter().map(|one| cap(one, asks)));
    checks
}

pub(super) fn held_by(backend: &Backend, running: bool) -> Check {
    const AUTO: &str =
        "remove `containment` under [supervisor]: \"auto\" takes the best that a host has";
    let (area, name) = (Area::Containment, "backend");
    if let Some(why) = &backend.refused {
        let says = format!("no supervisor would start here: {why}");
        return Check::fail(area, name, says, AUTO);
    }
    let verb = if running { "are" } else { "would be" };
    let says = format!("agents {verb} held by {}: {}", backend.kind, backend.why);
    if backend.kind != BackendKind::BestEffort {
        return Check::ok(area, name, says);
    }
    let memory = backend.cannot.iter().find(|one| one.cap == Cap::Memory);
    Check::warn(
        area,
        name,
        format!("{says}; caps are looked at each second, and some do not hold"),
        match memory {
            _ if backend.named => AUTO,
            Some(one) => &one.remedy,
            None => "let Kennel have cgroups",
        },
    )
}

/// A cap that nobody asks for may well be impossible.
fn cap(one: &Unenforced, asks: &[Ask]) -> Check {
    let who = |strict: bool| -> Vec<&str> {
        asks.iter()
            .filter(|ask| ask.strict == strict && ask.caps.contains(&one.cap))
            .map(|ask| ask.agent.as_deref().unwrap_or("supervisor.fleet"))
            .collect()
    };
    let (strict, lax) = (who(true), who(false));
    let (name, why) = (one.cap.as_str(), &one.why);
    if !strict.is_empty() {
        return Check::fail(
            Area::Containment,
            name,
            format!(
                "`{name}` cannot be enforced, and {} cannot run without it: {why}",
                names(strict)
            ),
            format!(
                "{}; or set `enforcement = \"best-effort\"`, to run without it",
                one.remedy
            ),
        );
    }
    if !lax.is_empty() {
        return Check::warn(
            Area::Containment,
            name,
            format!("`{name}` of {} is not enforced: {why}", names(lax)),
            &*one.remedy,
        );
    }
    Check {
        remedy: Some(one.remedy.clone()),
        ..Check::ok(
            Area::Containment,
            name,
            format!("`{name}` cannot be enforced, and nobody asks for it: {why}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{State, samples};

    fn ask(agent: Option<&str>, strict: bool) -> Ask {
        Ask {
            agent: agent.map(Into::into),
            strict,
            caps: vec![Cap::Memory, Cap::IoWeight],
            sandbox: false,
            ports: false,
        }
    }

    fn backend(kind: BackendKind, cannot: &[Cap]) -> Backend {
        Backend {
            kind,
            cannot: cannot
                .iter()
                .map(|cap| Unenforced {
                    cap: *cap,
                    why: format!("{kind} has none"),
                    remedy: "get one".into(),
                })
                .collect(),
            ..samples::backend()
        }
    }

    #[test]
    fn a_cap_matters_to_who_asks_for_it() {
        let backend = backend(BackendKind::Hybrid, &[Cap::IoWeight, Cap::MemoryHigh]);
        let of = |asks: &[Ask]| checks(&backend, asks, true);

        let none = of(&[]);
        assert_eq!(none[1].state, State::Ok);
        assert_eq!(none[1].remedy.as_deref(), Some("get one"));

        let lax = of(&[ask(Some("a"), false), ask(None, false)]);
        assert_eq!(
            (lax[1].state, lax[1].name.as_str()),
            (State::Warn, "io_weight")
        );
        assert_eq!(
            lax[1].says,
            "`io_weight` of `a` and `supervisor.fleet` is not enforced: hybrid has none"
        );
        assert_eq!(lax[2].state, State::Ok, "nobody asks for memory_high");

        let strict = of(&[ask(Some("a"), false), ask(Some("b"), true)]);
        assert_eq!(strict[1].state, State::Fail);
        assert!(
            strict[1].says.contains("`b` cannot run without it"),
            "{strict:?}"
        );
        assert!(strict[1].remedy.as_ref().unwrap().contains("best-effort"));
    }

    #[test]
    fn best_effort_is_no_way_to_live() {
        let of = |kind| held_by(&backend(kind, &[Cap::Memory]), false);
        let best_effort = of(BackendKind::BestEffort);
        assert_eq!(best_effort.state, State::Warn);
        assert_eq!(best_effort.remedy.as_deref(), Some("get one"));
        assert!(
            best_effort
                .says
                .starts_with("agents would be held by best-effort")
        );
        let chosen = Backend {
            named: true,
            ..backend(BackendKind::BestEffort, &[Cap::Memory])
        };
        let check = held_by(&chosen, true);
        assert!(check.remedy.unwrap().contains("remove `containment`"));
        let refused = Backend {
            refused: Some("hybrid cannot be had".into()),
            ..chosen
        };
        assert_eq!(held_by(&refused, false).state, State::Fail);
        for kind in [
            BackendKind::V2Delegated,
            BackendKind::V2Root,
            BackendKind::Hybrid,
            BackendKind::V1,
        ] {
            assert_eq!(of(kind).state, State::Ok);
        }
    }
}
