//! `[providers.<id>]`.

use std::time::Duration;

use super::super::diagnostic::Diagnostic;
use super::super::domain::{
    EchoProvider, ModelApi, Provider, ProviderId, ProviderKind, RemoteProvider,
};
use super::super::reader::{Node, Table};
use super::super::value::{self, placed};
use super::secret::secret;

#[derive(Clone, Copy)]
enum Kind {
    Remote(ModelApi, &'static str),
    Echo,
}

const KINDS: &[(&str, Kind)] = &[
    (
        "openai",
        Kind::Remote(ModelApi::OpenAi, "ProviderTable:openai"),
    ),
    (
        "anthropic",
        Kind::Remote(ModelApi::Anthropic, "ProviderTable:anthropic"),
    ),
    (
        "gemini",
        Kind::Remote(ModelApi::Gemini, "ProviderTable:gemini"),
    ),
    (
        "ollama",
        Kind::Remote(ModelApi::Ollama, "ProviderTable:ollama"),
    ),
    ("echo", Kind::Echo),
];

pub(in super::super) fn read(id: &ProviderId, node: Node<'_>) -> Option<Provider> {
    let mut table = node
        .table("ProviderTable", format!("providers.{id}"))?
        .sensitive();
    // Without a kind nobody can say which keys are right, so the others are left alone.
    let kind = match table.required("kind", "\"openai\"", value::choice(KINDS))? {
        Kind::Remote(api, name) => {
            table.becomes(name);
            ProviderKind::Remote(remote(table, api)?)
        }
        Kind::Echo => {
            table.becomes("ProviderTable:echo");
            ProviderKind::Echo(echo(table))
        }
    };
    Some(Provider {
        id: id.clone(),
        kind,
    })
}

fn remote(mut table: Table<'_>, api: ModelApi) -> Option<RemoteProvider> {
    let base_url = table.optional("base_url", placed(value::url));
    let api_key = table.optional("api_key", secret(table.path_of("api_key")));
    let provider = RemoteProvider {
        api,
        base_url: base_url.as_ref().map(|url| url.value.clone()),
        request_timeout: table
            .optional("request_timeout", value::duration)
            .unwrap_or(Duration::from_mins(5)),
        first_byte_timeout: table
            .optional("first_byte_timeout", value::duration)
            .unwrap_or(Duration::from_mins(1)),
        idle_timeout: table
            .optional("idle_timeout", value::duration)
            .unwrap_or(Duration::from_secs(30)),
        max_retries: table
            .optional("max_retries", value::integer(0..=20))
            .unwrap_or(2),
        api_key,
    };

    let key_at = table.place("api_key");
    let own_server = table.place("base_url").is_some() || matches!(api, ModelApi::Ollama);
    if key_at.is_none() && !own_server {
        table.missing("api_key", "{ env = \"API_KEY\" }");
    }
    if let (Some(url), Some(_)) = (&base_url, key_at) {
        let in_clear = url.value.starts_with("http://") && !value::is_loopback(&url.value);
        if in_clear {
            table.context.report(
                Diagnostic::warning("the key of this provider travels in the clear")
                    .at(url.at.clone(), "not encrypted")
                    .hint("use an https:// address"),
            );
        }
    }
    let usable = own_server || provider.api_key.is_some();
    table.finish();
    usable.then_some(provider)
}

fn echo(mut table: Table<'_>) -> EchoProvider {
    let provider = EchoProvider {
        delay: table
            .optional("delay", value::duration_or_zero)
            .unwrap_or_default(),
        chunks: table
            .optional("chunks", value::integer(1..=10_000))
            .unwrap_or(1),
        chunk_delay: table
            .optional("chunk_delay", value::duration_or_zero)
            .unwrap_or_default(),
    };
    table.finish();
    provider
}
