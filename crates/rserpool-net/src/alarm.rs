//! The alarm clock of the loop.
//!
//! tokio's timers count milliseconds and round up: a task of 10 ms would occupy its slot for 11. Linux has a timer that
//! does better, by microseconds, and it is a file like any socket.
//!
//! Yet who sleeps is woken late: the processor has to wake first, then the thread, which takes some 0.1 ms. Where that
//! matters the timer is set earlier by as much as it is late as a rule; what is missing, if it is then less late, is waited for
//! awake.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Wakes its task once, after the time it was set to last; may also wake it without need.
pub(crate) enum Alarm {
    #[cfg(target_os = "linux")]
    Fine(fine::Timer),
    /// Where the system has nothing better, or no descriptor left.
    Coarse(Pin<Box<tokio::time::Sleep>>),
}

impl Alarm {
    /// An alarm of the kernel's that is not set. Needs a tokio runtime with I/O; fails if there is no descriptor left.
    #[cfg(target_os = "linux")]
    pub(crate) fn fine() -> std::io::Result<Self> {
        fine::Timer::new().map(Self::Fine)
    }

    /// An alarm that is not set. Needs a tokio runtime with I/O and time.
    pub(crate) fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = fine::Timer::new() {
            return Self::Fine(timer);
        }
        Self::Coarse(Box::pin(tokio::time::sleep(Duration::ZERO)))
    }

    /// Sets it; what it was set to before is forgotten.
    pub(crate) fn set(&mut self, due: Instant) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Fine(timer) => timer.set(due),
            Self::Coarse(sleep) => sleep.as_mut().reset(due.into()),
        }
    }

    /// Ready if the time has come, or may have. `wanted`: it still matters; else nothing is waited for awake.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, wanted: bool) -> Poll<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Fine(timer) => timer.poll(cx, wanted),
            Self::Coarse(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

#[cfg(target_os = "linux")]
mod fine {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll};
    use std::time::{Duration, Instant};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// The most it is set earlier than it is due, and waited for awake.
    const EARLY_MAX: Duration = Duration::from_micros(200);

    /// An alarm after a longer time may be late.
    const SHORT: Duration = Duration::from_millis(50);

    /// A timer of the kernel.
    pub(crate) struct Timer {
        file: AsyncFd<OwnedFd>,
        due: Instant,
        /// So much earlier it was set.
        early: Duration,
        /// How late it wakes, as a rule.
        late: Duration,
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // Deprecated for the sake of types that could close or exchange their file: this one cannot, and the other
            // way is `unsafe`.
            #[allow(deprecated)]
            let watched = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self { file: watched, due: Instant::now(), early: Duration::ZERO, late: Duration::ZERO })
        }

        pub(super) fn set(&mut self, due: Instant) {
            let after = due.saturating_duration_since(Instant::now());
            self.due = due;
            self.early = if after <= SHORT { self.late.min(after) } else { Duration::ZERO };
            // Zero would stop it.
            let after = (after - self.early).max(Duration::from_nanos(1));
            let once = Itimerspec {
                it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                it_value: Timespec {
                    tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: after.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.file, TimerfdTimerFlags::empty(), &once)
                .expect("a timer, and a legal time");
        }

        /// What the file has to say need not be read: setting the timer makes it forget, and readiness is told once
        /// per expiry.
        pub(super) fn poll(&mut self, cx: &mut Context<'_>, wanted: bool) -> Poll<()> {
            match self.file.poll_read_ready(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Ok(mut guard)) => {
                    guard.clear_ready();
                    self.wait_awake(wanted);
                    Poll::Ready(())
                }
                // The reactor is gone, and this task with it.
                Poll::Ready(Err(_)) => Poll::Ready(()),
            }
        }

        /// Learns how late it woke, and waits for what is missing.
        fn wait_awake(&mut self, wanted: bool) {
            let mut now = Instant::now();
            let Some(late) = (now + self.early).checked_duration_since(self.due) else {
                return; // It was set anew after it had rung for the last time.
            };
            // Down fast and up slowly: on a busy machine it is late now and then and in time otherwise, and waiting awake is dear.
            self.late = match late.min(EARLY_MAX) {
                late if late < self.late => (self.late + late) / 2,
                late => (self.late * 15 + late) / 16,
            };
            while wanted && now < self.due {
                std::hint::spin_loop();
                now = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Instant;

    #[tokio::test]
    async fn an_alarm_is_never_early_and_can_be_set_again() {
        for mut alarm in [Alarm::new(), Alarm::Coarse(Box::pin(tokio::time::sleep(Duration::ZERO)))] {
            for micros in [0, 300, 2_500] {
                let (begun, span) = (Instant::now(), Duration::from_micros(micros));
                alarm.set(begun + Duration::from_secs(3_600));
                assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, true))).await.is_pending());
                alarm.set(begun + span);
                poll_fn(|cx| alarm.poll(cx, true)).await;
                assert!(begun.elapsed() >= span);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_alarm_that_learnt_is_never_early_either() {
        let mut alarm = Alarm::fine().expect("a descriptor");
        for micros in (0..300).map(|round| round * 7 % 400) {
            let due = Instant::now() + Duration::from_micros(micros);
            alarm.set(due);
            poll_fn(|cx| alarm.poll(cx, true)).await;
            assert!(Instant::now() >= due);
        }
    }
}
