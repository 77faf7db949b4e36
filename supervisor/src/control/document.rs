//! The `OpenAPI` document of the control API, generated from the routes and the wire types.

use utoipa::OpenApi;

use super::{
    api, audit, budget, doctor, fairness, limits, metrics, processes, queue, reload, schedules,
    sessions, turns, upgrade,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kennel control API",
        description = "Supervises AI agents, one process each."
    ),
    paths(
        api::health,
        api::status,
        api::agents,
        api::agent,
        api::start,
        api::stop,
        api::restart,
        api::turn,
        api::cancel,
        turns::turns,
        turns::turn,
        audit::audit,
        budget::budget,
        queue::queue,
        queue::show,
        queue::drop,
        queue::retry,
        queue::requeue,
        schedules::schedules,
        schedules::run,
        schedules::pause,
        schedules::resume,
        limits::limits,
        limits::set_limits,
        sessions::delete_session,
        api::streams::agent_logs,
        processes::processes,
        doctor::doctor,
        doctor::agent_doctor,
        api::channels,
        api::streams::events,
        fairness::fairness,
        reload::reload,
        api::shutdown,
        upgrade::upgrade,
        metrics::metrics,
    ),
    components(schemas(
        super::wire::TurnEvent,
        super::wire::LogLine,
        super::wire::MemoryDetail,
    ))
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
