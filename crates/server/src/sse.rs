//! Server-sent events: the frames of a streamed answer, and how long it may be silent.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep};

/// What ends a stream of OpenAI's.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// A comment that keeps a silent connection open.
pub const PING: Bytes = Bytes::from_static(b":\n\n");

/// A frame with this value.
pub fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

/// Bounds the silence of a stream. One timer serves all its frames: it is set anew when it runs out, not for each of them.
pub struct Silence {
    most: Duration,
    heard: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    /// From now on, at most so long at a time.
    pub fn new(most: Duration) -> Self {
        Silence { most, heard: Instant::now(), timer: Box::pin(sleep(most)) }
    }

    /// What comes next; `None` when nothing has come for too long. The silence begins anew with either.
    pub async fn bound<T>(&mut self, next: impl Future<Output = T>) -> Option<T> {
        let mut next = pin!(next);
        let came = poll_fn(|context| {
            if let Poll::Ready(value) = next.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            loop {
                ready!(self.timer.as_mut().poll(context));
                let due = self.heard + self.most;
                if due <= Instant::now() {
                    return Poll::Ready(None);
                }
                self.timer.as_mut().reset(due);
            }
        })
        .await;
        self.heard = Instant::now();
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    const MOST: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_what_was_heard_last() {
        let begin = Instant::now();
        let mut silence = Silence::new(MOST);
        sleep(MOST / 2).await;
        assert_eq!(silence.bound(ready(7)).await, Some(7));
        assert_eq!(silence.bound(pending::<u32>()).await, None);
        assert_eq!(begin.elapsed().as_secs(), 45);
        assert_eq!(silence.bound(pending::<u32>()).await, None);
        assert_eq!(begin.elapsed().as_secs(), 75);
        let later = async { sleep(MOST - Duration::from_secs(1)).await };
        assert_eq!(silence.bound(later).await, Some(()));
        assert_eq!(begin.elapsed().as_secs(), 104);
    }
}
