//! The parameters of one call, wherever the client put them.
//!
//! The Bot API takes them from the query string, a JSON object, an urlencoded form or multipart form data. In
//! a form every value is a string, and structured ones are JSON inside it; in a JSON body both shapes occur. Here they
//! all become one map of JSON values, read through accessors that accept either shape.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest, Multipart, Query};
use axum::http::{Request, header};
use serde_json::Value;

use super::error::ApiError;

/// More than any call of a chat bot needs; an upload beyond it is refused.
const MAX_BODY: usize = 8 << 20;

/// Named parameters of one call.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<String, Value>);

impl Params {
    /// Reads the query string and the body. Values in the body win.
    pub(super) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let mut params = Self::default();
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|_| ApiError::bad_request("can't parse the query string"))?;
        params.take_pairs(query.0);
        let kind = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| {
                value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_ascii_lowercase()
            });
        match kind.as_deref() {
            Some("application/json") => params.take_json(request).await?,
            Some("application/x-www-form-urlencoded") if request.method() != "GET" => {
                let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
                let form = form.map_err(|_| ApiError::bad_request("can't parse the form"))?;
                params.take_pairs(form.0);
            }
            Some("multipart/form-data") => params.take_multipart(request).await?,
            _ => {}
        }
        Ok(params)
    }

    fn take_pairs(&mut self, pairs: Vec<(String, String)>) {
        let pairs = pairs.into_iter().map(|(name, value)| (name, value.into()));
        self.0.extend(pairs);
    }

    async fn take_json(&mut self, request: Request<Body>) -> Result<(), ApiError> {
        let body = to_bytes(request.into_body(), MAX_BODY).await;
        let body = body.map_err(|_| ApiError::new(413, "Request Entity Too Large"))?;
        if body.is_empty() {
            return Ok(());
        }
        let Ok(Value::Object(object)) = serde_json::from_slice(&body) else {
            return Err(ApiError::bad_request("object expected as parameters"));
        };
        self.0
            .extend(object.into_iter().filter(|(_, value)| !value.is_null()));
        Ok(())
    }

    async fn take_multipart(&mut self, request: Request<Body>) -> Result<(), ApiError> {
        let broken = |_| ApiError::bad_request("can't parse the multipart form");
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|_| ApiError::bad_request("can't parse the multipart form"))?;
        while let Some(field) = form.next_field().await.map_err(broken)? {
            let Some(name) = field.name().map(str::to_owned) else {
                continue;
            };
            let bytes = field.bytes().await.map_err(broken)?;
            let value = String::from_utf8_lossy(&bytes).into_owned();
            self.0.insert(name, value.into());
        }
        Ok(())
    }

    /// A value as text; absent and empty are the same, as on the real server.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = match self.0.get(name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// A value as an integer; one that does not parse counts as absent, as on the real server.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// A value as a yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default().to_ascii_lowercase();
        matches!(text.as_str(), "true" | "yes" | "1")
    }

    /// A structured value, given as such or as JSON inside a string.
    pub(super) fn json(&self, name: &str) -> Result<Option<Value>, serde_json::Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some),
            Some(value) => Ok(Some(value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(kind: &str, uri: &str, body: &str) -> Params {
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body.to_owned()))
            .unwrap();
        Params::read(request).await.unwrap()
    }

    #[tokio::test]
    async fn every_encoding_gives_the_same_parameters() {
        let multipart = "--x\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n5\r\n--x\r\n\
            Content-Disposition: form-data; name=\"list\"\r\n\r\n[\"a\"]\r\n--x\r\n\
            Content-Disposition: form-data; name=\"quiet\"\r\n\r\ntrue\r\n--x--\r\n";
        let encodings = [
            (
                "application/json; charset=utf-8",
                "/",
                r#"{"chat_id":5,"list":["a"],"quiet":true}"#,
            ),
            (
                "application/json",
                "/",
                r#"{"chat_id":"5","list":"[\"a\"]","quiet":"True"}"#,
            ),
            (
                "application/x-www-form-urlencoded",
                "/",
                "chat_id=5&list=%5B%22a%22%5D&quiet=1",
            ),
            ("multipart/form-data; boundary=x", "/", multipart),
            ("text/plain", "/?chat_id=5&list=%5B%22a%22%5D&quiet=yes", ""),
        ];
        for (kind, uri, body) in encodings {
            let params = read(kind, uri, body).await;
            assert_eq!(params.integer("chat_id"), Some(5), "{kind}");
            assert_eq!(
                params.json("list").unwrap(),
                Some(serde_json::json!(["a"])),
                "{kind}"
            );
            assert!(params.flag("quiet"), "{kind}");
            assert_eq!(params.text("absent"), None, "{kind}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_no_object_is_refused() {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from("[1]"))
            .unwrap();
        assert_eq!(Params::read(request).await.unwrap_err().code, 400);
    }
}
