//! `[classes.<name>]`, and the sums of all of them.

use std::collections::BTreeMap;

use super::super::diagnostic::Diagnostic;
use super::super::domain::{Class, classes, plain_share};
use super::super::reader::{Context, Node};
use super::super::value::{self, Placed, placed};

/// What a table says, with its places.
#[derive(Clone)]
pub(in super::super) struct ClassDraft {
    weight: Option<u32>,
    min_share: Option<Placed<f64>>,
    max_share: Option<Placed<f64>>,
}

pub(in super::super) fn read(name: &str, node: Node<'_>) -> Option<ClassDraft> {
    let mut table = node.table("ClassTable", format!("classes.{name}"))?;
    let draft = ClassDraft {
        weight: table.optional("weight", value::integer(classes::WEIGHT)),
        min_share: table.optional("min_share", placed(value::number(classes::MIN_SHARE))),
        max_share: table.optional("max_share", placed(value::number(classes::MAX_SHARE))),
    };
    table.finish();
    Some(draft)
}

/// All classes: those that are always there, and what the tables say.
pub(in super::super) fn settle<'a>(
    context: &Context,
    drafts: impl Iterator<Item = (&'a String, &'a ClassDraft)>,
    max_concurrent: u32,
) -> BTreeMap<String, Class> {
    let mut settled = classes::built_in();
    let mut guaranteed: Vec<&Placed<f64>> = Vec::new();
    for (name, draft) in drafts {
        let class = settled.entry(name.clone()).or_default();
        class.weight = draft.weight.unwrap_or(class.weight);
        if let Some(min) = &draft.min_share {
            class.min_share = min.value;
            guaranteed.push(min);
        }
        if let Some(max) = &draft.max_share {
            class.max_share = Some(max.value);
        }
        check(context, name, draft, class, max_concurrent);
    }
    check_sum(context, &guaranteed);
    settled
}

fn check(context: &Context, name: &str, draft: &ClassDraft, class: &Class, max_concurrent: u32) {
    let Some(min) = &draft.min_share else { return };
    let (is, most) = (
        plain_share(class.min_share),
        plain_share(class.max_share.unwrap_or(1.0)),
    );
    if class.max_share.is_some_and(|max| max < class.min_share) {
        let mut diagnostic = Diagnostic::error(format!(
            "the class \"{name}\" is guaranteed more than it may have"
        ))
        .at(min.at.clone(), "more than `max_share`")
        .hint(format!(
            "lower `min_share` ({is}) to `max_share` ({most}) or less"
        ));
        if let Some(max) = &draft.max_share {
            diagnostic = diagnostic.related(max.at.clone(), "the most it may have");
        }
        context.report(diagnostic);
    } else if class.min_share > 0.0 && class.min_share * f64::from(max_concurrent) < 1.0 {
        context.report(
            Diagnostic::warning(format!("the class \"{name}\" is guaranteed less than one turn"))
                .at(min.at.clone(), "rounded down to none")
                .hint(format!(
                    "{is} of `max_concurrent = {max_concurrent}` turns is less than one: raise one of the two"
                )),
        );
    }
}

/// More than all cannot be guaranteed.
fn check_sum(context: &Context, guaranteed: &[&Placed<f64>]) {
    let sum: f64 = guaranteed.iter().map(|min| min.value).sum();
    // What a person writes as thirds may be a little more than one.
    if sum <= 1.000_001 {
        return;
    }
    let Some((last, others)) = guaranteed.split_last() else {
        return;
    };
    let diagnostic = Diagnostic::error("the classes are guaranteed more than the whole fleet")
        .at(last.at.clone(), format!("{} in all", plain_share(sum)))
        .hint("lower one `min_share`: all of them together are at most 1");
    let others = others.iter();
    context.report(others.fold(diagnostic, |d, min| d.related(min.at.clone(), "and this")));
}
