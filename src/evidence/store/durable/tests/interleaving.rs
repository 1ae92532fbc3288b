//! Every interleaving of callers and the writing thread, tried by loom; `.ci/run` has the command.

use loom::future::block_on;
use loom::thread;

use super::super::queue::{Queue, Taken, Urgency};
use crate::evidence::AppendError;
use crate::evidence::store::Room;

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
    loom::model(|| {
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
