//! Who was woken.
//!
//! A node has one task and many sockets. If every socket woke the task itself, the task would have to ask all of them
//! who it was; so each one gets a waker that also notes its name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Wake, Waker};

/// The names of sockets that may have something to say.
pub(crate) struct Ready<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    list: Mutex<List<K>>,
}

struct List<K> {
    woken: Vec<Arc<Bell<K>>>,
    task: Option<Waker>,
}

/// One socket's waker.
struct Bell<K> {
    key: K,
    /// In the list already: ringing again changes nothing.
    rung: AtomicBool,
    shared: Arc<Shared<K>>,
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, List<K>> {
        // A panic while the list was locked cannot leave it half-changed.
        self.list.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<K: Copy + Send + Sync + 'static> Wake for Bell<K> {
    fn wake(self: Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = self.shared.clone();
        let task = {
            let mut list = shared.lock();
            list.woken.push(self);
            list.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<K: Copy + Send + Sync + 'static> Ready<K> {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::new(Shared { list: Mutex::new(List { woken: Vec::new(), task: None }) }) }
    }

    /// A waker that notes this name.
    pub(crate) fn waker(&self, key: K) -> Waker {
        Arc::new(Bell { key, rung: AtomicBool::new(false), shared: self.shared.clone() }).into()
    }

    /// Takes the names noted so far into `taken`, each at most once. The task is woken by the next one.
    pub(crate) fn take(&self, cx: &mut Context<'_>, taken: &mut Vec<K>) {
        let mut list = self.shared.lock();
        if !list.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            list.task = Some(cx.waker().clone());
        }
        for bell in list.woken.drain(..) {
            bell.rung.store(false, Ordering::Release);
            taken.push(bell.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_name_is_noted_once_and_the_task_is_woken_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let cx = &mut Context::from_waker(&waker);
        let ready = Ready::new();
        let (a, b) = (ready.waker('a'), ready.waker('b'));
        let mut taken = Vec::new();
        a.wake_by_ref();
        ready.take(cx, &mut taken);
        assert_eq!((taken.as_slice(), count.0.load(Ordering::Relaxed)), (&['a'][..], 0));
        b.wake_by_ref();
        b.wake_by_ref();
        a.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        taken.clear();
        ready.take(cx, &mut taken);
        assert_eq!(taken, ['b', 'a']);
        taken.clear();
        ready.take(cx, &mut taken);
        assert!(taken.is_empty());
    }
}
