//! Finds the name that the user probably meant.

/// "did you mean `model`?", when one of the names is close enough.
pub(super) fn did_you_mean<'a>(
    wrong: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<String> {
    nearest(wrong, names).map(|name| format!("did you mean `{name}`?"))
}

/// The closest name within a third of the length, with case and `-` for `_` forgiven.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    if wrong.len() > LONGEST {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let wrong = plain(wrong);
    names
        .map(|name| (strsim::damerau_levenshtein(&wrong, &plain(name)), name))
        .filter(|(distance, name)| {
            let longer = wrong.len().max(name.len());
            // Nothing in common is not near, however short.
            *distance <= longer.max(3) / 3 && *distance < longer
        })
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["model", "max_tokens", "max_restarts", "window"];
        let near = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(near("modle"), Some("model")); // typos: on purpose
        assert_eq!(near("max-tokens"), Some("max_tokens"));
        assert_eq!(near("MAX_RESTART"), Some("max_restarts"));
        assert_eq!(near("temperature"), None);
        assert_eq!(near(""), None);
        assert_eq!(nearest("b", ["a"].into_iter()), None);
        assert_eq!(near(&"w".repeat(10_000)), None);
    }
}
