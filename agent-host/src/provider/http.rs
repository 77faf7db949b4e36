//! Model servers behind HTTP, through `genai`: OpenAI's chat completions and all that is compatible,
//! Anthropic, Gemini, Ollama.
//!
//! The client (TLS roots, connection pool) is built with the first request, off the event loop, and
//! shared by all that follow. It takes nothing from the environment: no key, no proxy. It follows no
//! redirection, which would turn the request into another one or carry the key elsewhere.
//!
//! Tool calls of OpenAI's API are put together here, not by the library: it makes room for as many as
//! the server's numbers say, which may be four thousand million.
//!
//! What `genai` does to a model's name is kept: `…::name` drops what is before the colons, and for
//! OpenAI's API a suffix such as `-high` becomes the reasoning effort.

use std::{error::Error as _, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use genai::{
    Client, ModelIden, ServiceTarget,
    adapter::AdapterKind,
    chat::{
        ChatMessage, ChatOptions, ChatRequest, ChatStream, ChatStreamEvent, ContentPart,
        MessageContent, StreamEnd, Tool, ToolCall, ToolChoice, ToolResponse,
    },
    resolver::{AuthData, Endpoint},
};
use kennel_shared::{
    protocol::{HttpSpec, ModelApi, ModelSpec},
    secret::Secret,
};
use tokio::sync::OnceCell;

use super::{
    Fault, Limits, Piece, Pieces, Provider, ProviderError, Request, RetryPolicy, Usage, calls,
    retry::retry_after,
};
use crate::window::{Call, Message};

/// The longest time for one connection; what a server may take to answer on it is the provider's own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of arguments that are no JSON a model is shown again.
const MALFORMED_SHOWN_BYTES: usize = 500;

/// How long an unused connection is kept. Short: an idle agent should cost nobody anything.
const POOL_IDLE: Duration = Duration::from_mins(1);

pub(super) struct Http {
    shared: Arc<Shared>,
    retries: RetryPolicy,
    limits: Limits,
}

/// What a request in flight needs.
struct Shared {
    client: OnceCell<Client>,
    model: ModelIden,
    endpoint: Endpoint,
    key: Option<Secret>,
    options: ChatOptions,
}

impl Http {
    pub(super) fn new(model: &ModelSpec, http: &HttpSpec) -> Self {
        let adapter = adapter(http.api);
        let mut options = ChatOptions::default()
            .with_capture_usage(true)
            .with_capture_tool_calls(adapter != AdapterKind::OpenAI);
        options.temperature = model
            .temperature_milli
            .map(|milli| f64::from(milli) / 1000.0);
        options.max_tokens = model.max_tokens;
        Self {
            shared: Arc::new(Shared {
                client: OnceCell::new(),
                model: ModelIden::new(adapter, model.model.as_str()),
                endpoint: Endpoint::from_owned(base_url(http)),
                key: http.api_key.clone(),
                options,
            }),
            retries: RetryPolicy::for_servers(http.max_retries),
            limits: Limits {
                whole: Duration::from_millis(http.request_timeout_ms),
                first: Duration::from_millis(http.first_byte_timeout_ms),
                between: Duration::from_millis(http.idle_timeout_ms),
            },
        }
    }

    #[cfg(test)]
    pub(super) fn with_retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }
}

impl Provider for Http {
    fn stream(&self, request: &Request) -> Pieces {
        let shared = Arc::clone(&self.shared);
        let api = shared.model.adapter_kind;
        let mut options = shared.options.clone();
        if !request.may_call && !request.tools.is_empty() && api != AdapterKind::Ollama {
            options.tool_choice = Some(ToolChoice::None);
        }
        let request = chat_request(request, api);
        let opening = async move {
            match shared.open(request, &options).await {
                Ok(stream) => pieces(shared, stream),
                Err(error) => Box::pin(stream::iter([Err(error)])),
            }
        };
        Box::pin(stream::once(opening).flatten())
    }

    fn retries(&self) -> RetryPolicy {
        self.retries
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

impl Shared {
    async fn open(
        &self,
        request: ChatRequest,
        options: &ChatOptions,
    ) -> Result<ChatStream, ProviderError> {
        let client = self.client.get_or_try_init(|| self.build_client()).await?;
        let target = ServiceTarget {
            endpoint: self.endpoint.clone(),
            auth: AuthData::from_single(self.key.as_ref().map_or("", Secret::expose)),
            model: self.model.clone(),
        };
        let response = client
            .exec_chat_stream(target, request, Some(options))
            .await
            .map_err(|error| self.error(&error))?;
        Ok(response.stream)
    }

    /// Reads the system's TLS roots, which takes milliseconds: so not on the event loop.
    async fn build_client(&self) -> Result<Client, ProviderError> {
        let build = || {
            reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(1)
                .pool_idle_timeout(POOL_IDLE)
                .tcp_nodelay(true)
                .build()
        };
        let reqwest = tokio::task::spawn_blocking(build)
            .await
            .map_err(|error| ProviderError::new(Fault::Request, &error.to_string()))?
            .map_err(|error| ProviderError::new(Fault::Request, &chain(&error)))?;
        Client::builder()
            .with_reqwest(reqwest)
            .build()
            .map_err(|error| ProviderError::new(Fault::Request, &error.to_string()))
    }

    fn error(&self, error: &genai::Error) -> ProviderError {
        let (fault, detail, retry_after) = classify(error);
        let key = self.key.as_ref().map(Secret::expose);
        let mut error = ProviderError::without_key(fault, &detail, key);
        error.retry_after = retry_after;
        error
    }
}

/// An answer that is being read.
struct Reading {
    shared: Arc<Shared>,
    events: ChatStream,
    calls: calls::Pieces,
    /// Whether anything has come of it.
    spoken: bool,
}

/// The events of an answer as pieces. An answer that ends without its end mark is broken.
fn pieces(shared: Arc<Shared>, events: ChatStream) -> Pieces {
    let reading = Reading {
        shared,
        events,
        calls: calls::Pieces::default(),
        spoken: false,
    };
    Box::pin(stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        let (piece, over) = reading.next().await;
        Some((piece, (!over).then_some(reading)))
    }))
}

impl Reading {
    /// The next piece, and whether it is the last.
    async fn next(&mut self) -> (Result<Piece, ProviderError>, bool) {
        // The library opens every stream with an event of its own, before it has even connected.
        let mut event = self.events.next().await;
        while matches!(event, Some(Ok(ChatStreamEvent::Start))) {
            event = self.events.next().await;
        }
        match event {
            Some(Ok(ChatStreamEvent::Chunk(chunk))) => {
                self.spoken = true;
                (Ok(Piece::Text(chunk.content)), false)
            }
            Some(Ok(ChatStreamEvent::ToolCallChunk(chunk))) => {
                self.spoken = true;
                let ToolCall {
                    call_id,
                    fn_name,
                    fn_arguments,
                    ..
                } = chunk.tool_call;
                let arguments = fn_arguments.as_str().unwrap_or_default();
                self.calls.take(&call_id, &fn_name, arguments);
                (Ok(Piece::Progress), false)
            }
            Some(Ok(ChatStreamEvent::End(end))) => (Ok(self.end(&end)), true),
            Some(Ok(_)) => (Ok(Piece::Progress), false),
            Some(Err(error)) => (Err(self.shared.error(&error)), true),
            None => {
                let fault = if self.spoken {
                    Fault::Disconnected
                } else {
                    Fault::Garbage
                };
                let error = ProviderError::new(fault, "the answer ended without its end mark");
                (Err(error), true)
            }
        }
    }

    fn end(&mut self, end: &StreamEnd) -> Piece {
        let usage = end.captured_usage.clone().unwrap_or_default();
        let tokens = |count: Option<i32>| count.map_or(0, |n| n.max(0).cast_unsigned());
        let usage = Usage {
            input_tokens: tokens(usage.prompt_tokens),
            output_tokens: tokens(usage.completion_tokens),
        };
        let calls = if self.shared.model.adapter_kind == AdapterKind::OpenAI {
            std::mem::take(&mut self.calls).finish()
        } else {
            let captured = end.captured_tool_calls().unwrap_or_default();
            calls::whole(captured.into_iter().map(|call| {
                let signatures = call.thought_signatures.as_ref();
                let signature = signatures.and_then(|signatures| signatures.first().cloned());
                (call.fn_name.as_str(), &call.fn_arguments, signature)
            }))
        };
        Piece::End(usage, calls)
    }
}

fn adapter(api: ModelApi) -> AdapterKind {
    match api {
        ModelApi::OpenAi => AdapterKind::OpenAI,
        ModelApi::Anthropic => AdapterKind::Anthropic,
        ModelApi::Gemini => AdapterKind::Gemini,
        ModelApi::Ollama => AdapterKind::Ollama,
    }
}

/// The base URL as `genai` wants it: with a slash at its end, because paths are joined to it.
fn base_url(http: &HttpSpec) -> String {
    let url = match (&http.base_url, http.api) {
        (Some(url), _) => url.trim().trim_end_matches('/'),
        (None, ModelApi::OpenAi) => "https://api.openai.com/v1",
        (None, ModelApi::Anthropic) => "https://api.anthropic.com/v1",
        (None, ModelApi::Gemini) => "https://generativelanguage.googleapis.com/v1beta",
        (None, ModelApi::Ollama) => "http://localhost:11434",
    };
    format!("{url}/")
}

/// What the model is said to have said between the results of its tools and the person's next word.
const MEANWHILE: &str = "A message has come meanwhile.";

fn chat_request(request: &Request, api: AdapterKind) -> ChatRequest {
    let mut messages: Vec<ChatMessage> = Vec::with_capacity(request.messages.len());
    let mut results: Vec<ToolResponse> = Vec::new();
    for message in &request.messages {
        if let Message::Result { call, name, text } = message {
            results.push(ToolResponse::new(call, text).with_fn_name(name));
            // The others want all results of an answer in one message.
            if api != AdapterKind::Ollama {
                continue;
            }
        }
        let behind_results = !results.is_empty();
        if behind_results {
            messages.push(ChatMessage::from(std::mem::take(&mut results)));
        }
        match message {
            Message::User(text) => {
                // Some that speak this API, as Mistral's, refuse a person's word right behind a tool's.
                if behind_results && api == AdapterKind::OpenAI {
                    messages.push(ChatMessage::assistant(MEANWHILE));
                }
                messages.push(ChatMessage::user(text.as_str()));
            }
            Message::Model { text, calls } => messages.push(answer(text, calls)),
            Message::Result { .. } => {}
        }
    }
    if !results.is_empty() {
        messages.push(ChatMessage::from(results));
    }
    let mut chat = ChatRequest::new(messages);
    // Ollama has no way to offer tools and forbid them.
    if !request.tools.is_empty() && (request.may_call || api != AdapterKind::Ollama) {
        chat = chat.with_tools(request.tools.iter().map(|tool| {
            Tool::new(tool.name)
                .with_description(tool.description)
                .with_schema(tool.parameters.clone())
        }));
    }
    match &request.system {
        Some(system) => chat.with_system(system.as_str()),
        None => chat,
    }
}

fn answer(text: &str, calls: &[Call]) -> ChatMessage {
    if calls.is_empty() {
        return ChatMessage::assistant(text);
    }
    let text = (!text.is_empty()).then(|| ContentPart::from_text(text));
    let calls = calls.iter().map(|call| {
        let arguments = serde_json::from_str(&call.arguments).ok();
        let fn_arguments = arguments
            .filter(serde_json::Value::is_object)
            .unwrap_or_else(|| {
                let shown = call.arguments.floor_char_boundary(MALFORMED_SHOWN_BYTES);
                serde_json::json!({ "malformed": call.arguments[..shown] })
            });
        ContentPart::ToolCall(ToolCall {
            call_id: call.id.clone(),
            fn_name: call.name.clone(),
            fn_arguments,
            thought_signatures: call.signature.clone().map(|signature| vec![signature]),
        })
    });
    let parts: Vec<_> = text.into_iter().chain(calls).collect();
    ChatMessage::assistant(MessageContent::from_parts(parts))
}

type Classified = (Fault, String, Option<Duration>);

/// What an error of the library is.
fn classify(error: &genai::Error) -> Classified {
    use genai::Error;
    match error {
        Error::HttpError {
            status,
            body,
            headers,
            ..
        } => {
            let asked = retry_after(|name| headers.get(name)?.to_str().ok());
            (Fault::Status(status.as_u16()), body.clone(), asked)
        }
        // What happens on the wire comes boxed, a bad status included.
        Error::WebStream { error, cause, .. } => {
            if let Some(inner) = error.downcast_ref::<Error>() {
                classify(inner)
            } else if let Some(inner) = error.downcast_ref::<reqwest::Error>() {
                (transport_fault(inner), chain(inner), None)
            } else {
                (Fault::Garbage, cause.clone(), None)
            }
        }
        Error::ChatResponse { body, .. } => (reported_fault(body), body.to_string(), None),
        Error::StreamParse { serde_error, .. } => (Fault::Garbage, serde_error.to_string(), None),
        other => (Fault::Request, other.to_string(), None),
    }
}

fn transport_fault(error: &reqwest::Error) -> Fault {
    if error.is_builder() {
        Fault::Request
    } else if error.is_connect() {
        Fault::Connect
    } else {
        Fault::Disconnected
    }
}

/// An error in the midst of an answer may say which status it would have been.
fn reported_fault(body: &serde_json::Value) -> Fault {
    let code = body.get("code").and_then(serde_json::Value::as_u64);
    if let Some(status @ 400..=599) = code.and_then(|code| u16::try_from(code).ok()) {
        return Fault::Status(status);
    }
    match body.get("type").and_then(serde_json::Value::as_str) {
        Some("overloaded_error") => Fault::Status(529),
        Some("rate_limit_error") => Fault::Status(429),
        _ => Fault::Reported,
    }
}

/// An error with its causes, for the log.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
