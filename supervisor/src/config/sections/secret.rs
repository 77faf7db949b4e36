//! `{ env = … }`, `{ file = … }`, `{ command = […] }`.

use toml::de::DeValue;

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::reader::{Node, SecretSite};
use super::super::secret::SecretRef;
use super::super::value;

const THREE_WAYS: &str =
    "write { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

/// Reads a secret's reference; `name` is its dotted path, for `check`.
pub(in super::super) fn secret<'a>(name: String) -> impl FnOnce(Node<'a>) -> Option<SecretRef> {
    move |node| {
        let secret = match node.value.get_ref() {
            DeValue::String(inline) => read_inline(node, &name, inline)?,
            DeValue::Table(_) => read_table(node, name.clone())?,
            _ => {
                node.mask();
                return node.fail(
                    format!("`{}` must say where the secret is", quoted(node.key)),
                    "not a secret's place",
                    THREE_WAYS,
                );
            }
        };
        node.context.secrets.borrow_mut().push(SecretSite {
            name,
            secret: secret.clone(),
            at: node.at(),
        });
        Some(secret)
    }
}

fn read_inline(node: Node<'_>, name: &str, inline: &str) -> Option<SecretRef> {
    node.mask();
    if !node.context.allow_inline_secrets.get() {
        return node.fail(
            format!("`{name}` holds a secret in the open"),
            "whoever reads this file knows it",
            format!("{THREE_WAYS}; or allow it with `allow_inline_secrets = true` in [supervisor]"),
        );
    }
    if inline.is_empty() || inline.chars().any(char::is_control) {
        return node.fail(
            format!("`{name}` is not a secret"),
            "empty, or with a control character in it",
            THREE_WAYS,
        );
    }
    node.context.report(
        Diagnostic::warning(format!("`{name}` holds a secret in the open"))
            .at(node.at(), "whoever reads this file knows it")
            .hint(THREE_WAYS),
    );
    Some(SecretRef::inline(inline))
}

fn read_table(node: Node<'_>, path: String) -> Option<SecretRef> {
    let mut table = node.table("SecretTable", path)?.sensitive();
    let env = table.get("env");
    let file = table.get("file");
    let command = table.get("command");
    table.finish();
    match (env, file, command) {
        (Some(env), None, None) => variable(env).map(SecretRef::Env),
        (None, Some(file), None) => value::path(file).map(SecretRef::File),
        (None, None, Some(command)) => argv(command).map(SecretRef::Command),
        (None, None, None) => {
            node.fail("a secret's place is missing", "names no place", THREE_WAYS)
        }
        _ => node.fail(
            "a secret has more than one place",
            "only one of `env`, `file` and `command`",
            THREE_WAYS,
        ),
    }
}

fn variable(node: Node<'_>) -> Option<String> {
    let name = value::text(node)?;
    let first_digit = name.starts_with(|c: char| c.is_ascii_digit());
    if first_digit || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        // More likely the secret itself than an odd name: it is not shown.
        node.mask();
        return node.fail(
            "`env` must be the name of an environment variable",
            "not a variable's name",
            "write the name, as in { env = \"TELEGRAM_TOKEN\" }, not the secret itself",
        );
    }
    Some(name.to_owned())
}

fn argv(node: Node<'_>) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"pass\", \"show\", \"telegram\"]";
    let argv = value::list(EXAMPLE, |element| match element.value.get_ref() {
        DeValue::String(text) if text.contains('\0') => element.fail(
            "`command` holds a NUL character",
            "no program can take this",
            "remove it",
        ),
        DeValue::String(text) => Some(text.to_string()),
        _ => element.mismatch("a list of strings", EXAMPLE),
    })(node)?;
    if argv.first().is_none_or(|program| program.trim().is_empty()) {
        return node.fail(
            "`command` names no program",
            "empty",
            format!("write `command = {EXAMPLE}`"),
        );
    }
    Some(argv)
}
