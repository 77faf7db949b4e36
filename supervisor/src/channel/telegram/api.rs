//! The Bot API: calls, and what their errors mean. No error that leaves here has the bot's token in it.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use frankenstein::AsyncTelegramApi as _;
use frankenstein::client_reqwest::Bot;
use frankenstein::methods::{GetUpdatesParams, SendChatActionParams, SendMessageParams};
use frankenstein::response::{ErrorResponse, MethodResponse};
use frankenstein::types::AllowedUpdate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use thiserror::Error;

use super::update::Me;
use crate::channel::{ChannelError, SendError};

const PUBLIC_API: &str = "https://api.telegram.org";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For everything but polls.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// When the platform limits us without saying for how long.
const THROTTLED: Duration = Duration::from_secs(5);

/// One bot's access to the Bot API.
#[derive(Clone)]
pub(super) struct Api {
    bot: Bot,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bot's URL has the token in it.
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Why a call failed.
#[derive(Debug, Error)]
pub(super) enum CallError {
    /// The platform refused it.
    #[error("Telegram answered {code} {description}")]
    Refused {
        code: u64,
        description: String,
        retry_after: Option<Duration>,
        migrated_to: Option<i64>,
    },
    /// The answer is not one of the Bot API's.
    #[error("the answer is not what the Bot API sends")]
    Nonsense,
    /// There was no answer.
    #[error("no answer from Telegram: {0}")]
    NoAnswer(String),
    /// There was no answer in time.
    #[error("no answer from Telegram within {0:?}")]
    TimedOut(Duration),
}

impl Api {
    /// A client of its own for one account, so that no account waits for another's connections.
    pub(super) fn new(token: &SecretString, api_url: Option<&str>) -> Result<Self, ChannelError> {
        // HTTP/1: a hung poll that is dropped takes its connection with it.
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_keepalive(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .user_agent(concat!("kennel/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ChannelError::lost(causes(&error.without_url())))?;
        let base = api_url.unwrap_or(PUBLIC_API).trim_end_matches('/');
        let api_url = format!("{base}/bot{}", token.expose_secret());
        let bot = Bot::builder().api_url(api_url).client(client).build();
        Ok(Self { bot })
    }

    pub(super) async fn me(&self) -> Result<Me, CallError> {
        self.call::<(), _>("getMe", None, CALL_TIMEOUT).await
    }

    /// Confirms what is below `offset`, and waits up to `wait` for what is not.
    pub(super) async fn updates(
        &self,
        offset: Option<i64>,
        wait: Duration,
        patience: Duration,
    ) -> Result<Vec<serde_json::Value>, CallError> {
        let params = GetUpdatesParams {
            offset,
            limit: None,
            timeout: u32::try_from(wait.as_secs()).ok(),
            allowed_updates: Some(vec![AllowedUpdate::Message]),
        };
        self.call("getUpdates", Some(&params), wait + patience)
            .await
    }

    pub(super) async fn send_message(&self, params: &SendMessageParams) -> Result<(), CallError> {
        let IgnoredAny = self.call("sendMessage", Some(params), CALL_TIMEOUT).await?;
        Ok(())
    }

    pub(super) async fn send_action(&self, params: &SendChatActionParams) -> Result<(), CallError> {
        let IgnoredAny = self
            .call("sendChatAction", Some(params), CALL_TIMEOUT)
            .await?;
        Ok(())
    }

    async fn call<P, R>(
        &self,
        method: &str,
        params: Option<&P>,
        within: Duration,
    ) -> Result<R, CallError>
    where
        P: serde::Serialize + fmt::Debug + Sync,
        R: DeserializeOwned,
    {
        let request = self.bot.request::<&P, MethodResponse<R>>(method, params);
        match tokio::time::timeout(within, request).await {
            Ok(Ok(answer)) => Ok(answer.result),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(CallError::TimedOut(within)),
        }
    }
}

impl From<frankenstein::Error> for CallError {
    fn from(error: frankenstein::Error) -> Self {
        match error {
            frankenstein::Error::Api(ErrorResponse {
                error_code,
                description,
                parameters,
                ..
            }) => {
                let wait = parameters.and_then(|parameters| parameters.retry_after);
                Self::Refused {
                    code: error_code,
                    description,
                    retry_after: wait.map(|seconds| Duration::from_secs(seconds.into())),
                    migrated_to: parameters.and_then(|parameters| parameters.migrate_to_chat_id),
                }
            }
            frankenstein::Error::HttpReqwest(error) if error.is_decode() => Self::Nonsense,
            frankenstein::Error::HttpReqwest(error) => Self::NoAnswer(causes(&error)),
            // These have bodies in them, which are nobody's business.
            _ => Self::Nonsense,
        }
    }
}

/// The innermost causes of a client error, without its URL.
fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the connection failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<CallError> for ChannelError {
    /// What a failed `getMe` or `getUpdates` means for the connection.
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        let CallError::Refused {
            code,
            description,
            retry_after,
            ..
        } = error
        else {
            return Self::Lost { detail };
        };
        match code {
            401 | 404 => Self::Refused {
                detail,
                hint: "check the bot's token: @BotFather shows it under /mybots".into(),
            },
            409 if description.contains("webhook") => Self::Refused {
                detail,
                hint: "this bot has a webhook: remove it with the deleteWebhook method".into(),
            },
            409 => Self::lost("another program polls this bot (409 Conflict): stop one of them"),
            429 => Self::Throttled {
                detail,
                retry_after: retry_after.unwrap_or(THROTTLED),
            },
            _ => Self::Lost { detail },
        }
    }
}

impl From<CallError> for SendError {
    /// What a failed send means for the message.
    fn from(error: CallError) -> Self {
        let detail = error.to_string();
        match error {
            CallError::Refused {
                code: 429,
                retry_after,
                ..
            } => Self::Passing {
                detail,
                retry_after: Some(retry_after.unwrap_or(THROTTLED)),
                doubtful: false,
            },
            // 401 and 404 are about the token, which the poll finds out too.
            CallError::Refused { code, .. } if code < 500 && code != 401 && code != 404 => {
                Self::Permanent { detail }
            }
            error => Self::Passing {
                detail,
                retry_after: None,
                doubtful: !matches!(error, CallError::Refused { code, .. } if code < 500),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u64, description: &str, retry_after: Option<u64>) -> CallError {
        CallError::Refused {
            code,
            description: description.into(),
            retry_after: retry_after.map(Duration::from_secs),
            migrated_to: None,
        }
    }

    #[test]
    fn what_an_error_means_for_the_connection() {
        let kind = |error: CallError| match ChannelError::from(error) {
            ChannelError::Lost { .. } => "lost",
            ChannelError::Throttled { .. } => "throttled",
            ChannelError::Refused { .. } => "refused",
            ChannelError::Closed => "closed",
        };
        let cases = [
            (refused(401, "Unauthorized", None), "refused"),
            (refused(404, "Not Found", None), "refused"),
            (
                refused(
                    409,
                    "can't use getUpdates method while webhook is active",
                    None,
                ),
                "refused",
            ),
            (
                refused(409, "terminated by other getUpdates request", None),
                "lost",
            ),
            (refused(429, "Too Many Requests", Some(3)), "throttled"),
            (refused(502, "Bad Gateway", None), "lost"),
            (CallError::Nonsense, "lost"),
            (CallError::NoAnswer("cannot connect".into()), "lost"),
        ];
        for (error, expected) in cases {
            let shown = error.to_string();
            assert_eq!(kind(error), expected, "{shown}");
        }
    }

    #[test]
    fn what_an_error_means_for_a_message() {
        let kept = |error: CallError| match SendError::from(error) {
            SendError::Passing {
                retry_after,
                doubtful,
                ..
            } => Some((retry_after.map(|wait| wait.as_secs()), doubtful)),
            SendError::Permanent { .. } => None,
        };
        let cases = [
            (refused(400, "Bad Request: chat not found", None), None),
            (
                refused(403, "Forbidden: bot was blocked by the user", None),
                None,
            ),
            (refused(401, "Unauthorized", None), Some((None, false))),
            (
                refused(429, "Too Many Requests", Some(17)),
                Some((Some(17), false)),
            ),
            (
                refused(429, "Too Many Requests", None),
                Some((Some(5), false)),
            ),
            (
                refused(500, "Internal Server Error", None),
                Some((None, true)),
            ),
            (CallError::TimedOut(CALL_TIMEOUT), Some((None, true))),
            (CallError::Nonsense, Some((None, true))),
        ];
        for (error, expected) in cases {
            let shown = error.to_string();
            assert_eq!(kept(error), expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn no_error_shows_the_token() {
        let token = SecretString::from("12345:very-secret");
        // Nothing listens on the discard port.
        let api = Api::new(&token, Some("http://127.0.0.1:9/")).unwrap();
        let error = api.me().await.unwrap_err();
        let shown = format!("{error} {error:?} {api:?}");
        let shown = format!("{shown} {:?}", ChannelError::from(error));
        assert!(!shown.contains("very-secret"), "{shown}");
        assert!(shown.contains("cannot connect"), "{shown}");
    }
}
