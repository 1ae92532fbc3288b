//! The interleavings of callers and the writing thread, tried by loom; `.ci/run` has the command.

use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::super::queue::{Queue, Taken, Urgency, Written, Wrote};
use crate::evidence::AppendError;
use crate::evidence::store::Room;

/// Three threads have too many interleavings for all of them: those in which one that could go on is made to wait at most
/// three times.
fn few_switches(story: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(story);
}

/// The writing thread without its disk: keeps what it takes, until the queue is closed.
fn write(queue: &Queue<()>) -> u64 {
    let mut done = 0;
    loop {
        queue.wait();
        let Taken { items, ended, .. } = queue.take();
        done += u64::try_from(items.len()).unwrap();
        queue.room.give_back_all(items.len(), 0);
        queue.progress.set_written(done);
        queue.progress.set_durable(done);
        if ended.is_some() {
            queue.end(AppendError::Closed);
            return done;
        }
    }
}

#[test]
fn loom_an_append_wakes_the_writer_and_its_caller() {
    loom::model(|| {
        let queue = Queue::<()>::new(1);
        let of_writer = queue.clone();
        let writer = thread::spawn(move || write(&of_writer));
        let mut place = queue.room.reserve(1).unwrap();
        let mut ticket = queue.append(&mut place, Vec::new(), Urgency::Now).unwrap();
        assert_eq!(block_on(ticket.durable()), Ok(()));
        queue.close();
        assert_eq!(writer.join().unwrap(), 1);
    });
}

#[test]
fn loom_what_was_accepted_before_the_end_is_kept_and_nothing_after() {
    few_switches(|| {
        let queue = Queue::<()>::new(2);
        let of_writer = queue.clone();
        let writer = thread::spawn(move || write(&of_writer));
        let of_caller = queue.clone();
        let caller = thread::spawn(move || {
            let mut place = of_caller.room.reserve(1).map_err(drop)?;
            let mut ticket = of_caller.append(&mut place, Vec::new(), Urgency::Now).map_err(drop)?;
            assert_eq!(block_on(ticket.written()), Ok(()));
            Ok::<(), ()>(())
        });
        queue.close();
        let accepted = caller.join().unwrap().is_ok();
        assert_eq!(writer.join().unwrap(), u64::from(accepted));
        assert_eq!(queue.room.reserve(1).unwrap_err(), AppendError::Closed);
    });
}

#[test]
fn loom_whoever_waits_when_the_writer_fails_is_told() {
    loom::model(|| {
        let queue = Queue::<()>::new(1);
        let of_writer = queue.clone();
        let writer = thread::spawn(move || {
            of_writer.wait();
            let _ = of_writer.take();
            of_writer.end(AppendError::Failed);
        });
        let mut place = queue.room.reserve(1).unwrap();
        let mut ticket = queue.append(&mut place, Vec::new(), Urgency::Now).unwrap();
        assert_eq!(block_on(ticket.durable()), Err(AppendError::Failed));
        block_on(queue.room.freed());
        writer.join().unwrap();
    });
}

/// A caller's turn; the pen holds how many records are written.
fn write_here(queue: &Queue<()>, pen: &Mutex<u64>) {
    queue.write_here(pen, |done| {
        let mut items = Vec::new();
        if !queue.take_if(&mut items, |_, _| true) {
            return Wrote::Nothing;
        }
        *done += u64::try_from(items.len()).unwrap();
        Wrote::All(Written { records: *done, places: (items.len(), 0) })
    });
}

/// A caller who cannot have the pen leaves its record to who has it, and nobody wakes the thread for that.
///
/// loom takes no notice of the moment at which a mutex is given back, so it never tries one that somebody has: that a record
/// which was left is seen is for `what_is_left_to_another_caller_is_written_by_it` to show.
#[test]
fn loom_what_callers_queue_is_written_by_one_of_them() {
    few_switches(|| {
        let (queue, pen) = (Queue::<()>::new(2), Arc::new(Mutex::new(0)));
        let callers = [(); 2].map(|()| {
            let (queue, pen) = (queue.clone(), Arc::clone(&pen));
            thread::spawn(move || {
                let mut place = queue.room.reserve(1).unwrap();
                let mut ticket = queue.append(&mut place, Vec::new(), Urgency::Here).unwrap();
                write_here(&queue, &pen);
                assert_eq!(block_on(ticket.written()), Ok(()));
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(*pen.lock().unwrap(), 2);
        assert_eq!(queue.room.reserve(2).unwrap().places(), 2);
    });
}

/// The thread has the pen when a caller comes, or the caller when the thread comes: the record is written either way.
#[test]
fn loom_a_caller_and_the_thread_share_the_pen() {
    loom::model(|| {
        let (queue, pen) = (Queue::<()>::new(2), Arc::new(Mutex::new(0)));
        let (of_writer, pen_of_writer) = (queue.clone(), Arc::clone(&pen));
        let writer = thread::spawn(move || {
            loop {
                of_writer.wait();
                let mut done = pen_of_writer.lock().unwrap();
                let Taken { items, ended, .. } = of_writer.take();
                *done += u64::try_from(items.len()).unwrap();
                of_writer.tell(Written { records: *done, places: (items.len(), 0) });
                if ended.is_some() {
                    return of_writer.end(AppendError::Closed);
                }
            }
        });
        let mut places = queue.room.reserve(2).unwrap();
        let mut for_thread = queue.append(&mut places, Vec::new(), Urgency::Now).unwrap();
        let mut for_caller = queue.append(&mut places, Vec::new(), Urgency::Here).unwrap();
        write_here(&queue, &pen);
        assert_eq!(block_on(for_caller.written()), Ok(()));
        assert_eq!(block_on(for_thread.written()), Ok(()));
        queue.close();
        writer.join().unwrap();
        assert_eq!(*pen.lock().unwrap(), 2);
    });
}

/// What may wait until a commit is due is not forgotten when that commit is done, and what comes then is not late.
#[test]
fn loom_what_may_wait_is_not_forgotten() {
    loom::model(|| {
        let queue = Queue::<()>::new(2);
        queue.set_due(Some(std::time::Instant::now()));
        let of_writer = queue.clone();
        let writer = thread::spawn(move || {
            let mut done = 0;
            while done < 1 {
                of_writer.wait();
                done += of_writer.take().items.len();
                of_writer.set_due(None);
            }
            of_writer.progress.set_durable(1);
        });
        let mut place = queue.room.reserve(1).unwrap();
        let mut ticket = queue.append(&mut place, Vec::new(), Urgency::Soon).unwrap();
        assert_eq!(block_on(ticket.durable()), Ok(()));
        writer.join().unwrap();
    });
}

#[test]
fn loom_room_that_returns_is_noticed() {
    loom::model(|| {
        let room = Room::new(1);
        let held = room.reserve(1).unwrap();
        let holder = thread::spawn(move || drop(held));
        let place = loop {
            if let Ok(place) = room.reserve(1) {
                break place;
            }
            let freed = room.freed();
            if let Ok(place) = room.reserve(1) {
                break place;
            }
            block_on(freed);
        };
        holder.join().unwrap();
        assert_eq!(place.places(), 1);
    });
}
