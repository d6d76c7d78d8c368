//! Waiting for the first of several things. `select!` of tokio would bring one more crate, of macros, for these lines.

use std::pin::pin;
use std::task::Poll;

/// What came first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First<A, B> {
    /// The first thing, also if both came at once.
    One(A),
    /// The other.
    Other(B),
}

/// Waits for either; the one that did not come first is dropped.
pub(crate) async fn first<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> First<A, B> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = one.as_mut().poll(context) {
            return Poll::Ready(First::One(done));
        }
        other.as_mut().poll(context).map(First::Other)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn what_is_ready_wins_and_the_first_thing_before_the_other() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            assert_eq!(first(ready(1), ready(2)).await, First::One(1));
            assert_eq!(first(pending::<u8>(), ready(2)).await, First::Other(2));
            assert_eq!(first(ready(1), pending::<u8>()).await, First::One(1));
        });
    }
}
