//! Who may talk to the control API over TCP.
//!
//! Three checks, each for another attacker: the bearer token keeps out other users and machines; the
//! `Host` check keeps out web pages whose name was made to point here (DNS rebinding); the `Origin`
//! check keeps out other web pages, whose browsers send requests here without asking.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{
    error::{Failure, openai_error},
    wire::ErrorCode,
};

/// What is asked of every request over TCP.
#[derive(Debug)]
pub struct Guard {
    listen: SocketAddr,
    token: Option<SecretString>,
    origins: Vec<String>,
}

impl Guard {
    /// The guard of an address. One that others can reach needs a token.
    pub fn new(
        listen: SocketAddr,
        token: Option<SecretString>,
        origins: Vec<String>,
    ) -> io::Result<Self> {
        if !listen.ip().is_loopback() && token.is_none() {
            let message = "an address that other machines can reach needs a token: set `token` under [supervisor.http]";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self {
            listen,
            token,
            origins,
        })
    }

    fn judge(
        &self,
        headers: &HeaderMap,
        host: Option<&str>,
    ) -> Result<(), (ErrorCode, &'static str)> {
        let host = host.ok_or((ErrorCode::Forbidden, "the request has no Host header"))?;
        if !self.knows_host(host) {
            return Err((
                ErrorCode::Forbidden,
                "the Host header does not name this machine",
            ));
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && !origin
                .to_str()
                .is_ok_and(|origin| self.knows_origin(origin, host))
        {
            return Err((
                ErrorCode::Forbidden,
                "this Origin is not among `allowed_origins` of [supervisor.http]",
            ));
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let given = given
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .map_or("", |(_, given)| given);
        // An empty token, as one written in the configuration can be, is nobody's.
        let right = given.as_bytes().ct_eq(token.expose_secret().as_bytes());
        if !given.is_empty() && bool::from(right) {
            Ok(())
        } else {
            Err((
                ErrorCode::Unauthorized,
                "the bearer token is missing or wrong",
            ))
        }
    }

    /// A name is only trusted for loopback, where a browser can be made to believe any other.
    fn knows_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        if name.eq_ignore_ascii_case("localhost") {
            return self.listen.ip().is_loopback();
        }
        // With an address in place of a name there is no name to be rebound; and on an address that
        // others reach, the token decides.
        name.parse::<std::net::IpAddr>().is_ok() || !self.listen.ip().is_loopback()
    }

    fn knows_origin(&self, origin: &str, host: &str) -> bool {
        let same = origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
        same || self
            .origins
            .iter()
            .any(|known| known.eq_ignore_ascii_case(origin))
    }
}

/// The middleware.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    // An HTTP/1.1 request may name its host in its target instead.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.or_else(|| {
        request
            .uri()
            .authority()
            .map(axum::http::uri::Authority::as_str)
    });
    match guard.judge(headers, host) {
        Ok(()) => next.run(request).await,
        Err((code, message)) if request.uri().path().starts_with("/v1/") => {
            let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::FORBIDDEN);
            let openai_code = if code == ErrorCode::Unauthorized {
                "invalid_api_key"
            } else {
                "forbidden"
            };
            openai_error(status, "invalid_request_error", openai_code, message)
        }
        Err((code, message)) => {
            axum::response::IntoResponse::into_response(Failure::new(code, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str, token: Option<&str>) -> Guard {
        let origins = vec!["https://panel.example".to_owned()];
        Guard::new(
            listen.parse().unwrap(),
            token.map(SecretString::from),
            origins,
        )
        .unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn an_open_address_without_a_token_is_refused() {
        assert!(Guard::new("0.0.0.0:80".parse().unwrap(), None, vec![]).is_err());
        assert!(Guard::new("127.0.0.1:80".parse().unwrap(), None, vec![]).is_ok());
    }

    #[test]
    fn hosts_and_origins_are_checked() {
        let cases: [(&str, Option<&str>, bool); 9] = [
            ("127.0.0.1:8700", None, true),
            ("localhost:8700", None, true),
            ("[::1]:8700", None, true),
            ("evil.example:8700", None, false),
            ("evil.example", None, false),
            ("localhost:8700", Some("http://localhost:8700"), true),
            ("localhost:8700", Some("https://panel.example"), true),
            ("localhost:8700", Some("https://evil.example"), false),
            ("localhost:8700", Some("null"), false),
        ];
        let guard = guard("127.0.0.1:8700", None);
        for (host, origin, allowed) in cases {
            let headers =
                origin.map_or_else(HeaderMap::new, |origin| headers(&[("origin", origin)]));
            assert_eq!(
                guard.judge(&headers, Some(host)).is_ok(),
                allowed,
                "{host} {origin:?}"
            );
        }
        assert!(guard.judge(&HeaderMap::new(), None).is_err());
    }

    #[test]
    fn the_token_is_checked() {
        let guard = guard("127.0.0.1:8700", Some("s3cret"));
        let judge =
            |value: &str| guard.judge(&headers(&[("authorization", value)]), Some("localhost"));
        assert!(judge("Bearer s3cret").is_ok());
        assert!(judge("bearer s3cret").is_ok());
        for wrong in [
            "Bearer s3cre",
            "Bearer s3crets",
            "s3cret",
            "Basic s3cret",
            "Bearer ",
        ] {
            assert!(
                matches!(judge(wrong), Err((ErrorCode::Unauthorized, _))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        let guard = guard("127.0.0.1:8700", Some(""));
        for given in [None, Some("Bearer "), Some("Bearer")] {
            let headers =
                given.map_or_else(HeaderMap::new, |value| headers(&[("authorization", value)]));
            assert!(guard.judge(&headers, Some("localhost")).is_err());
        }
    }
}
