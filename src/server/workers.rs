//! The threads that handlers run on: started when none is free, kept for reuse, joined at the end.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::deadline::Deadline;

/// A worker that has had nothing to do for so long ends, so that a burst of connections does not
/// leave its threads behind.
const KEPT_IDLE: Duration = Duration::from_secs(10);

/// Hands jobs to workers. Only one thread does, the poll loop; dropping it lets idle workers end.
pub(crate) struct Dispatcher<J> {
    jobs: Sender<J>,
    inbox: Receiver<J>,
    crew: Arc<Crew>,
    work: Arc<dyn Fn(J) + Send + Sync>,
    /// Threads are named after it: "http:8080".
    name: String,
    started: usize,
}

/// The workers of one run of a server, for those who wait for their end.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    /// Workers that wait for a job and that no job is on its way to.
    idle: AtomicUsize,
    alive: Mutex<usize>,
    ended: Condvar,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Send + 'static> Dispatcher<J> {
    pub(crate) fn new(
        name: String,
        crew: Arc<Crew>,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> Dispatcher<J> {
        let (jobs, inbox) = crossbeam_channel::unbounded();
        Dispatcher {
            jobs,
            inbox,
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
        if self.crew.claim_idle() {
            // A claimed worker receives exactly once more, so this job is taken at once.
            return self
                .jobs
                .send(job)
                .map_err(|_| io::Error::other("no worker takes jobs"));
        }
        self.start_worker(job)
    }

    fn start_worker(&mut self, first: J) -> io::Result<()> {
        self.crew.reap();
        self.started += 1;
        let name = format!("{} w{}", self.name, self.started);
        let (crew, inbox, work) = (
            Arc::clone(&self.crew),
            self.inbox.clone(),
            Arc::clone(&self.work),
        );
        *self.crew.alive() += 1;
        let spawned = thread::Builder::new().name(name).spawn(move || {
            let _ended = Ended(&crew);
            let mut job = first;
            loop {
                work(job);
                job = match crew.next_job(&inbox) {
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

impl Crew {
    fn claim_idle(&self) -> bool {
        self.idle
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |idle| {
                idle.checked_sub(1)
            })
            .is_ok()
    }

    /// Waits for the next job; `None` when this worker is to end.
    fn next_job<J>(&self, inbox: &Receiver<J>) -> Option<J> {
        self.idle.fetch_add(1, Ordering::AcqRel);
        loop {
            match inbox.recv_timeout(KEPT_IDLE) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                // A worker may leave only if it was not claimed in the meantime.
                Err(RecvTimeoutError::Timeout) if self.claim_idle() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for the workers' end and joins them; those that still run at the deadline are left.
    pub(crate) fn join(&self, deadline: &Deadline) -> bool {
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
        let mut dispatcher = Dispatcher::new("t".into(), Arc::clone(&crew), move |job: u32| {
            done.send((job, thread::current().id())).unwrap();
        });
        dispatcher.dispatch(1).unwrap();
        let (_, first) = dones.recv_timeout(LONG).unwrap();
        let deadline = Deadline::new(LONG, "an idle worker");
        while crew.idle.load(Ordering::Acquire) == 0 {
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
        let mut dispatcher = Dispatcher::new("t".into(), Arc::clone(&crew), move |_: u32| {
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
        let mut dispatcher = Dispatcher::new("t".into(), Arc::clone(&crew), move |_: u32| {
            let _ = held.recv();
        });
        dispatcher.dispatch(0).unwrap();
        drop(dispatcher);
        assert!(!crew.join(&Deadline::new(Duration::from_millis(20), "the worker")));
        drop(release);
    }
}
