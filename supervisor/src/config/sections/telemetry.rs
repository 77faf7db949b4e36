//! `[supervisor.prices]` and `[supervisor.otlp]`: what tokens cost, and who else is told of turns.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::domain::{Otlp, ProviderId};
use super::super::reader::Node;
use super::super::secret::SecretRef;
use super::super::value::{self, placed};
use super::secret::secret;
use crate::turns::{Price, Prices};

/// The dearest million of tokens, in millionths of a unit.
const DEAREST: u64 = 1_000_000_000_000;

/// The most headers.
const HEADERS_MAX: usize = 16;

pub(super) fn prices(node: Node<'_>) -> Option<Prices> {
    let entries = node.entries()?.into_iter();
    let prices = entries.filter_map(|(key, node)| {
        let model: &str = key.get_ref();
        let named = model.split_once('/');
        let is_model = named.is_some_and(|(provider, model)| {
            ProviderId::new(provider).is_some() && !model.trim().is_empty()
        });
        if !is_model {
            return node.fail(
                format!("\"{}\" names no model", quoted(model)),
                "not the price of \"provider/model\"",
                "write `\"provider/model\" = { input = 3.0, output = 15.0 }`, as `model` of an agent names it",
            );
        }
        Some((model.to_owned(), price(node, model)?))
    });
    Some(prices.collect())
}

fn price(node: Node<'_>, model: &str) -> Option<Price> {
    let mut table = node.table("PriceTable", format!("supervisor.prices.\"{model}\""))?;
    let input = table.required("input", "3.0", money);
    let output = table.required("output", "15.0", money);
    table.finish();
    Some(Price {
        input: input?,
        output: output?,
    })
}

/// An amount of money, exactly, in millionths of a unit.
pub(in super::super) fn money(node: Node<'_>) -> Option<u64> {
    let amount = match node.value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => millionths(number.as_str()),
        DeValue::Float(number) => millionths(number.as_str()),
        _ => return node.mismatch("an amount", "0.25"),
    };
    amount.filter(|amount| *amount <= DEAREST).or_else(|| {
        node.fail(
            format!("`{}` is not an amount", quoted(node.key)),
            "not from 0 to 1000000 with at most six decimal places",
            format!("write it as in `{} = 0.25`", quoted(node.key)),
        )
    })
}

fn millionths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let part = part.trim_end_matches('0');
    if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(part)
}

pub(super) fn otlp(node: Node<'_>) -> Option<Otlp> {
    let mut table = node
        .table("OtlpTable", "supervisor.otlp".to_owned())?
        .sensitive();
    let endpoint = table.required("endpoint", "\"http://127.0.0.1:4318\"", placed(value::url));
    let headers = table.optional("headers", headers).unwrap_or_default();
    let context = table.context;
    table.finish();
    let endpoint = endpoint?;
    let in_clear = endpoint.value.starts_with("http://") && !value::is_loopback(&endpoint.value);
    if in_clear && !headers.is_empty() {
        context.report(
            Diagnostic::warning("the headers of [supervisor.otlp] travel in the clear")
                .at(endpoint.at, "not encrypted")
                .hint("use an https:// address"),
        );
    }
    Some(Otlp {
        endpoint: endpoint.value,
        headers,
    })
}

/// Names of the user's choice; values as other secrets.
fn headers(node: Node<'_>) -> Option<BTreeMap<String, SecretRef>> {
    let entries = node.entries()?;
    if entries.len() > HEADERS_MAX {
        return node.fail(
            "`headers` has too many",
            format!("{} headers", entries.len()),
            format!("write at most {HEADERS_MAX}"),
        );
    }
    let header = |(key, node): (&toml::Spanned<toml::de::DeString<'_>>, Node<'_>)| {
        let name: &str = key.get_ref();
        if hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            node.mask();
            return node.fail(
                format!("\"{}\" is no name of a header", quoted(name)),
                "not a header",
                "write it as in `headers = { authorization = { env = \"OTLP_AUTHORIZATION\" } }`",
            );
        }
        let path = format!("supervisor.otlp.headers.{name}");
        Some((name.to_ascii_lowercase(), secret(path)(node)?))
    };
    Some(entries.into_iter().filter_map(header).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let cases = [
            ("3", Some(3_000_000)),
            ("0.15", Some(150_000)),
            ("0.000001", Some(1)),
            ("0.1000000", Some(100_000)),
            ("0.0000001", None),
            ("1e-1", None),
            ("-1", None),
            (".5", None),
            ("inf", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(millionths(text), expected, "{text}");
        }
    }
}
