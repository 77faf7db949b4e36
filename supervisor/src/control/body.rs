//! The body of a request, read before any route sees it.
//!
//! A route that finds a body too long answers and leaves the rest unread. The connection is then closed
//! under a caller that still writes, who sees a broken pipe in place of the answer. So what is too
//! much is read on and thrown away, within bounds, and the route is given just more than it takes.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::BODY_MAX_BYTES;

/// How much of a body that is too long is read and thrown away, in bytes.
const DISCARDED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long that may take.
const DISCARDING: Duration = Duration::from_secs(5);

/// Hands on the whole body, or the beginning of one that is too long.
pub(super) async fn take(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut pieces = body.into_data_stream();
    let taken = read(&mut pieces).await;
    if taken.len() > BODY_MAX_BYTES {
        // Who is slower than this is not waited for.
        let _ = timeout(DISCARDING, discard(&mut pieces)).await;
    }
    next.run(Request::from_parts(parts, Body::from(taken)))
        .await
}

/// What there is, and of what is too long only as much as shows that it is.
async fn read(pieces: &mut BodyDataStream) -> Bytes {
    let mut taken = Vec::new();
    // A body that breaks off is no JSON: its route says so to nobody.
    while let Some(Ok(piece)) = pieces.next().await {
        let room = BODY_MAX_BYTES + 1 - taken.len();
        taken.extend_from_slice(&piece[..piece.len().min(room)]);
        if taken.len() > BODY_MAX_BYTES {
            break;
        }
    }
    taken.into()
}

async fn discard(pieces: &mut BodyDataStream) {
    let mut discarded = 0;
    while discarded < DISCARDED_MAX_BYTES
        && let Some(Ok(piece)) = pieces.next().await
    {
        discarded += piece.len();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, extract::DefaultBodyLimit, routing::post};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn answer(body: Body) -> u16 {
        let routes = Router::new()
            .route(
                "/",
                post(|body: Bytes| async move { body.len().to_string() }),
            )
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .layer(axum::middleware::from_fn(take));
        let request = Request::post("/").body(body).unwrap();
        let service = TowerToHyperService::new(routes);
        service.call(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_body_is_handed_on_up_to_its_longest() {
        assert_eq!(answer(Body::from(vec![b'x'; BODY_MAX_BYTES])).await, 200);
        assert_eq!(
            answer(Body::from(vec![b'x'; BODY_MAX_BYTES + 1])).await,
            413
        );
    }

    #[tokio::test]
    async fn what_is_too_much_is_read_to_its_end() {
        let piece = Bytes::from(vec![b'x'; BODY_MAX_BYTES]);
        let left = Arc::new(AtomicUsize::new(3));
        let count = Arc::clone(&left);
        let pieces = futures::stream::iter(0..3).map(move |_| {
            count.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece.clone())
        });
        assert_eq!(answer(Body::from_stream(pieces)).await, 413);
        assert_eq!(left.load(Ordering::Relaxed), 0, "it is left unread");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_end_is_not_waited_for() {
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        assert_eq!(answer(Body::from_stream(endless)).await, 413);
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![
            b'x';
            BODY_MAX_BYTES
                + 1
        ]))]);
        let stuck = first.chain(futures::stream::pending());
        assert_eq!(answer(Body::from_stream(stuck)).await, 413);
    }
}
