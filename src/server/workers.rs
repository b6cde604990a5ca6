//! The threads that handlers run on: started when none is free, kept for reuse, joined at the end.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::yield_until;
use crate::deadline::Deadline;
use crate::net::stop::StopSignal;

/// A worker that has had nothing to do for so long ends, so that a burst of connections does not
/// leave its threads behind.
const KEPT_IDLE: Duration = Duration::from_secs(10);

/// Hands jobs to workers. Dropping it lets idle workers end.
pub(crate) struct Dispatcher<J> {
    queue: Arc<Queue<J>>,
    crew: Arc<Crew>,
    work: Arc<dyn Fn(J) + Send + Sync>,
    /// Threads are named after it: "http:8080".
    name: String,
    started: usize,
}

/// Jobs on their way to idle workers. A plain queue: a channel would spin before it sleeps, which on
/// one core takes the time from those who have work.
struct Queue<J> {
    state: Mutex<QueueState<J>>,
    /// A job has come, or none will come any more.
    changed: Condvar,
    stop: StopSignal,
}

struct QueueState<J> {
    jobs: VecDeque<J>,
    /// Workers that wait for a job and that no job is on its way to.
    idle: usize,
    closed: bool,
}

/// The workers of one run of a server, for those who wait for their end.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    alive: Mutex<usize>,
    ended: Condvar,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Send + 'static> Dispatcher<J> {
    pub(crate) fn new(
        name: String,
        crew: Arc<Crew>,
        stop: StopSignal,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> Dispatcher<J> {
        let queue = Queue {
            state: Mutex::new(QueueState {
                jobs: VecDeque::new(),
                idle: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            stop,
        };
        Dispatcher {
            queue: Arc::new(queue),
            crew,
            work: Arc::new(work),
            name,
            started: 0,
        }
    }

    /// Gives the job to an idle worker, or to a new one.
    ///
    /// # Errors
    /// The system gives no more threads; the job is dropped.
    pub(crate) fn dispatch(&mut self, job: J) -> io::Result<()> {
        match self.queue.offer(job) {
            None => Ok(()),
            Some(job) => self.start_worker(job),
        }
    }

    fn start_worker(&mut self, first: J) -> io::Result<()> {
        self.crew.reap();
        self.started += 1;
        let name = format!("{} w{}", self.name, self.started);
        let (crew, queue, work) = (
            Arc::clone(&self.crew),
            Arc::clone(&self.queue),
            Arc::clone(&self.work),
        );
        *self.crew.alive() += 1;
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _ended = Ended(&crew);
            crew.claim_thread();
            let mut job = first;
            loop {
                work(job);
                job = match queue.next() {
                    Some(next) => next,
                    None => break,
                };
            }
        });
        match spawned {
            Ok(handle) => {
                self.crew.handles().push(handle);
                Ok(())
            }
            Err(error) => {
                self.crew.note_ended();
                Err(io::Error::new(
                    error.kind(),
                    format!("cannot start a thread for a connection: {error}"),
                ))
            }
        }
    }
}

impl<J> Drop for Dispatcher<J> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.closed = true;
        // As the stop is known, workers that are not idle yet end by themselves.
        if state.idle > 0 || !state.jobs.is_empty() {
            self.queue.changed.notify_all();
        }
    }
}

impl<J> Queue<J> {
    /// Takes the job if a worker is idle, and gives it back if none is.
    fn offer(&self, job: J) -> Option<J> {
        let mut state = self.lock();
        if state.idle == 0 {
            return Some(job);
        }
        state.idle -= 1;
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        None
    }

    /// Waits for the next job; `None` when this worker is to end.
    fn next(&self) -> Option<J> {
        let end = Instant::now() + KEPT_IDLE;
        let mut state = self.lock();
        state.idle += 1;
        loop {
            // As many workers have been taken from the idle ones as there are jobs.
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.closed || self.stop.is_set() || left.is_zero() {
                state.idle -= 1;
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The crew that this thread works for, by its address; 0 for a thread that is not a server's.
    static CREW: Cell<usize> = const { Cell::new(0) };
}

impl Crew {
    /// Makes this thread one of the run's.
    pub(crate) fn claim_thread(&self) {
        CREW.set(std::ptr::from_ref(self).addr());
    }

    /// Whether it is one of the run's threads that asks, which cannot wait for its own end.
    pub(crate) fn is_own_thread(&self) -> bool {
        CREW.get() == std::ptr::from_ref(self).addr()
    }

    /// Waits for the workers' end and joins them; those that still run at the deadline are left.
    pub(crate) fn join(&self, deadline: &Deadline) -> bool {
        yield_until(|| *self.alive() == 0);
        let mut alive = self.alive();
        while *alive > 0 {
            let left = deadline.remaining();
            if left.is_zero() {
                break;
            }
            alive = self
                .ended
                .wait_timeout(alive, left.min(Duration::from_secs(3600)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let all = *alive == 0;
        drop(alive);
        for handle in self.handles().drain(..) {
            // Where all have said that they end, joining waits for the system's part of it only.
            if all || handle.is_finished() {
                let _ = handle.join();
            }
        }
        all
    }

    /// Joins workers that have ended.
    fn reap(&self) {
        let mut handles = self.handles();
        let (ended, running) = std::mem::take(&mut *handles)
            .into_iter()
            .partition(JoinHandle::is_finished);
        *handles = running;
        drop(handles);
        let ended: Vec<JoinHandle<()>> = ended;
        for handle in ended {
            let _ = handle.join();
        }
    }

    fn note_ended(&self) {
        *self.alive() -= 1;
        self.ended.notify_all();
    }

    fn alive(&self) -> MutexGuard<'_, usize> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a worker out however it ends.
struct Ended<'a>(&'a Crew);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.note_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn workers_are_reused_and_joined() {
        let crew = Arc::new(Crew::default());
        let (done, dones) = crossbeam_channel::unbounded();
        let (_switch, stop) = StopSignal::new();
        let mut dispatcher =
            Dispatcher::new("t".into(), Arc::clone(&crew), stop, move |job: u32| {
                done.send((job, thread::current().id())).unwrap();
            });
        dispatcher.dispatch(1).unwrap();
        let (_, first) = dones.recv_timeout(LONG).unwrap();
        let deadline = Deadline::new(LONG, "an idle worker");
        while dispatcher.queue.lock().idle == 0 {
            assert!(!deadline.expired());
            thread::yield_now();
        }
        dispatcher.dispatch(2).unwrap();
        assert_eq!(dones.recv_timeout(LONG).unwrap(), (2, first));
        drop(dispatcher);
        assert!(crew.join(&deadline));
        assert_eq!(*crew.alive(), 0);
    }

    #[test]
    fn busy_workers_do_not_hold_up_others() {
        let crew = Arc::new(Crew::default());
        let barrier = Arc::new(std::sync::Barrier::new(8));
        let meet = Arc::clone(&barrier);
        let (_switch, stop) = StopSignal::new();
        let mut dispatcher = Dispatcher::new("t".into(), Arc::clone(&crew), stop, move |_: u32| {
            meet.wait();
        });
        for job in 0..8 {
            dispatcher.dispatch(job).unwrap();
        }
        drop(dispatcher);
        assert!(crew.join(&Deadline::new(LONG, "the workers")));
    }

    #[test]
    fn a_worker_that_does_not_end_is_left_at_the_deadline() {
        let crew = Arc::new(Crew::default());
        let (release, held) = crossbeam_channel::bounded::<()>(0);
        let (_switch, stop) = StopSignal::new();
        let mut dispatcher = Dispatcher::new("t".into(), Arc::clone(&crew), stop, move |_: u32| {
            let _ = held.recv();
        });
        dispatcher.dispatch(0).unwrap();
        drop(dispatcher);
        assert!(!crew.join(&Deadline::new(Duration::from_millis(20), "the worker")));
        drop(release);
    }
}
