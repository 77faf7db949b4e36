//! The route by which another program takes over. On the control socket only: it names a program to be run.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use axum::{Json, Router, extract::State, extract::rejection::JsonRejection, routing::post};
use kennel_shared::ids::Generation;
use tracing::error;

use super::{
    App, Current,
    api::leaving,
    error::Failure,
    wire::{self, ErrorCode},
};
use crate::supervision::events::LifecycleEvent;

impl App {
    /// Tells that the program which had taken over did not stay, if so.
    pub fn tell_undone(&self) {
        let Some(why) = &self.undone else {
            return;
        };
        let detail = format!("undone: {why}");
        error!(
            why = &**why,
            "the new program did not come up; this is the one before it"
        );
        self.audit("upgrade", None, detail.as_str());
        self.events.tell(LifecycleEvent {
            at: SystemTime::now(),
            agent: None,
            generation: Generation(0),
            kind: "upgrade",
            detail: Some(detail),
            end: None,
            held_back: None,
        });
    }
}

pub(super) fn routes(current: Current) -> Router {
    let path = format!("{}/upgrade", wire::API);
    Router::new()
        .route(&path, post(upgrade))
        .with_state(current)
}

/// Has a program take over, once it has said that it would start here. On the Unix socket only.
#[utoipa::path(post, path = "/api/v1/upgrade", request_body = wire::UpgradeRequest, responses(
    (status = 200, body = wire::UpgradeReply), (status = 409, body = wire::ErrorBody), (status = 503, body = wire::ErrorBody)))]
pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    body: Result<Json<wire::UpgradeRequest>, JsonRejection>,
) -> Result<Json<wire::UpgradeReply>, Failure> {
    let Json(request) = body?;
    let program = PathBuf::from(&request.program);
    if !program.is_absolute() {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "`program` is not an absolute path",
        ));
    }
    let answer = app.upgrades.ask(program).await.ok_or_else(leaving)?;
    let detail = match &answer {
        Ok(version) => format!("{} {version} takes over", request.program),
        Err(why) => format!("refused: {why}"),
    };
    app.audit("upgrade", None, detail);
    match answer {
        Ok(version) => Ok(Json(wire::UpgradeReply {
            version,
            pid: std::process::id(),
        })),
        Err(why) => Err(Failure::new(ErrorCode::Denied, why)
            .hint("the supervisor goes on as it was; `kennel check` and `kennel doctor` say more")),
    }
}
