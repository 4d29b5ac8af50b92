//! Bodies that a handler did not read because it refused before: read and thrown away within limits, so that the
//! refusal arrives and the connection stays usable; past the limits the answer says that the connection closes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// Most octets that are thrown away.
const MAX_LEFTOVER: usize = 128 * 1024;
/// Longest wait for them.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(2);

/// Where a body comes back to when its reader drops it before the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leftover(Arc<Mutex<Option<Body>>>);

impl Leftover {
    /// The same body; what is not read of it comes back here.
    pub(crate) fn lend(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Lent { body: Some(body), home: self.clone() })
    }

    /// Throws away what came back. Whether the connection may carry another request.
    pub(crate) async fn discard(&self) -> bool {
        let Some(mut body) = self.slot().take() else {
            return true;
        };
        let discard = async {
            let mut left = MAX_LEFTOVER;
            while let Some(frame) = body.frame().await {
                let len = frame.ok().and_then(|frame| frame.into_data().ok()).map_or(0, |data| data.len());
                left = left.checked_sub(len)?;
            }
            Some(())
        };
        matches!(timeout(LEFTOVER_LIMIT, discard).await, Ok(Some(())))
    }

    /// Whether nothing came back.
    pub(crate) fn is_empty(&self) -> bool {
        self.slot().is_none()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Body>> {
        // Nothing panics while it is held; a poisoned slot is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that goes home when it is dropped.
struct Lent {
    body: Option<Body>,
    home: Leftover,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.home.slot() = Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_read_comes_back() {
        for (id, len, read, usable) in
            [("read", 100, true, true), ("left", 100, false, true), ("too much", MAX_LEFTOVER + 1, false, false)]
        {
            let leftover = Leftover::default();
            let mut body = leftover.lend(Body::from(vec![0; len]));
            if read {
                while body.frame().await.is_some() {}
            }
            drop(body);
            assert_eq!(leftover.is_empty(), read, "{id}");
            assert_eq!(leftover.discard().await, usable, "{id}");
            assert!(leftover.is_empty(), "{id}");
        }
        let leftover = Leftover::default();
        drop(leftover.lend(Body::empty()));
        assert!(leftover.is_empty(), "nothing to read, nothing comes back");
    }
}
