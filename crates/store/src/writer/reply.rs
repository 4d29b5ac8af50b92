//! What callers of the writer are told, once the commit that their change is in has ended.

use std::sync::Arc;

use super::Answer;
use crate::backend::BackendError;
use crate::error::DirectoryError;

/// Tells one caller how it went, given how the commit did.
pub(super) type Reply = Box<dyn FnOnce(Option<&Arc<BackendError>>) + Send>;

/// A reply that waits for the commit. When that fails nobody's answer stands: it may rest on a change that is gone.
pub(super) fn reply<T: Send + 'static, E: From<DirectoryError> + Send + 'static>(
    answer: Answer<T, E>,
    result: Result<T, E>,
) -> Reply {
    Box::new(move |failure| {
        let result = failure.map_or(result, |error| Err(storage(error).into()));
        // The caller may have gone; the change is made all the same.
        let _ = answer.send(result);
    })
}

/// A backend's failure, as callers are told.
pub(super) fn storage(error: &Arc<BackendError>) -> DirectoryError {
    DirectoryError::Storage(Box::new(Arc::clone(error)))
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
